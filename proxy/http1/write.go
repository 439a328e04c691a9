package http1

import (
	"net/http"
	"strconv"
)

// Conn is what a head says about the connection it is sent on.
type Conn uint8

// The options, to be combined. Zero says nothing, which in HTTP/1.1 means that the connection goes on.
const (
	Close       Conn = 1 << iota // Connection: close
	Persist                      // Connection: keep-alive, for an HTTP/1.0 client that asked for it
	Switch                       // Connection: Upgrade and the Upgrade field itself, as WebSocket
	AskTrailers                  // Connection: TE and TE: trailers, for backends that send trailers on request only
)

// Append writes the request to dst as an HTTP/1.1 head in origin-form (or "*"): request line, Host, the fields
// but for those that end here, framing by Body and Length, and what c says. Method, Path, Query and Host are
// checked again, as any of them may have been set by hand; on refusal dst comes back as it was.
func (r *Request) Append(dst []byte, c Conn) ([]byte, Reason) {
	if why := r.Check(); why != OK {
		return dst, why
	}
	out := append(dst, r.Method...)
	out = append(out, ' ')
	out = append(out, r.Path...)
	if r.HasQuery {
		out = append(out, '?')
		out = append(out, r.Query...)
	}
	out = append(out, " HTTP/1.1\r\nHost: "...)
	out = append(out, r.Host...)
	out = append(out, "\r\n"...)
	out = r.appendFields(out)
	switch {
	case r.Body == ByChunks:
		out = append(out, "Transfer-Encoding: chunked\r\n"...)
	case r.Body == ByLength:
		out = appendLength(out, r.Length)
	case r.Length == 0:
		// Said for a POST without a body, which some servers refuse otherwise (RFC 9110 §8.6).
		out = append(out, "Content-Length: 0\r\n"...)
	}
	return append(appendConn(out, c), "\r\n"...), OK
}

// Check is what Append checks before it writes anything, for those that send the request in another form.
func (r *Request) Check() Reason {
	switch {
	case len(r.Method) > maxMethod || !isTokenBytes(r.Method):
		return BadMethod
	case !validPath(r.Path) || scanTarget(r.Query, 0) != len(r.Query) || len(r.Path) == 1 && r.Path[0] == '*' && r.HasQuery:
		return BadTarget
	case len(r.Host) == 0:
		return MissingHost
	case !validHost(r.Host):
		return BadHost
	case r.Body == UntilClose || r.Body == Tunnel || r.Body == ByLength && r.Length <= 0:
		return BadContentLength
	}
	return OK
}

// Append writes the response to dst as an HTTP/1.1 head: status line, the fields but for those that end
// here, framing by Body and Length, and what c says. A body that is UntilClose needs c to say Close.
func (r *Response) Append(dst []byte, c Conn) ([]byte, Reason) {
	if r.Status < 100 || r.Status > 599 || len(r.Phrase) > 0 && !validPhrase(r.Phrase) {
		return dst, BadStatusLine
	}
	if r.Body == ByLength && r.Length <= 0 || r.Body == UntilClose && c&Close == 0 {
		return dst, BadContentLength
	}
	out := append(dst, "HTTP/1.1 "...)
	out = append(out, byte('0'+r.Status/100), byte('0'+r.Status/10%10), byte('0'+r.Status%10), ' ')
	out = append(out, r.Phrase...)
	out = append(out, "\r\n"...)
	out = r.appendFields(out)
	switch {
	case r.Status/100 == 1 || r.Status == 204 || r.Body == Tunnel || r.Body == UntilClose:
	case r.Body == ByChunks:
		out = append(out, "Transfer-Encoding: chunked\r\n"...)
	case r.Length >= 0:
		out = appendLength(out, r.Length)
	}
	return append(appendConn(out, c), "\r\n"...), OK
}

// appendFields writes the fields that do not end here.
func (h *Head) appendFields(dst []byte) []byte {
	for i := range h.fields {
		f := &h.fields[i]
		if f.hop || f.id != Other && f.id <= writtenLast || f.id == Trailer && h.Body != ByChunks {
			continue
		}
		dst = appendField(dst, f)
	}
	return dst
}

// appendField writes one line, in one copy if it came in just as it is to be written.
func appendField(dst []byte, f *Field) []byte {
	if f.plain {
		return append(dst, f.name[:len(f.name)+len(f.value)+len(": \r\n")]...)
	}
	dst = append(dst, f.name...)
	dst = append(dst, ": "...)
	dst = append(dst, f.value...)
	return append(dst, "\r\n"...)
}

func appendLength(dst []byte, n int64) []byte {
	dst = append(dst, "Content-Length: "...)
	dst = strconv.AppendInt(dst, n, 10)
	return append(dst, "\r\n"...)
}

func appendConn(dst []byte, c Conn) []byte {
	if c == 0 {
		return dst
	}
	dst = append(dst, "Connection: "...)
	comma := ""
	for _, o := range [...]struct {
		bit  Conn
		name string
	}{{Close, "close"}, {Persist, "keep-alive"}, {Switch, "Upgrade"}, {AskTrailers, "TE"}} {
		if c&o.bit != 0 {
			dst = append(dst, comma...)
			dst = append(dst, o.name...)
			comma = ", "
		}
	}
	dst = append(dst, "\r\n"...)
	if c&Switch != 0 {
		dst = append(dst, "Upgrade: websocket\r\n"...)
	}
	if c&AskTrailers != 0 {
		dst = append(dst, "TE: trailers\r\n"...)
	}
	return dst
}

// validPhrase is looser than ValidValue: white space may stand at the ends.
func validPhrase(b []byte) bool {
	for i := scanValue(b, 0); i < len(b); i = scanValue(b, i+1) {
		if b[i] != '\t' {
			return false
		}
	}
	return true
}

// AppendChunkHead writes the head of a chunk of n bytes (RFC 9112 §7.1), of which n must be above 0: the
// data follows, then CRLF.
func AppendChunkHead(dst []byte, n int) []byte {
	return append(strconv.AppendUint(dst, uint64(n), 16), "\r\n"...)
}

// AppendLastChunk writes the end of a chunked body: the last chunk, the trailer fields that do not end here,
// and the blank line.
func AppendLastChunk(dst []byte, trailers []Field) []byte {
	return AppendTrailers(append(dst, "0\r\n"...), trailers)
}

// AppendTrailers writes what follows the last chunk: the trailer fields and the blank line.
func AppendTrailers(dst []byte, trailers []Field) []byte {
	for i := range trailers {
		dst = appendField(dst, &trailers[i])
	}
	return append(dst, "\r\n"...)
}

// AppendRefusal writes a whole response for a request that is refused for this reason, after which the
// connection must close. The body names the code. (After a HEAD there is none to send it to: a refused head
// has no method that could be trusted.)
func AppendRefusal(dst []byte, why Reason) []byte {
	status, code := why.Status(), why.String()
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(status), 10)
	dst = append(dst, ' ')
	dst = append(dst, http.StatusText(status)...)
	dst = append(dst, "\r\nContent-Type: text/plain; charset=utf-8\r\n"...)
	dst = appendLength(dst, int64(len(code)+1))
	dst = append(dst, "Connection: close\r\n\r\n"...)
	dst = append(dst, code...)
	return append(dst, '\n')
}
