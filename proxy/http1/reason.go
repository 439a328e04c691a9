package http1

import "net/http"

// Reason says what became of a message: OK, More, or why it is refused. The zero value is OK. Reasons are
// values, not errors, so that the hot path needs no interface; Err makes an error of one.
type Reason uint8

// The reasons. Their codes (String) are stable: they appear in logs, metrics and answers.
const (
	OK   Reason = iota // complete and valid
	More               // valid so far, but not complete

	// The request line.
	BadRequestLine      // not method SP target SP version CRLF: RFC 9112 §3
	BadMethod           // not a token: RFC 9110 §9.1
	MethodTooLong       // longer than any method there is: RFC 9112 §3
	BadTarget           // a byte that no target may hold, or none of the four forms: RFC 9112 §3.2
	UserInfo            // user information before the host of an absolute-form target: RFC 9110 §4.2.4
	TargetTooLong       // the request line is over its limit: RFC 9112 §3
	BadVersion          // not HTTP/digit.digit: RFC 9112 §2.3
	UnsupportedVersion  // a version other than HTTP/1.0 and HTTP/1.1: RFC 9110 §15.6.6
	BareCR              // CR without LF: RFC 9112 §2.2
	BareLF              // LF without CR: RFC 9112 §2.2
	ConnectWithBody     // CONNECT with Content-Length or Transfer-Encoding: RFC 9110 §9.3.6
	BadFieldName        // empty, or not a token: RFC 9112 §5.1
	SpaceBeforeColon    // white space between name and colon: RFC 9112 §5.1
	BadFieldValue       // a control character: RFC 9110 §5.5
	ObsFold             // a line that begins with white space: RFC 9112 §5.2
	HeadTooLarge        // the head is over its limit: RFC 6585 §5
	TooManyFields       // more fields than the limit: RFC 6585 §5
	TooManyOptions      // Connection names more than 32 options: RFC 9110 §7.6.1
	UnderscoreTwin      // Content_Length or Transfer_Encoding, which some backends take for the real one
	BadExpect           // an expectation other than 100-continue: RFC 9110 §10.1.1
	MissingHost         // HTTP/1.1 without Host: RFC 9112 §3.2
	DuplicateHost       // more than one Host: RFC 9112 §3.2
	BadHost             // no valid host and port: RFC 9110 §7.2
	HostMismatch        // Host is not the authority of the target: RFC 9112 §3.2
	BadContentLength    // not 1 to 18 digits: RFC 9112 §6.3(5)
	DuplicateLength     // more than one Content-Length: RFC 9112 §6.3(5)
	BadTransferEncoding // a list, parameters or anything else that is no single coding: RFC 9112 §6.1
	UnsupportedEncoding // a single coding other than chunked: RFC 9112 §6.1
	DuplicateEncoding   // more than one Transfer-Encoding: RFC 9112 §6.1
	EncodingInHTTP10    // Transfer-Encoding in an HTTP/1.0 message: RFC 9112 §6.1
	EncodingAndLength   // both Transfer-Encoding and Content-Length: RFC 9112 §6.3(3)

	// The chunked body.
	BadChunkSize      // not 1 to 15 hexadecimal digits: RFC 9112 §7.1
	BadChunkExtension // a control character in an extension: RFC 9112 §7.1.1
	ExtensionTooLong  // extensions are over their limit: RFC 9112 §7.1.1
	BadChunkEnd       // no CRLF right after the data of a chunk: RFC 9112 §7.1
	ForbiddenTrailer  // a trailer field that frames, routes or authorises: RFC 9110 §6.5.1
	TrailerTooLarge   // the trailer section is over its limit: RFC 9110 §6.5

	// Responses.
	BadStatusLine   // not version SP 3DIGIT [SP phrase] CRLF with a status from 100 to 599: RFC 9112 §4
	UnaskedResponse // bytes from a backend that nobody has asked for
	BadUpgrade      // 101 that nobody asked for, or not the answer to what was asked: RFC 9110 §15.2.2

	reasonCount
)

type reasonInfo struct {
	code   string
	status int
}

