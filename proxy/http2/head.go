package http2

import (
	"bytes"

	"github.com/lbnode/lbnode/proxy/http1"
)

// Verdict says what became of a header block.
type Verdict uint8

// The verdicts.
const (
	Fine      Verdict = iota
	Malformed         // a stream error: RFC 9113 §8.1.1
	TooLarge          // the fields are over the limit: 431
)

// Head collects the fields of one header block, in HTTP/1.1. The zero value is ready for Reset; one value serves
// all connections of a goroutine.
type Head struct {
	out       []byte // the lines so far
	method    []byte
	path      []byte
	authority []byte
	scheme    []byte
	protocol  []byte
	host      []byte
	cookie    []byte
	length    int64 // value of content-length, -1 = none
	size      int   // by the measure of SETTINGS_MAX_HEADER_LIST_SIZE
	limit     int
	verdict   Verdict
	status    int // of an answer
	trailer   bool
	answer    bool
	begun     bool // a regular field has come
	trailers  bool // the client takes trailers
	hosts     bool // there is a host field
	seen      kind // bits of the pseudo-header fields that have come
}

// Reset makes h ready for the block of a request, whose fields may take limit bytes.
func (h *Head) Reset(limit int) { h.reset(limit, false) }

// ResetTrailer makes h ready for the block of a trailer section.
func (h *Head) ResetTrailer(limit int) { h.reset(limit, true) }

func (h *Head) reset(limit int, trailer bool) {
	*h = Head{
		out: h.out[:0], method: h.method[:0], path: h.path[:0], authority: h.authority[:0], scheme: h.scheme[:0],
		protocol: h.protocol[:0], host: h.host[:0], cookie: h.cookie[:0], length: -1, limit: limit, trailer: trailer,
	}
}

// ResetAnswer makes h ready for the block of an answer, whose fields may take limit bytes.
func (h *Head) ResetAnswer(limit int) {
	h.reset(limit, false)
	h.answer = true
}

// Length is the value of content-length, -1 for none.
func (h *Head) Length() int64 { return h.length }

// take takes the next field in. line is its HTTP/1.1 form if there is one already.
func (h *Head) take(k kind, name, value, line []byte) {
	if h.verdict == Malformed {
		return
	}
	h.size += len(name) + len(value) + overhead
	if h.size > h.limit {
		h.verdict = TooLarge // goes on, as what follows may be malformed
	}
	if k >= kindMethod {
		h.takePseudo(k, value)
		return
	}
	if h.answer {
		h.takeAnswer(k, name, value, line)
		return
	}
	if !h.begun {
		h.begun = true
		if !h.trailer {
			h.out = h.appendFirst(h.out)
		}
	}
	if h.verdict != Fine && k != kindMalformed {
		return
	}
	switch k {
	case kindMalformed:
		h.verdict = Malformed
		return
	case kindHost:
		if !h.trailer {
			h.takeHost(value)
			return
		}
	case kindCookie: // in crumbs: RFC 9113 §8.2.3
		if !h.trailer {
			if len(h.cookie) > 0 {
				h.cookie = append(h.cookie, "; "...)
			}
			h.cookie = append(h.cookie, value...)
			return
		}
	case kindLength:
		if !h.trailer && !h.takeLength(value) {
			h.verdict = Malformed
			return
		}
	case kindTE:
		h.trailers = true
		return
	}
	if line != nil {
		h.out = append(h.out, line...)
		return
	}
	h.out = appendLine(h.out, name, value)
}

// takePseudo takes a pseudo-header field: once, before all others, and :status in answers only, the others in
// requests only (RFC 9113 §8.3).
func (h *Head) takePseudo(k kind, value []byte) {
	bit := kind(1) << (k - kindMethod)
	if h.begun || h.trailer || h.seen&bit != 0 || (k == kindStatus) != h.answer {
		h.verdict = Malformed
		return
	}
	h.seen |= bit
	if h.verdict != Fine {
		return
	}
	switch k {
	case kindMethod:
		h.method = append(h.method, value...)
	case kindScheme:
		h.scheme = append(h.scheme, value...)
	case kindPath:
		h.path = append(h.path, value...)
	case kindAuthority:
		h.authority = append(h.authority, value...)
	case kindProtocol:
		h.protocol = append(h.protocol, value...)
	case kindStatus:
		h.status = int(value[0]-'0')*100 + int(value[1]-'0')*10 + int(value[2]-'0')
		h.out = append(append(append(h.out, "HTTP/1.1 "...), value...), " \r\n"...)
	}
}

