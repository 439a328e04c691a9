package proxy

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/lbnode/lbnode/proxy/http1"
	"github.com/lbnode/lbnode/proxy/upstream"
)

// respond passes a backend's answer on to the client.
func (s *serving) respond(ctx context.Context, t *attempt, resp *http.Response) (upstream.Kind, error) {
	defer resp.Body.Close()
	out := s.w.Header()
	ResponseHeader(out, resp.Header)
	s.x.answerHeader(out, s.backend)
	if _, ok := out["Content-Type"]; !ok {
		out["Content-Type"] = nil // keeps net/http from guessing
	}
	announced := announce(out, resp.Trailer)
	if len(announced) > 0 && s.r.ProtoMajor == 1 && s.r.Method != http.MethodHead {
		delete(out, "Content-Length") // HTTP/2 allows both, HTTP/1.1 has trailers only behind chunks
	}
	if s.body.mustClose(s.r) {
		out["Connection"] = []string{"close"}
	}
	s.status = resp.StatusCode
	s.w.WriteHeader(resp.StatusCode)
	flush := streams(resp)
	if flush {
		s.flush() // the client may act on the head long before there is a body
	}
	kind, err := s.copyBody(ctx, t, resp.Body, flush)
	if kind == upstream.OK {
		trailers(out, resp.Trailer, announced)
	}
	return kind, err
}

// streams says that each piece of an answer must go on at once: its end is not known, or it is meant to be
// read as it comes.
func streams(resp *http.Response) bool {
	return resp.ContentLength < 0 || strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream")
}

func (s *serving) flush() {
	if f, ok := s.w.(http.Flusher); ok {
		f.Flush()
		return
	}
	_ = http.NewResponseController(s.w).Flush() // a writer that cannot flush sends as it likes
}

// copyBody copies until the end. What the client does not take is not read from the backend, beyond one
// buffer and what the sockets hold.
func (s *serving) copyBody(ctx context.Context, t *attempt, body io.Reader, flush bool) (upstream.Kind, error) {
	buf := s.p.buffers.Get().(*[]byte)
	defer s.p.buffers.Put(buf)
	for {
		n, err := body.Read(*buf)
		if n > 0 {
			t.idle.touch()
			m, werr := s.w.Write((*buf)[:n])
			s.bytesOut += uint64(m)
			if werr != nil {
				return upstream.ClientGone, werr
			}
			if flush && err == nil {
				s.flush()
			}
		}
		switch {
		case err == io.EOF:
			return upstream.OK, nil
		case err != nil:
			return t.broken(ctx, err), err
		}
	}
}

// broken says why an answer ended too early.
func (t *attempt) broken(ctx context.Context, err error) upstream.Kind {
	switch context.Cause(ctx) {
	case nil:
		if t.s.body.broken() {
			return upstream.BadRequest
		}
		var strict *http1.Error
		if errors.As(err, &strict) {
			return upstream.BadResponse
		}
		return upstream.Reset
	case errTotalTimeout:
		return upstream.TotalTimeout
	case errIdleTimeout:
		return upstream.IdleTimeout
	case upstream.ErrDrained:
		return upstream.DrainClosed
	}
	return upstream.ClientGone
}

// announce declares the trailers that the backend announced, as HTTP/1.1 clients want to know.
func announce(out, trailer http.Header) map[string]bool {
	if len(trailer) == 0 {
		return nil
	}
	names := make(map[string]bool, len(trailer))
	for name := range trailer {
		if trailerAllowed(name) {
			names[name] = true
			out["Trailer"] = append(out["Trailer"], name)
		}
	}
	return names
}

// trailers hands over the trailers that came, announced or not.
func trailers(out, trailer http.Header, announced map[string]bool) {
	for name, values := range trailer {
		if !trailerAllowed(name) {
			continue
		}
		if announced[name] {
			out[name] = values
		} else {
			out[http.TrailerPrefix+name] = values
		}
	}
}
