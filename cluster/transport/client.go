package transport

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"time"
)

// Call sends one request to the node at addr and waits for the answer. ctx
// bounds it (CallTimeout if it has no deadline), and its deadline travels to
// the handler. The error tells what became of the request:
//
//   - *RemoteError: handled, the handler returned this error;
//   - ErrNotSent: certainly not handled (dial, handshake, refusal, context done
//     before the first byte);
//   - ErrOutcomeUnknown: anything else.
func (m *Mux) Call(ctx context.Context, addr, method string, req []byte) ([]byte, error) {
	resp, sent, err := m.tryCall(ctx, addr, method, req)
	if err == nil {
		return resp, nil
	}
	var remote *RemoteError
	switch {
	case errors.As(err, &remote):
		return nil, err
	case sent:
		return nil, fmt.Errorf("call %s on %s: %w: %w", method, addr, ErrOutcomeUnknown, err)
	default:
		return nil, fmt.Errorf("call %s on %s: %w: %w", method, addr, ErrNotSent, err)
	}
}

func (m *Mux) tryCall(ctx context.Context, addr, method string, req []byte) (resp []byte, sent bool, err error) {
	if len(method) == 0 || len(method) > 255 {
		return nil, false, fmt.Errorf("method name of %d bytes", len(method))
	}
	if size := int64(len(req)); size > m.cfg.MaxBody {
		return nil, false, tooLarge{size, m.cfg.MaxBody}
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, m.cfg.CallTimeout)
		defer cancel()
	}
	slot, err := m.pool.enter(ctx, m.ctx, addr)
	if err != nil {
		return nil, false, err
	}
	defer m.pool.leave(slot)
	for {
		c := m.pool.take(slot, m.cfg.Identity().ClusterID, m.creds.Load().keys[0])
		reused := c != nil
		if !reused {
			if c, err = m.connect(ctx, addr); err != nil {
				return nil, false, err
			}
		}
		resp, sent, err = c.roundTrip(ctx, method, req)
		if c.usable() {
			m.pool.put(slot, c)
		} else {
			c.abort()
		}
		// A pooled connection that died unnoticed took nothing with it: go on
		// with the next one, in the end a fresh one.
		if err == nil || sent || !reused || ctx.Err() != nil || errors.Is(err, ErrRefused) {
			return resp, sent, err
		}
	}
}

// clientConn is one pooled connection, owned by one call at a time.
type clientConn struct {
	nc   *Conn
	w    *bufio.Writer
	resp chan reply
	dead chan struct{} // closed by the reader, after err is set
	err  error
	idle time.Time // since when, while in the pool
	ok   bool      // the last exchange was complete
}

func (m *Mux) connect(ctx context.Context, addr string) (*clientConn, error) {
	nc, err := m.dial(ctx, addr, ProtoRPC)
	if err != nil {
		return nil, err
	}
	c := newClientConn(nc)
	if !m.start(func() { c.read(m.cfg.MaxBody) }) {
		_ = nc.Close()
		return nil, ErrClosed
	}
	return c, nil
}

func newClientConn(nc *Conn) *clientConn {
	return &clientConn{nc: nc, w: bufio.NewWriter(nc.Conn), resp: make(chan reply, 1), dead: make(chan struct{})}
}

// read is the connection's only reader for all its life. That it always waits
// is how a connection that dies in the pool is noticed.
func (c *clientConn) read(limit int64) {
	defer close(c.dead)
	defer c.nc.Close()
	r := bufio.NewReader(c.nc.Conn)
	for {
		a, err := readReply(r, limit)
		if err != nil {
			c.err = err
			return
		}
		select {
		case c.resp <- a:
		default:
			c.err = errFrame // nobody asked
			return
		}
	}
}

// alive reports whether a pooled connection can take a request.
func (c *clientConn) alive() bool {
	select {
	case <-c.dead:
		return false
	default:
		return len(c.resp) == 0
	}
}

func (c *clientConn) usable() bool { return c.ok && c.alive() }

// abort closes without ceremony and unblocks both directions.
func (c *clientConn) abort() {
	_ = c.nc.raw.Close()
}

func (c *clientConn) roundTrip(ctx context.Context, method string, req []byte) (resp []byte, sent bool, err error) {
	c.ok = false
	if err := ctx.Err(); err != nil {
		c.ok = true
		return nil, false, err
	}
	q := request{method: method, body: req}
	if d, ok := ctx.Deadline(); ok {
		if q.timeout = time.Until(d); q.timeout <= 0 {
			c.ok = true
			return nil, false, context.DeadlineExceeded
		}
	}
	stop := context.AfterFunc(ctx, c.abort)
	before := c.nc.raw.written.Load()
	if err := writeRequest(c.w, q); err != nil {
		stop()
		return nil, c.nc.raw.written.Load() != before, ctxOr(ctx, err)
	}
	select {
	case a := <-c.resp:
		c.ok = stop()
		return c.finish(a)
	case <-c.dead:
	}
	stop()
	select { // the answer may have come just before the end
	case a := <-c.resp:
		return c.finish(a)
	default:
		return nil, true, ctxOr(ctx, c.err)
	}
}

// finish reads an answer. A refusal was decided before the handler, so the
// request counts as not sent.
func (c *clientConn) finish(a reply) (resp []byte, sent bool, err error) {
	err = a.err(c.nc.peer)
	var refused *RefusedError
	if errors.As(err, &refused) {
		c.nc.mux.noteRefused(c.nc.peer.RemoteAddr, refused)
		return nil, false, err
	}
	if err != nil {
		return nil, true, err
	}
	return a.body, true, nil
}

// ctxOr prefers the context's error: the other one is only its consequence.
func ctxOr(ctx context.Context, err error) error {
	if cause := ctx.Err(); cause != nil {
		return cause
	}
	return err
}
