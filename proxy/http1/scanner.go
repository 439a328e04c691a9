package http1

// RefusedMethod is the method of the request that a Reader puts in the place of a refused one. No client can
// send it: a Scanner refuses it.
const RefusedMethod = "LBNODE-REFUSED"

// preface begins an HTTP/2 connection (RFC 9113 §3.4).
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// ScanConfig says what a Scanner lets through.
type ScanConfig struct {
	Limits Limits
	// HTTP2 lets a connection that begins with the HTTP/2 preface pass unwatched. Without it the preface is
	// refused like any other unsupported version.
	HTTP2 bool
}

// maxKept is the largest buffer that an idle connection keeps.
const maxKept = 4 << 10

type scanState uint8

const (
	scanStart   scanState = iota // nothing seen yet: it may be HTTP/2
	scanHead                     // in a head, or between two messages
	scanLength                   // in a body of known length
	scanChunked                  // in a chunked body
	scanEnd                      // after the last request of the connection: the rest is dropped
	scanPass                     // no HTTP/1.1 any more
	scanRefused
)

// Scanner follows the request stream of one client connection, head, body, next head and so on, and clears
// bytes to be passed on. A head is cleared as a whole and only once it is found valid, a trailer section
// likewise; a body as it comes, up to the byte that breaks its framing. After a violation nothing is cleared
// any more, and what follows a request that closes the connection is dropped. Empty lines before a head are
// dropped too, as net/http does not take them.
//
// A request for an upgrade changes nothing by itself, as it may be declined and followed by another request:
// call Upgraded once the connection does change its protocol.
//
// Chunk extensions are dropped. A Scanner is for one goroutine at a time.
type Scanner struct {
	cfg   ScanConfig
	state scanState
	why   Reason
	inMsg bool // the violation is in a body: its head was passed on
	req   Request
	chunk Chunked
	left  int64
	hold  []byte // an incomplete head or preface
}

// NewScanner makes a Scanner for a new connection.
func NewScanner(cfg ScanConfig) (*Scanner, error) {
	if err := cfg.Limits.Validate(); err != nil {
		return nil, err
	}
	return &Scanner{cfg: cfg}, nil
}

// Feed takes the next bytes of the connection and appends those that are cleared to dst. dst may be src[:0]
// as long as Held is 0. The reason is OK, or that of the first violation, from then on for ever.
func (s *Scanner) Feed(dst, src []byte) ([]byte, Reason) {
	for len(src) > 0 && s.state != scanRefused {
		switch s.state {
		case scanStart:
			dst, src = s.start(dst, src)
		case scanHead:
			dst, src = s.head(dst, src)
		case scanLength:
			n := int(min(int64(len(src)), s.left))
			dst, src = append(dst, src[:n]...), src[n:]
			if s.left -= int64(n); s.left == 0 {
				s.next()
			}
		case scanChunked:
			dst, src = s.chunks(dst, src)
		case scanEnd:
			src = nil
		case scanPass:
			return append(dst, src...), OK
		}
	}
	return dst, s.why
}

// Held is the number of bytes that wait for the rest of their head or trailer section.
func (s *Scanner) Held() int {
	if s.state == scanChunked {
		return len(s.chunk.section)
	}
	return len(s.hold)
}

// Refused gives the reason of the violation and whether the request had been passed on before, at least in
// part. OK means that there was none.
func (s *Scanner) Refused() (why Reason, started bool) { return s.why, s.inMsg }

// Upgraded says that the connection speaks another protocol from now on, and appends to dst what was held
// back and belongs to it.
func (s *Scanner) Upgraded(dst []byte) []byte {
	if s.state == scanRefused {
		return dst
	}
	dst = append(dst, s.hold...)
	s.hold, s.state = nil, scanPass
	return dst
}

func (s *Scanner) refuse(why Reason, inMsg bool) {
	s.state, s.why, s.inMsg, s.hold = scanRefused, why, inMsg, nil
}

// next goes on after a message: to another one, or to the end.
func (s *Scanner) next() {
	s.state = scanHead
	if !s.req.KeepAlive() {
		s.state = scanEnd
	}
}

// start looks for the preface. Its first 16 bytes differ from every request that is not refused.
func (s *Scanner) start(dst, src []byte) (out, rest []byte) {
	if !s.cfg.HTTP2 {
		s.state = scanHead
		return dst, src
	}
	n := len(s.hold)
	k := 0
	for k < len(src) && n+k < len(preface) && src[k] == preface[n+k] {
		k++
	}
	switch {
	case n+k == len(preface):
		dst = append(append(dst, s.hold...), src...)
		s.hold, s.state = nil, scanPass
		return dst, nil
	case k == len(src):
		s.hold = append(s.hold, src...)
		return dst, nil
	}
	s.state = scanHead
	return dst, src
}

// head waits for a complete head and clears it if it is valid.
func (s *Scanner) head(dst, src []byte) (out, rest []byte) {
	buf, held := src, len(s.hold)
	if held > 0 {
		// Parse looks at no more than the limit, and wants one byte more to know that it is exceeded.
		s.hold = append(s.hold, src[:min(len(src), max(s.cfg.Limits.Head+1-held, 1))]...)
		buf = s.hold
	}
	n, why := s.req.Parse(buf, &s.cfg.Limits)
	switch {
	case why == More:
		if held == 0 {
			s.hold = append(s.hold, src...)
			return dst, nil
		}
		return dst, src[len(s.hold)-held:]
	case why != OK:
		s.refuse(why, false)
		return dst, nil
	case string(s.req.Method) == RefusedMethod:
		s.refuse(BadMethod, false)
		return dst, nil
	}
	head := buf[:n]
	if head[0] == '\r' {
		head = head[2:]
	}
	dst = append(dst, head...)
	switch s.req.Body {
	case ByLength:
		s.state, s.left = scanLength, s.req.Length
	case ByChunks:
		s.state = scanChunked
		s.chunk.Reset(&s.cfg.Limits)
	default:
		s.next()
	}
	s.hold = s.hold[:0]
	if cap(s.hold) > maxKept {
		s.hold = nil
	}
	return dst, src[n-held:]
}

// chunks clears what the decoder has taken in; the trailer section only as a whole.
func (s *Scanner) chunks(dst, src []byte) (out, rest []byte) {
	n, keep, why := s.chunk.NextFramed(src)
	dst = append(dst, keep...)
	if why.Refused() {
		s.refuse(why, true)
		return dst, nil
	}
	if why == OK {
		dst = append(dst, s.chunk.section...)
		s.next()
	}
	return dst, src[n:]
}
