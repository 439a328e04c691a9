package httpapi

import (
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/gorilla/mux"

	"github.com/lbnode/lbnode/api"
)

// Server is the admin API as an http.Handler. It may be used by any number of goroutines.
type Server struct {
	cfg     Config
	router  *mux.Router
	openAPI []byte
	origin  http.CrossOriginProtection
	streams *streams
}

// New makes the API of one node.
func New(cfg Config) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, streams: newStreams()}
	var err error
	if s.openAPI, err = openAPIJSON(cfg.Version, s.endpoints()); err != nil {
		return nil, fmt.Errorf("read the OpenAPI document: %w", err)
	}
	s.router = s.newRouter()
	return s, nil
}

// newRouter registers every endpoint at its bare path and under /v1.
func (s *Server) newRouter() *mux.Router {
	r := mux.NewRouter().UseEncodedPath().SkipClean(true)
	for _, prefix := range []string{"", versionPrefix} {
		for _, e := range s.endpoints() {
			methods := []string{e.method}
			if e.method == http.MethodGet {
				methods = append(methods, http.MethodHead)
			}
			r.Handle(prefix+e.path, s.handler(e)).Methods(methods...)
		}
	}
	r.NotFoundHandler = s.handler(endpoint{handle: notFound})
	r.MethodNotAllowedHandler = s.handler(endpoint{handle: methodNotAllowed})
	return r
}

const versionPrefix = "/v1"

// ServeHTTP implements http.Handler. A panic below it becomes a problem with status 500.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := s.cfg.Now()
	rec := &recorder{ResponseWriter: w}
	id := s.requestID(r)
	h := rec.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	h.Set(api.HeaderRequestID, id)
	h.Set(api.HeaderNode, s.cfg.NodeID)
	defer func() {
		if p := recover(); p != nil {
			s.recovered(rec, r, p)
		}
		s.cfg.Logger.LogAttrs(r.Context(), slog.LevelDebug, "api request", slog.String("method", r.Method),
			slog.String("path", r.URL.EscapedPath()), slog.Int("status", rec.status), slog.Int64("bytes", rec.bytes),
			slog.Duration("duration", s.cfg.Now().Sub(start)), slog.String("request_id", id), slog.String("client", r.RemoteAddr))
	}()
	s.router.ServeHTTP(rec, withoutTrailingSlash(r))
}

// recovered answers for a handler that panicked. The process goes on: one bad request must not stop a node.
func (s *Server) recovered(rec *recorder, r *http.Request, p any) {
	if p == http.ErrAbortHandler { // by contract the very value
		panic(p)
	}
	s.cfg.Logger.LogAttrs(r.Context(), slog.LevelError, "bug: api handler panicked", slog.Any("panic", p), slog.String("method", r.Method),
		slog.String("path", r.URL.EscapedPath()), slog.String("request_id", rec.Header().Get(api.HeaderRequestID)), slog.String("stack", string(debug.Stack())))
	if rec.status != 0 {
		panic(http.ErrAbortHandler) // half an answer is out: only closing the connection tells the client
	}
	s.writeProblem(rec, r, errPanicked)
}

// withoutTrailingSlash makes /backends/ the same as /backends. A slash that is part of an id is encoded.
func withoutTrailingSlash(r *http.Request) *http.Request {
	p := r.URL.EscapedPath()
	if len(p) < 2 || !strings.HasSuffix(p, "/") || strings.HasSuffix(p, "//") {
		return r
	}
	c := *r
	u := *r.URL
	u.Path = strings.TrimSuffix(u.Path, "/")
	u.RawPath = strings.TrimSuffix(u.RawPath, "/")
	c.URL = &u
	return &c
}

// requestID is the client's Idempotency-Key, or a new id. A key that is no good is refused when the request
// is handled.
func (s *Server) requestID(r *http.Request) string {
	if key := r.Header.Get(api.HeaderIdempotencyKey); key != "" && checkIdempotencyKey(r.Header.Values(api.HeaderIdempotencyKey)) == nil {
		return key
	}
	return s.cfg.NewID()
}

// recorder sees what is answered.
type recorder struct {
	http.ResponseWriter
	status int
	bytes  int64
}

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 && status >= 200 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	n, err := r.ResponseWriter.Write(b)
	r.bytes += int64(n)
	return n, err
}

// Unwrap is for http.ResponseController.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// notFound answers a path that does not exist.
func notFound(c *call) (answer, error) {
	path := c.r.URL.EscapedPath()
	detail := fmt.Sprintf("there is nothing at %s; GET /openapi.json lists what there is", path)
	if strings.Contains(path, "://") || strings.Contains(path, ":/") {
		detail = "an address in a path must be percent-encoded, as in /backends/https%3A%2F%2Fnode1.example.org"
	}
	return answer{}, &failure{status: http.StatusNotFound, code: api.CodeNotFound, detail: detail}
}

// methodNotAllowed answers a path that exists with other methods.
func methodNotAllowed(c *call) (answer, error) {
	var allowed []string
	for _, m := range []string{http.MethodDelete, http.MethodGet, http.MethodHead, http.MethodPatch, http.MethodPost, http.MethodPut} {
		r := *c.r
		r.Method = m
		var match mux.RouteMatch
		if c.s.router.Match(&r, &match) && match.MatchErr == nil {
			allowed = append(allowed, m)
		}
	}
	return answer{}, &failure{
		status: http.StatusMethodNotAllowed, code: api.CodeMethodNotAllowed, allow: strings.Join(allowed, ", "),
		detail: fmt.Sprintf("%s is not possible here; allowed: %s", c.r.Method, strings.Join(allowed, ", ")),
	}
}

// call is one request being answered.
type call struct {
	s      *Server
	r      *http.Request
	params params
	who    principal
	w      http.ResponseWriter // only for limiting the body and for the request's id
}

// now is the time, for commands.
func (c *call) now() time.Time { return c.s.cfg.Now().UTC() }
