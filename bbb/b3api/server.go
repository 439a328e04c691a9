package b3api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime/debug"
	"strings"
	"unicode/utf8"

	"github.com/lbnode/lbnode/state"
)

// Path is below what clients call, and itself called.
const Path = "/api/v1"

// maxBody bounds what clients send, in bytes.
const maxBody = 1 << 20

// Server answers the API. It may be used by any number of goroutines.
type Server struct {
	cfg      Config
	mux      *http.ServeMux
	commands *commands
}

// New makes a server. It starts nothing.
func New(cfg Config) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, mux: http.NewServeMux(), commands: newCommands()}
	for _, e := range s.endpoints() {
		s.mux.Handle(e.method+" "+Path+e.path, s.handler(e))
	}
	s.mux.Handle("/", s.handler(endpoint{handle: func(*call) (any, error) { return nil, errNotFound }, open: true}))
	return s, nil
}

// Close ends what commands go on to do, and waits for it.
func (s *Server) Close() { s.commands.close() }

// endpoint is one thing that can be called.
type endpoint struct {
	method, path string
	scopes       []scope // one of them is needed; none = any valid token
	handle       func(*call) (any, error)
	status       int  // of success; 0 = 200
	open         bool // needs no token
}

func (s *Server) endpoints() []endpoint {
	admin, either, node, user := []scope{scopeAdmin}, []scope{scopeAdmin, scopeNode}, []scope{scopeNode}, []scope{scopeAdmin, scopeUser}
	return []endpoint{
		{method: "GET", path: "", handle: (*call).status},
		{method: "GET", path: "/{$}", handle: (*call).status},
		{method: "GET", path: "/status", handle: (*call).status},
		{method: "POST", path: "/ctrl/migrate", scopes: admin, handle: func(*call) (any, error) { return schema(), nil }},

		{method: "GET", path: "/backends", scopes: admin, handle: (*call).listBackends},
		{method: "POST", path: "/backends", scopes: either, handle: (*call).createBackend},
		{method: "GET", path: "/backends/{id}", scopes: either, handle: (*call).showBackend},
		{method: "PATCH", path: "/backends/{id}", scopes: either, handle: (*call).patchBackend},
		{method: "DELETE", path: "/backends/{id}", scopes: admin, handle: (*call).deleteBackend},

		{method: "GET", path: "/frontends", scopes: user, handle: (*call).listFrontends},
		{method: "POST", path: "/frontends", scopes: admin, handle: (*call).createFrontend},
		{method: "GET", path: "/frontends/{id}", scopes: user, handle: (*call).showFrontend},
		{method: "PATCH", path: "/frontends/{id}", scopes: user, handle: (*call).patchFrontend},
		{method: "DELETE", path: "/frontends/{id}", scopes: admin, handle: (*call).deleteFrontend},

		{method: "GET", path: "/meetings", scopes: admin, handle: (*call).listMeetings},
		{method: "GET", path: "/meetings/{id}", scopes: either, handle: (*call).showMeeting},
		{method: "PATCH", path: "/meetings/{id}", scopes: either, handle: (*call).patchMeeting},
		{method: "DELETE", path: "/meetings/{id}", scopes: either, handle: (*call).deleteMeeting},

		{method: "GET", path: "/commands", scopes: admin, handle: (*call).listCommands},
		{method: "GET", path: "/commands/{id}", scopes: admin, handle: (*call).showCommand},
		{method: "POST", path: "/commands", scopes: admin, handle: (*call).createCommand, status: http.StatusAccepted},

		{method: "GET", path: "/recordings", scopes: admin, handle: (*call).listRecordings},
		{method: "GET", path: "/recordings/{id}", scopes: admin, handle: (*call).showRecording},
		{method: "POST", path: "/recordings-visibility", scopes: admin, handle: (*call).setVisibility},
		{method: "POST", path: "/recordings-import", scopes: either, handle: (*call).importRecording},

		{method: "GET", path: "/agent/backend", scopes: node, handle: (*call).agentBackend},
		{method: "POST", path: "/agent/heartbeat", scopes: node, handle: (*call).heartbeat},
		{method: "POST", path: "/agent/rpc", scopes: node, handle: (*call).rpc},
	}
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		if p == http.ErrAbortHandler { // by contract the very value
			panic(p)
		}
		s.cfg.Logger.Error("bug: handler of b3scale's API panicked", "panic", p, "method", r.Method, "path", r.URL.EscapedPath(), "stack", string(debug.Stack()))
		answer(w, http.StatusInternalServerError, message("Internal Server Error"))
	}()
	s.mux.ServeHTTP(w, r)
}

// call is one request being answered.
type call struct {
	s   *Server
	r   *http.Request
	w   http.ResponseWriter // only for limiting the body
	who principal
}

func (c *call) view() *state.View { return c.s.cfg.Store.View() }

func (s *Server) handler(e endpoint) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), s.cfg.Timeout)
		defer cancel()
		c := &call{s: s, r: r.WithContext(ctx), w: w}
		if !e.open {
			var f *failure
			if c.who, f = s.identify(r); f == nil {
				f = c.who.allow(r.Method, e.scopes)
			}
			if f != nil {
				answer(w, f.status, f.body)
				return
			}
		}
		out, err := e.handle(c)
		if err != nil {
			f := s.failure(r, err)
			answer(w, f.status, f.body)
			return
		}
		status := e.status
		if status == 0 {
			status = http.StatusOK
		}
		answer(w, status, out)
	})
}

func answer(w http.ResponseWriter, status int, body any) {
	b, err := json.Marshal(body)
	if err != nil { // only what cannot be a number
		status, b = http.StatusInternalServerError, []byte(`{"message":"Internal Server Error"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n'))
}

// body reads what the client sent.
func (c *call) body(most int64) ([]byte, error) {
	b, err := io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, most))
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return nil, fail(http.StatusRequestEntityTooLarge, fmt.Sprintf("the body has more than %d bytes", most))
	}
	return b, err
}

// decode reads JSON onto a value: what is not in it stays as it was.
func (c *call) decode(into any) error {
	b, err := c.body(maxBody)
	if err != nil {
		return err
	}
	return decodeOnto(b, into)
}

func decodeOnto(b []byte, into any) error {
	if !utf8.Valid(b) {
		return fail(http.StatusBadRequest, "the body is not UTF-8")
	}
	err := json.Unmarshal(b, into)
	var syntax *json.SyntaxError
	var typ *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return fail(http.StatusBadRequest, fmt.Sprintf("Syntax error: offset=%d, error=%s", syntax.Offset, syntax))
	case errors.As(err, &typ):
		return fail(http.StatusBadRequest, fmt.Sprintf("Unmarshal type error: expected=%s, got=%s, field=%s, offset=%d", typ.Type, typ.Value, typ.Field, typ.Offset))
	case err != nil:
		return fail(http.StatusBadRequest, err.Error())
	}
	return nil
}

// txn commits operations in the caller's name.
func (c *call) txn(ops ...state.Op) error {
	_, err := c.s.cfg.Store.Do(c.r.Context(), state.Command{
		Type: state.TypeTxn, RequestID: c.s.cfg.NewID(), Actor: c.who.actor, At: c.s.cfg.Now().UTC(), Ops: ops, Open: c.who.open,
	})
	return err
}

// flag reads a parameter that is set or not.
func (c *call) flag(name string) bool {
	switch strings.ToLower(c.r.URL.Query().Get(name)) {
	case "1", "true", "yes":
		return true
	}
	return false
}