// takeHost keeps the host field apart: it goes on only if there is no :authority.
func (h *Head) takeHost(value []byte) {
	if h.hosts {
		h.verdict = Malformed
		return
	}
	h.hosts = true
	h.host = append(h.host, value...)
}

// takeLength notes content-length. A second one is left to package http1, which takes none at all.
func (h *Head) takeLength(v []byte) bool {
	if len(v) == 0 || len(v) > 18 {
		return false
	}
	n := int64(0)
	for _, c := range v {
		if c-'0' > 9 {
			return false
		}
		n = n*10 + int64(c-'0')
	}
	h.length = n
	return true
}

func (h *Head) has(k kind) bool { return h.seen&(1<<(k-kindMethod)) != 0 }

// appendFirst appends the request line and, if it is known already, Host.
func (h *Head) appendFirst(dst []byte) []byte {
	dst = append(dst, h.method...)
	dst = append(dst, ' ')
	if string(h.method) == "CONNECT" && !h.has(kindProtocol) {
		dst = append(dst, h.authority...)
	} else {
		dst = append(dst, h.path...)
	}
	dst = append(dst, " HTTP/1.1\r\n"...)
	if h.has(kindAuthority) {
		dst = appendLine(dst, nameHost, h.authority)
	}
	return dst
}

// Read only.
var (
	nameHost   = []byte("Host")
	nameCookie = []byte("Cookie")
)

// Stream says whether the block ended its stream.
type Stream uint8

// The two cases.
const (
	Open  Stream = iota // a body follows
	Ended               // no body follows
)

// Request completes a request and gives its HTTP/1.1 head, which is good until the next Reset. Package http1
// still has to parse it, and may refuse it.
func (h *Head) Request(s Stream) ([]byte, Verdict) {
	switch {
	case h.verdict != Fine:
		return nil, h.verdict
	case !h.complete() || s == Ended && h.length > 0:
		return nil, Malformed
	}
	out := h.out
	if !h.begun {
		out = h.appendFirst(out)
	}
	if h.hosts {
		switch {
		case !h.has(kindAuthority):
			out = appendLine(out, nameHost, h.host)
		case !bytes.EqualFold(h.host, h.authority):
			return nil, Malformed // RFC 9113 §8.3.1
		}
	}
	if len(h.cookie) > 0 {
		out = appendLine(out, nameCookie, h.cookie)
	}
	if h.trailers {
		out = append(out, "Connection: TE\r\nTE: trailers\r\n"...)
	}
	if s == Open && h.length < 0 && string(h.method) != "CONNECT" {
		out = append(out, "Transfer-Encoding: chunked\r\n"...)
	}
	h.out = append(out, "\r\n"...)
	return h.out, Fine
}

// complete says that a request has the pseudo-header fields that it must have, with values that an HTTP/1.1 target
// can be made of (RFC 9113 §8.3.1, §8.5).
func (h *Head) complete() bool {
	switch {
	case h.trailer || !h.has(kindMethod) || h.has(kindProtocol):
		return false
	case h.has(kindAuthority) && !http1.ValidHost(h.authority):
		return false
	case string(h.method) == "CONNECT":
		return h.has(kindAuthority) && !h.has(kindScheme) && !h.has(kindPath)
	case !h.has(kindPath) || len(h.path) == 0 || !h.has(kindAuthority) && !h.hosts:
		return false
	case string(h.scheme) != "http" && string(h.scheme) != "https":
		return false
	}
	// Whatever does not begin with '/' would be another form of target, with another host perhaps.
	return h.path[0] == '/' || string(h.path) == "*" && string(h.method) == "OPTIONS"
}

// Trailer completes a trailer section and gives its lines with the blank one that ends them, good until the next
// Reset. Package http1 still has to parse it, and may refuse it.
func (h *Head) Trailer() ([]byte, Verdict) {
	if h.verdict != Fine {
		return nil, h.verdict
	}
	h.out = append(h.out, "\r\n"...)
	return h.out, Fine
}
