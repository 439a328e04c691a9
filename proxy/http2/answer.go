package http2

// This file is about the answers of servers, for connections on which we are the client.

// takeAnswer takes a regular field of an answer.
func (h *Head) takeAnswer(k kind, name, value, line []byte) {
	h.begun = true
	switch {
	case k == kindMalformed || k == kindTE: // TE may stand in requests only: RFC 9113 §8.2.2
		h.verdict = Malformed
		return
	case h.verdict != Fine:
		return
	case k == kindLength:
		// It is written when it is known how the body is framed. A second one says nothing good.
		if h.length >= 0 || !h.takeLength(value) {
			h.verdict = Malformed
		}
		return
	case k == kindHost:
		return // has no meaning in an answer, and none in HTTP/1.1 that could be passed on
	case len(name) == len("trailer") && string(name) == "trailer":
		h.trailers = true
	}
	if line != nil {
		h.out = append(h.out, line...)
		return
	}
	h.out = appendLine(h.out, name, value)
}

// Framing says how the body of an answer goes on in HTTP/1.1.
type Framing uint8

// The framings.
const (
	Bodiless  Framing = iota // none follows
	Sized                    // Head.Length bytes follow
	Unlimited                // the end is not known: chunked
)

// Answer completes an answer and gives its status and its HTTP/1.1 head, which is good until the next Reset.
// Package http1 still has to parse it, and may refuse it. What verdicts do not judge is how much of a body comes:
// that is for who reads it. An answer that announces trailer fields is chunked even if its length is known, as
// HTTP/1.1 has them behind chunks only. noBody says that the answer is to a HEAD.
func (h *Head) Answer(s Stream, noBody bool) (status int, head []byte, f Framing, v Verdict) {
	interim := h.status/100 == 1
	without := noBody || interim || h.status == 204 || h.status == 304
	switch {
	case h.verdict != Fine:
		return h.status, nil, Bodiless, h.verdict
	case !h.has(kindStatus) || h.status == 101, interim && s == Ended: // RFC 9113 §8.6, §8.1
		return h.status, nil, Bodiless, Malformed
	case !without && s == Ended && h.length > 0: // RFC 9113 §8.1.1
		return h.status, nil, Bodiless, Malformed
	}
	switch {
	case interim || h.status == 204:
	case without:
		if h.length >= 0 {
			h.appendLength(h.length)
		}
	case s == Ended:
		h.appendLength(0)
	case h.length >= 0 && !h.trailers:
		f = Sized
		h.appendLength(h.length)
	default:
		f = Unlimited
		h.out = append(h.out, "Transfer-Encoding: chunked\r\n"...)
	}
	h.out = append(h.out, "\r\n"...)
	return h.status, h.out, f, Fine
}

func (h *Head) appendLength(n int64) {
	h.out = append(appendDecimal(append(h.out, "Content-Length: "...), n), "\r\n"...)
}

func appendDecimal(dst []byte, n int64) []byte {
	if n >= 10 {
		dst = appendDecimal(dst, n/10)
	}
	return append(dst, byte('0'+n%10))
}

// Request appends the pseudo-header fields of a request (RFC 9113 §8.3.1), of which each is valid.
func (e *Encoder) Request(dst, method []byte, scheme string, authority, path []byte) []byte {
	switch string(method) {
	case "GET":
		dst = append(dst, 0x80|2)
	case "POST":
		dst = append(dst, 0x80|3)
	default:
		dst = appendLiteral(dst, 2, method)
	}
	if scheme == "https" {
		dst = append(dst, 0x80|7)
	} else {
		dst = append(dst, 0x80|6)
	}
	dst = e.Field(dst, nameAuthority, authority)
	if string(path) == "/" {
		return append(dst, 0x80|4)
	}
	return appendLiteral(dst, 4, path) // paths come in too many kinds for the table
}

var nameAuthority = []byte(":authority") // read only

// appendLiteral appends a field that enters no table, whose name has this static index.
func appendLiteral(dst []byte, name uint32, value []byte) []byte {
	dst = appendInt(dst, 0, 0x0f, name)
	return append(appendInt(dst, 0, 0x7f, uint32(len(value))), value...)
}

// AppendBlock appends a header block as a HEADERS frame with flags and as many CONTINUATION frames as it needs, each
// of which has at most most bytes (RFC 9113 §4.3). END_HEADERS is set on the last one.
func AppendBlock(dst []byte, stream uint32, flags uint8, block []byte, most int) []byte {
	typ := Headers
	flags &^= FlagEndHeaders
	for {
		n := min(len(block), most)
		if n == len(block) {
			flags |= FlagEndHeaders
		}
		dst = AppendFrameHeader(dst, FrameHeader{Length: n, Type: typ, Flags: flags, Stream: stream})
		dst = append(dst, block[:n]...)
		if block = block[n:]; len(block) == 0 {
			return dst
		}
		typ, flags = Continuation, 0
	}
}
