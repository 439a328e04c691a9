package transport

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"
)

// Handler answers one rpc. ctx ends with the caller's deadline, when the caller
// hangs up, or at Close, and the handler must then return: Close waits for it.
// req belongs to the handler. An error reaches the caller as a *RemoteError,
// but a bare context error as ErrOutcomeUnknown.
type Handler func(ctx context.Context, p Peer, req []byte) ([]byte, error)

type method struct {
	serve Handler
	open  bool // also for peers that are no members of our cluster
}

type methods struct {
	mu sync.RWMutex
	by map[string]method
}

func (s *methods) set(name string, m method) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.by == nil {
		s.by = make(map[string]method)
	}
	s.by[name] = m
}

func (s *methods) get(name string) (method, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	m, ok := s.by[name]
	return m, ok
}

// Handle serves method to members of our own cluster. Method names have 1 to
// 255 bytes; a second Handle replaces the first.
func (m *Mux) Handle(name string, h func(ctx context.Context, p Peer, req []byte) ([]byte, error)) {
	m.methods.set(name, method{serve: h})
}

// HandleOpen serves method to every node that holds the key, member or not; the
// handler judges p.ClusterID itself.
func (m *Mux) HandleOpen(name string, h func(ctx context.Context, p Peer, req []byte) ([]byte, error)) {
	m.methods.set(name, method{serve: h, open: true})
}

type incoming struct {
	request
	err error
}

// serveRPC answers the requests of one connection, one at a time. A second
// goroutine reads ahead: that is how a caller that hangs up is noticed.
func (m *Mux) serveRPC(c *Conn) {
	ctx, cancel := context.WithCancel(m.ctx)
	defer cancel()
	defer c.Close()
	in := make(chan incoming)
	reading := m.start(func() {
		defer cancel()
		r := bufio.NewReader(c.Conn)
		for {
			// Waiting for a request has no limit, reading one has: a caller that
			// freezes half way must not hold the connection for ever.
			if _, err := r.Peek(1); err != nil {
				return
			}
			_ = c.SetReadDeadline(time.Now().Add(m.cfg.CallTimeout))
			q, err := readRequest(r, m.cfg.MaxBody)
			_ = c.SetReadDeadline(time.Time{})
			if err != nil && !errors.Is(err, ErrTooLarge) {
				return
			}
			select {
			case in <- incoming{q, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	})
	if !reading {
		return
	}
	w := bufio.NewWriter(c.Conn)
	for {
		select {
		case q := <-in:
			var a reply
			if q.err != nil {
				a = refusedReply(refusedSize, q.err.Error())
			} else {
				a = m.answer(ctx, c, q.request)
			}
			_ = c.SetWriteDeadline(time.Now().Add(m.cfg.CallTimeout))
			if err := writeReply(w, a); err != nil || q.err != nil {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// answer runs one request. Everything up to the handler's call is a refusal:
// the caller may count on the handler not having seen it.
func (m *Mux) answer(ctx context.Context, c *Conn, q request) reply {
	h, ok := m.methods.get(q.method)
	if !ok {
		return refusedReply(refusedMethod, fmt.Sprintf("%s does not know the method %q: an older version, or still starting", m.nodeID, q.method))
	}
	if !h.open {
		if code, reason := checkMembership(m.identity(), c.peer.Identity); code != accepted {
			m.noteInbound(c.peer.RemoteAddr, &RefusedError{Peer: c.peer, Reason: reason, code: code})
			return refusedReply(code, reason)
		}
	}
	if ctx.Err() != nil {
		return refusedReply(refusedClosing, "shutting down")
	}
	if q.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, q.timeout)
		defer cancel()
	}
	resp, err := m.call(ctx, h.serve, c.peer, q)
	var remote *RemoteError
	switch {
	case errors.As(err, &remote):
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		// Nothing is known about a handler that gave up half way, and the caller
		// must not take this for the handler's verdict.
		return reply{kind: answerUnknown, body: []byte(err.Error())}
	case err != nil:
		remote = &RemoteError{Code: CodeError, Msg: err.Error()}
	case int64(len(resp)) > m.cfg.MaxBody:
		remote = &RemoteError{Code: CodeTooLarge, Msg: tooLarge{int64(len(resp)), m.cfg.MaxBody}.Error()}
	default:
		return reply{kind: answerOK, body: resp}
	}
	if over := len(remote.Msg) + 512 - int(m.cfg.MaxBody); over > 0 {
		remote = &RemoteError{Code: remote.Code, Msg: remote.Msg[:max(0, len(remote.Msg)-over)]}
	}
	return remoteReply(remote)
}

// call keeps a handler's panic from taking down the node, and the next node that
// the caller then turns to.
func (m *Mux) call(ctx context.Context, h Handler, p Peer, q request) (resp []byte, err error) {
	defer func() {
		if r := recover(); r != nil {
			m.log.LogAttrs(ctx, slog.LevelError, "cluster rpc handler panicked",
				slog.String("method", q.method), slog.String("node", p.NodeID),
				slog.Any("panic", r), slog.String("stack", string(debug.Stack())))
			resp, err = nil, &RemoteError{Code: CodePanic, Msg: fmt.Sprintf("the handler of %s panicked: %v", q.method, r)}
		}
	}()
	return h(ctx, p, q.body)
}
