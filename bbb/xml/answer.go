package xml

import "strings"

// The keys and messages with which BigBlueButton refuses calls.
const (
	KeyChecksum         = "checksumError"
	KeyNotFound         = "notFound"
	KeyMissingMeetingID = "missingParamMeetingID"
	KeyMissingName      = "missingParamName"
	KeyMissingRecordID  = "missingParamRecordID"
	KeyValidation       = "validationError"
	KeyInvalidPassword  = "invalidPassword"
	KeyUnsupported      = "unsupportedRequest"
	KeyContentType      = "unsupportedContentType"
	KeyIDNotUnique      = "idNotUnique"
	KeyInternal         = "internalError"
	KeyServer           = "serverUnavailable"
	KeyMaxParticipants  = "maxParticipantsReached"
	KeyNoMeetings       = "noMeetings"
	KeyNoRecordings     = "noRecordings"
	KeyQuota            = "quotaExceeded" // ours: BigBlueButton has no tenants
)

// ContentType is what BigBlueButton's answers have.
const ContentType = "text/xml;charset=utf-8"

// Field is one child of an answer. Raw wins over Text.
type Field struct {
	Name, Text string
	Raw        []byte // elements, put in as they are
}

// Answer is a successful answer with some fields.
func Answer(fields ...Field) []byte { return response("SUCCESS", fields) }

// Failed is the answer that refuses a call.
func Failed(key, message string) []byte {
	return response("FAILED", []Field{{Name: "messageKey", Text: key}, {Name: "message", Text: message}})
}

func response(code string, fields []Field) []byte {
	n := 64
	for _, f := range fields {
		n += 2*len(f.Name) + 8 + len(f.Text) + len(f.Raw)
	}
	var b strings.Builder
	b.Grow(n)
	b.WriteString("<response><returncode>" + code + "</returncode>")
	for _, f := range fields {
		switch {
		case len(f.Raw) > 0:
			b.WriteString("<" + f.Name + ">")
			b.Write(f.Raw)
			b.WriteString("</" + f.Name + ">")
		case f.Text == "":
			b.WriteString("<" + f.Name + "/>")
		default:
			b.WriteString("<" + f.Name + ">" + Escape(f.Text) + "</" + f.Name + ">")
		}
	}
	b.WriteString("</response>")
	return []byte(b.String())
}

// Outcome is what an answer says about itself.
type Outcome struct {
	OK           bool // returncode is SUCCESS
	Key, Message string
}

// OutcomeOf reads the outcome of an answer. The error wraps ErrMalformed or ErrTooLarge; a document that is no
// answer, such as a page of a web server, is malformed.
func OutcomeOf(doc []byte) (Outcome, error) {
	var o Outcome
	code := ""
	err := Walk(doc, func(e *Element) error {
		if len(e.Path) != 2 || e.Path[0] != "response" {
			return nil
		}
		switch e.Path[1] {
		case "returncode":
			code = e.Text()
		case "messageKey":
			o.Key = e.Text()
		case "message":
			o.Message = e.Text()
		}
		return nil
	})
	if err != nil {
		return Outcome{}, err
	}
	if code == "" {
		return Outcome{}, malformed(0, "no return code")
	}
	o.OK = code == "SUCCESS"
	return o, nil
}
