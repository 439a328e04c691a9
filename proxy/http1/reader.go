package http1

import (
	"io"
	"sync/atomic"
)

// smallRead is below what a server reads with when it wants a request. net/http reads a single byte while a
// handler runs, to notice that the client has gone: the head that begins with it must not cost a system
// call for each byte.
const smallRead = 256

// Reader is a Scanner around the reading side of a client connection, for a server that is less strict,
// such as net/http. The server sees the bytes that are cleared.
//
// A refused head never arrives. In its place, and after all requests before it, the server reads one request
// of ours, followed by the end of the stream:
//
//	LBNODE-REFUSED /te_and_cl HTTP/1.1
//
// so that the handler answers it in its turn, by RefusedRequest, and the connection closes. A body whose
// framing is broken ends in a read error, an *Error.
//
// Read is for one goroutine at a time; Refused may be called concurrently.
type Reader struct {
	src     io.Reader
	scan    *Scanner
	tmp     []byte // for small reads
	buf     []byte // backing of out
	out     []byte // cleared, but not read yet
	err     error  // to be returned once out is empty, for ever
	pending error  // an error of src that came with bytes, to be returned once
	refused atomic.Uint32
}

// NewReader makes a Reader for a new connection.
func NewReader(src io.Reader, cfg ScanConfig) (*Reader, error) {
	s, err := NewScanner(cfg)
	if err != nil {
		return nil, err
	}
	return &Reader{src: src, scan: s}, nil
}

// Read reads cleared bytes. An error of the source passes through and ends nothing by itself, so deadlines work
// as usual.
func (r *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		if len(r.out) > 0 {
			n := copy(p, r.out)
			r.out = r.out[n:]
			return n, nil
		}
		if r.err != nil {
			return 0, r.err
		}
		if err := r.pending; err != nil {
			r.pending = nil
			return 0, err
		}
		if r.scan.state == scanPass {
			r.buf, r.tmp = nil, nil
			return r.src.Read(p)
		}
		if n, err := r.fill(p); n > 0 || err != nil {
			return n, err
		}
	}
}

// fill reads once from the source and clears what it can: straight in p if nothing was held back, else
// into r.out. It may do nothing at all.
func (r *Reader) fill(p []byte) (int, error) {
	in := p
	if len(p) < smallRead {
		if r.tmp == nil {
			r.tmp = make([]byte, 4*smallRead)
		}
		in = r.tmp
	}
	n, err := r.src.Read(in)
	if n == 0 {
		return 0, err
	}
	r.pending = err
	direct := len(p) >= smallRead && r.scan.Held() == 0
	dst := r.buf[:0]
	if direct {
		dst = p[:0]
	}
	dst, why := r.scan.Feed(dst, in[:n])
	cleared := 0
	if direct {
		cleared = len(dst)
		dst = r.buf[:0]
	}
	if why != OK {
		dst = r.refuse(dst, why)
	}
	r.buf, r.out = dst[:0], dst
	return cleared, nil
}

// refuse ends the stream: after what is cleared comes the request in place of the refused one, or the error.
func (r *Reader) refuse(dst []byte, why Reason) []byte {
	r.refused.Store(uint32(why))
	if _, inMsg := r.scan.Refused(); inMsg {
		r.err = why.Err()
		return dst
	}
	r.err = io.EOF
	dst = append(dst, RefusedMethod+" /"...)
	dst = append(dst, why.String()...)
	return append(dst, " HTTP/1.1\r\nHost: refused.invalid\r\nConnection: close\r\n\r\n"...)
}

// Refused gives the reason of the first violation, OK if there was none yet.
func (r *Reader) Refused() Reason { return Reason(r.refused.Load()) }

// Upgraded says that the connection speaks another protocol from now on: everything passes. It must be called
// before the 101 is sent, as what the client sends after that is no HTTP, and not during a Read. A client that
// did not wait for the 101 may have been refused already: then the reason comes back and the connection must
// be closed.
func (r *Reader) Upgraded() Reason {
	if r.err == nil {
		r.out = r.scan.Upgraded(r.out)
	}
	return r.Refused()
}

// RefusedRequest gives the reason of a request that a Reader put in the place of a refused one; ok is false for
// every other request. It holds for HTTP/1.1 requests that came through a Reader.
func RefusedRequest(method, path string) (why Reason, ok bool) {
	if method != RefusedMethod || len(path) < 1 {
		return OK, false
	}
	why, ok = ReasonOf(path[1:])
	return why, ok && why.Refused()
}