var reasons = [reasonCount]reasonInfo{
	OK:                  {"ok", http.StatusOK},
	More:                {"incomplete", http.StatusBadRequest},
	BadRequestLine:      {"bad_request_line", http.StatusBadRequest},
	BadMethod:           {"bad_method", http.StatusBadRequest},
	MethodTooLong:       {"method_too_long", http.StatusNotImplemented},
	BadTarget:           {"bad_target", http.StatusBadRequest},
	UserInfo:            {"userinfo_in_target", http.StatusBadRequest},
	TargetTooLong:       {"target_too_long", http.StatusRequestURITooLong},
	BadVersion:          {"bad_version", http.StatusBadRequest},
	UnsupportedVersion:  {"unsupported_version", http.StatusHTTPVersionNotSupported},
	BareCR:              {"bare_cr", http.StatusBadRequest},
	BareLF:              {"bare_lf", http.StatusBadRequest},
	ConnectWithBody:     {"connect_with_body", http.StatusBadRequest},
	BadFieldName:        {"bad_field_name", http.StatusBadRequest},
	SpaceBeforeColon:    {"space_before_colon", http.StatusBadRequest},
	BadFieldValue:       {"bad_field_value", http.StatusBadRequest},
	ObsFold:             {"obs_fold", http.StatusBadRequest},
	HeadTooLarge:        {"head_too_large", http.StatusRequestHeaderFieldsTooLarge},
	TooManyFields:       {"too_many_fields", http.StatusRequestHeaderFieldsTooLarge},
	TooManyOptions:      {"too_many_connection_options", http.StatusBadRequest},
	UnderscoreTwin:      {"underscore_twin", http.StatusBadRequest},
	BadExpect:           {"bad_expect", http.StatusExpectationFailed},
	MissingHost:         {"missing_host", http.StatusBadRequest},
	DuplicateHost:       {"duplicate_host", http.StatusBadRequest},
	BadHost:             {"bad_host", http.StatusBadRequest},
	HostMismatch:        {"host_mismatch", http.StatusBadRequest},
	BadContentLength:    {"bad_content_length", http.StatusBadRequest},
	DuplicateLength:     {"duplicate_content_length", http.StatusBadRequest},
	BadTransferEncoding: {"bad_te", http.StatusBadRequest},
	UnsupportedEncoding: {"unsupported_te", http.StatusNotImplemented},
	DuplicateEncoding:   {"duplicate_te", http.StatusBadRequest},
	EncodingInHTTP10:    {"te_in_http10", http.StatusBadRequest},
	EncodingAndLength:   {"te_and_cl", http.StatusBadRequest},
	BadChunkSize:        {"bad_chunk_size", http.StatusBadRequest},
	BadChunkExtension:   {"bad_chunk_extension", http.StatusBadRequest},
	ExtensionTooLong:    {"chunk_extension_too_long", http.StatusBadRequest},
	BadChunkEnd:         {"bad_chunk_end", http.StatusBadRequest},
	ForbiddenTrailer:    {"forbidden_trailer", http.StatusBadRequest},
	TrailerTooLarge:     {"trailer_too_large", http.StatusRequestHeaderFieldsTooLarge},
	BadStatusLine:       {"bad_status_line", http.StatusBadGateway},
	UnaskedResponse:     {"unasked_response", http.StatusBadGateway},
	BadUpgrade:          {"bad_upgrade", http.StatusBadGateway},
}

// String gives the stable code, "unknown" for a value that is none of the reasons.
func (r Reason) String() string {
	if r >= reasonCount {
		return "unknown"
	}
	return reasons[r].code
}

// Status is the status to answer a refused request with, after which the connection must close. A backend
// whose response is refused is always a 502, whatever Status says.
func (r Reason) Status() int {
	if r >= reasonCount {
		return http.StatusBadRequest
	}
	return reasons[r].status
}

// Refused tells whether the message is refused: neither OK nor More.
func (r Reason) Refused() bool { return r > More }

// Err gives nil for OK, else an *Error.
func (r Reason) Err() error {
	if r == OK {
		return nil
	}
	return &Error{Reason: r}
}

// Error is a Reason as an error, to be found with errors.As.
type Error struct{ Reason Reason }

// Error names the code.
func (e *Error) Error() string { return "http/1.1: " + e.Reason.String() }

// ReasonOf gives the reason with this code.
func ReasonOf(code string) (Reason, bool) {
	for r, info := range reasons {
		if info.code == code {
			return Reason(r), true
		}
	}
	return OK, false
}
