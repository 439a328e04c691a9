package http1

import (
	"crypto/sha1"
	"encoding/base64"
)

// Response is the head of a response. The zero value is ready; one value serves a connection for life.
// Its slices refer to the bytes given to Parse and are good for as long as those are.
type Response struct {
	Head
	Status int    // 100 to 599
	Phrase []byte // reason phrase, may be empty
}

// Reset makes r ready for another message when a Parse that wanted more is given up, or to build a response
// by hand for Append: set Status and call Add; Length is -1.
func (r *Response) Reset() {
	r.reset()
	r.Status, r.Phrase = 0, nil
}

// Parse reads a response head from the beginning of b (RFC 9112 §4, §5, §6); verb is that of the request it
// answers, on which the framing depends. The results are those of Request.Parse; a refusal means 502 for the
// client, and the connection must close. An interim response (1xx but 101) is a head like any other.
func (r *Response) Parse(b []byte, verb Verb, lim *Limits) (n int, why Reason) {
	if r.seen > 0 && r.again(b, lim) {
		return 0, More
	}
	r.Reset()
	cut := b
	if len(cut) > lim.Head {
		cut = cut[:lim.Head]
	}
	n, why = r.parse(cut, verb, lim)
	if why == More {
		if len(cut) == lim.Head {
			return 0, HeadTooLarge
		}
		r.seen = len(b)
		return 0, More
	}
	if why != OK {
		return 0, why
	}
	return n, OK
}

func (r *Response) parse(b []byte, verb Verb, lim *Limits) (int, Reason) {
	line := b
	if len(line) > lim.Line+2 {
		line = line[:lim.Line+2]
	}
	i, why := r.parseLine(line)
	if why != OK {
		if why == More && len(line) < len(b) {
			why = HeadTooLarge
		}
		return 0, why
	}
	r.lined = true
	i, r.fields, why = parseFields(b, i, r.fields, lim.Fields)
	if why != OK {
		return 0, why
	}
	r.dropExpect()
	if why = r.note(); why != OK {
		return 0, why
	}
	r.frame(verb)
	return i, OK
}

// parseLine reads the status line. The space before an empty phrase may be missing, as it is with some
// servers: nothing else can be meant.
func (r *Response) parseLine(b []byte) (int, Reason) {
	i, minor, why := parseVersion(b, 0)
	if why != OK {
		if why == BadVersion {
			why = BadStatusLine
		}
		return 0, why
	}
	r.Minor = minor
	for k := range 4 {
		switch {
		case i == len(b):
			return 0, More
		case k == 0 && b[i] != ' ', k > 0 && b[i]-'0' > 9:
			return 0, BadStatusLine
		case k > 0:
			r.Status = r.Status*10 + int(b[i]-'0')
		}
		i++
	}
	if r.Status < 100 || r.Status > 599 {
		return 0, BadStatusLine
	}
	if i < len(b) && b[i] == ' ' {
		i++
		start := i
		i = scanValue(b, i)
		for i < len(b) && b[i] == '\t' {
			i = scanValue(b, i+1)
		}
		r.Phrase = b[start:i]
	}
	i, why = lineEnd(b, i)
	if why == BadRequestLine {
		why = BadStatusLine
	}
	if why != OK {
		return 0, why
	}
	if r.Minor == otherVersion {
		return 0, UnsupportedVersion
	}
	return i, OK
}

// dropExpect takes the meaning from Expect, which has none in a response.
func (r *Response) dropExpect() {
	for i := range r.fields {
		if r.fields[i].id == Expect {
			r.fields[i].id = Other
		}
	}
}

// frame decides where the body ends (RFC 9112 §6.3).
func (r *Response) frame(verb Verb) {
	framed := r.flags&hasChunked != 0 || r.Length > 0
	switch {
	case r.Status == 101 || verb == CONNECT && r.Status/100 == 2:
		r.Body = Tunnel
		r.Length = -1
	case r.Status/100 == 1 || r.Status == 204:
		if framed {
			// A server that announces a body where none can be may well send it: do not reuse the connection.
			r.flags |= confused
		}
		r.Length = -1
	case verb == HEAD || r.Status == 304:
		// Length stays: it says what GET would have got.
	case r.flags&hasChunked != 0:
		r.Body = ByChunks
	case r.Length > 0:
		r.Body = ByLength
	case r.Length < 0:
		r.Body = UntilClose
	}
}

// Interim tells whether another response follows this one (RFC 9110 §15.2).
func (r *Response) Interim() bool { return r.Status/100 == 1 && r.Status != 101 }

// KeepAlive tells whether the connection can take another request once the body has ended (RFC 9112 §9.3).
func (r *Response) KeepAlive() bool {
	return r.persistent() && r.Body != UntilClose && r.Body != Tunnel && r.flags&confused == 0
}

// CheckUpgrade tells whether a 101 changes to the WebSocket that was asked for; accept is what AcceptKey
// made of the request's key. Anything else is BadUpgrade: a tunnel that the client did not ask for, or one
// that the backend does not mean (RFC 6455 §4.1).
func (r *Response) CheckUpgrade(accept []byte) Reason {
	if r.Status != 101 || len(accept) == 0 || r.flags&manyUpgrades != 0 || !equalFold(r.UpgradeTo(), "websocket") {
		return BadUpgrade
	}
	if r.Count(SecWebSocketAccept) != 1 || string(r.Get(SecWebSocketAccept)) != string(accept) {
		return BadUpgrade
	}
	return OK
}

// AcceptKey computes the Sec-WebSocket-Accept for a key into buf (RFC 6455 §4.2.2). Keys longer than the 24
// bytes of a valid one give nil.
func AcceptKey(buf *[28]byte, key []byte) []byte {
	const guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
	var in [24 + len(guid)]byte
	if len(key) > 24 {
		return nil
	}
	n := copy(in[:], key)
	n += copy(in[n:], guid)
	sum := sha1.Sum(in[:n])
	base64.StdEncoding.Encode(buf[:], sum[:])
	return buf[:]
}
