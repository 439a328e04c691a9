//go:build linux

package engine

import (
	"bytes"
	"errors"
	"time"

	"github.com/lbnode/lbnode/proxy"
	"github.com/lbnode/lbnode/proxy/http1"
	"github.com/lbnode/lbnode/proxy/route"
	"github.com/lbnode/lbnode/proxy/upstream"
	"github.com/lbnode/lbnode/stats"
)

// exchange is one request and its answer. What is not course stays with it for the next one.
type exchange struct {
	course
	chunk  http1.Chunked // the request's body
	rchunk http1.Chunked // the answer's
	total  timer
	idle   timer
	ready  func(*upstream.Ticket, upstream.Attempt) // made once with the exchange
}

// course is what an exchange begins anew with each request.
type course struct {
	c       *client
	u       *server
	x       proxy.Exchange
	who     proxy.Client
	at      upstream.Attempt
	running bool // at is begun and not ended
	routed  bool // x.Finish is due
	start   int64
	trail   proxy.Trail
	raw     []byte // the head as it came, to make another one of for another backend

	// The request.
	verb   http1.Verb
	minor  uint8
	keep   bool
	replay bool // may be sent again on a fresh connection if a kept-alive one turns out to be closed
	ws     bool
	accept [28]byte
	expect bool // the body waits for a 100
	told   bool // the client has been sent its 100
	body   http1.Body
	pace   proxy.Pace
	waits  int64 // when the wait for the next piece of the body began; 0 = does not wait
	left   int64
	length int64 // left at the beginning
	done   bool  // the body is read
	taken  bool  // bytes of the body are gone
	sent   bool  // the head is on its way to the backend
	parked bool  // waits in the pool's queue
	again  bool  // has been sent to the same backend a second time
	keeps  bool  // what is taken of the body is kept
	kept   []byte

	// The answer.
	status   int
	kind     stats.Kind
	reason   string // of an answer of our own
	begun    bool   // the client has been sent a head
	interim  int
	rbody    http1.Body
	rleft    int64
	coding   coding
	reusable bool
	close    bool // the client's connection ends with this answer
	first    time.Duration
	spent    time.Duration // of the last attempt, if there is an access log
	last     upstream.Kind

	tunnel         bool
	upEnd, downEnd bool // the client's, the backend's direction is over

	in, out uint64
}

// coding says how the body's framing changes on its way to the client.
type coding uint8

const (
	codingSame   coding = iota
	codingWrap          // until the end of the connection → chunked
	codingUnwrap        // chunked → until the end of the connection, for HTTP/1.0
)

var (
	errStalled = errors.New("the backend did not take the request in time")
	errClosed  = errors.New("the backend closed the connection")
)

func (l *loop) newExchange(c *client, head []byte) *exchange {
	var e *exchange
	if n := len(l.freeEx); n > 0 {
		e = l.freeEx[n-1]
		l.freeEx = l.freeEx[:n-1]
	} else {
		e = &exchange{}
		e.total.fire = func() { l.fail(e, upstream.TotalTimeout, nil) }
		e.idle.fire = func() { l.idleTimeout(e) }
		e.ready = func(t *upstream.Ticket, a upstream.Attempt) {
			if !l.post(func() { l.unpark(e, t, a) }) {
				a.Abandon()
			}
		}
	}
	r := &l.req
	c.e, e.c = e, c
	e.start = l.now
	e.verb, e.minor, e.keep = r.Verb, r.Minor, r.KeepAlive()
	e.body, e.left, e.length, e.done = r.Body, r.Length, r.Length, r.Body == http1.NoBody
	e.expect = r.ExpectContinue()
	e.replay = e.done && (r.Verb.Idempotent() || r.Count(http1.IdempotencyKey) > 0)
	if e.body == http1.ByChunks {
		e.chunk.Reset(&l.lim.Head)
	}
	if e.ws = r.WebSocket(); e.ws {
		http1.AcceptKey(&e.accept, r.Get(http1.SecWebSocketKey))
	}
	e.raw = append(l.bufs.get(len(head)), head...)
	e.kind = stats.Internal
	return e
}

func (l *loop) freeExchange(e *exchange) {
	l.wheel.drop(&e.total)
	l.wheel.drop(&e.idle)
	l.bufs.put(e.raw)
	l.bufs.put(e.kept)
	e.course = course{}
	l.freeEx = append(l.freeEx, e)
}

// foreign says that a request needs what a loop does not do.
func (l *loop) foreign(e *exchange) bool {
	if l.p.Mounted(e.x.Target.Kind) || e.x.Target.Mirror != nil {
		return true
	}
	if t := l.p.Table(); t != l.table {
		l.table = t
		clear(l.verd)
	}
	// All shares of a split or none: a request that is handed over is dealt anew.
	return !e.x.EachGroup(l.near)
}

// oursAlone says that the loops can speak to every backend of a group.
func (l *loop) oursAlone(g *route.Group) bool {
	v, ok := l.verd[g]
	if !ok {
		v = l.e.plain && g.All(func(u *upstream.Upstream) bool { return ours(u.Endpoint()) })
		l.verd[g] = v
	}
	return v
}

// ours says that a loop can speak to an endpoint: in clear text at a numeric address.
func ours(ep *upstream.Endpoint) bool { return ep == nil || ep.Scheme == "http" && ep.IP.IsValid() }

// try begins attempts until one is on its way or none is left. rest is the input behind the head; what is
// left of it comes back, nil if the connection no longer wants it. parsed says that l.req is this request.
func (l *loop) try(e *exchange, rest []byte, parsed bool) []byte {
	for {
		a, f := e.x.Next(e.ready)
		if f == proxy.Parked {
			l.enqueue(e)
			return rest
		}
		if f != nil {
			if e.x.Attempts() > 0 {
				f = proxy.RefusalOf(e.last)
			}
			return l.refuseAtOnce(e, f, rest)
		}
		e.at, e.running = a, true
		if !ours(a.Endpoint) { // changed this moment; the next request will find the new table
			l.endAttempt(e, upstream.ConnectFailed, errors.New("the backend's protocol was just changed"))
		} else {
			out, ok := l.send(e, rest, parsed)
			if ok {
				return out
			}
		}
		if e.taken {
			if rest = l.unread(e, rest); rest == nil {
				return l.refuseAtOnce(e, proxy.RefusalOf(upstream.Reset), nil)
			}
		}
		if !e.x.Retry(upstream.ConnectFailed, true) {
			return l.refuseAtOnce(e, proxy.RefusalOf(upstream.ConnectFailed), rest)
		}
		e.last, parsed = upstream.ConnectFailed, false
	}
}

// send puts the exchange on a connection. false: there is none to be had; the attempt is ended.
func (l *loop) send(e *exchange, rest []byte, parsed bool) ([]byte, bool) {
	if multiplexed(e.at.Endpoint) {
		return l.sendUp(e, rest, parsed)
	}
	for {
		u := l.takeIdle(e.at.Endpoint)
		if u == nil {
			break
		}
		u.e, e.u = e, u
		u.reused, u.gotByte = true, false
		left, ok := l.sendRequest(e, rest, parsed)
		if ok {
			return left, true
		}
		// Closed while it was idle: nothing of it can have been taken for a request.
		u.e, e.u = nil, nil
		l.closeServer(u)
		parsed = false
		e.sent = false
		if e.taken { // part of a chunked body is gone
			l.endAttempt(e, upstream.Reset, errClosed)
			return rest, false
		}
	}
	if err := l.dial(e); err != nil {
		l.endAttempt(e, upstream.ConnectFailed, err)
		return rest, false
	}
	return rest, true
}

// sendRequest sends the head, and the body as far as it has come. false: the connection is dead.
func (l *loop) sendRequest(e *exchange, rest []byte, parsed bool) ([]byte, bool) {
	r := &l.req
	if !parsed {
		r.Reset()
		if _, why := r.Parse(e.raw, &l.lim.Head); why != http1.OK {
			return rest, false // it was parsed before
		}
	}
	e.trail.Mark(r)
	l.scratch = e.x.Forward(&e.who, r, e.at, l.scratch[:0])
	l.scratch = e.x.StripCookie(r, l.scratch)
	opts := http1.Conn(0)
	if e.at.Endpoint.Proxy != "" {
		opts |= http1.Close // the connection speaks for this client alone
	}
	if e.ws {
		opts |= http1.Switch
	}
	if r.WantsTrailers() {
		opts |= http1.AskTrailers
	}
	if e.u.us != nil {
		if r.Check() != http1.OK {
			return rest, false
		}
		return l.requestUp(e, rest, opts), true
	}
	var why http1.Reason
	if l.out, why = r.Append(l.out[:0], opts); why != http1.OK {
		return rest, false
	}
	if e.expect && len(rest) > 0 {
		e.expect = false // the client does not wait
	}
	e.sent = true
	l.moved(e)
	if e.done || e.expect || len(rest) == 0 {
		if !l.write(&e.u.sock, l.out) {
			return rest, false
		}
		l.requestSent(e)
		return rest, true
	}
	b, n, why := l.requestBody(e, rest)
	if why.Refused() {
		l.endAttempt(e, upstream.BadRequest, why.Err())
		l.dropServer(e)
		return l.refuseAtOnce(e, proxy.RefusalOf(upstream.BadRequest), nil), true
	}
	l.out = append(l.out, b...)
	if !l.write(&e.u.sock, l.out) {
		// The kernel has taken nothing. A body of known length still stands in rest, as it came.
		if e.body == http1.ByLength || e.c.st != nil {
			e.left, e.in, e.done, e.taken = e.left+int64(n), e.in-uint64(n), false, false
			if e.keeps {
				e.kept = e.kept[:len(e.kept)-n]
			}
			return rest, false
		}
		return rest[n:], false
	}
	l.requestSent(e)
	return rest[n:], true
}

// requestSent sets the clock for what comes next: the rest of the body, a 100, or the answer.
func (l *loop) requestSent(e *exchange) {
	u := e.u
	switch {
	case len(u.pend) > 0:
		l.arm(&u.timer, l.lim.StallTimeout)
	case e.done:
		u.timer.deadline = 0
		if d := e.x.Target.FirstByte; d > 0 && !e.begun {
			l.arm(&u.timer, d)
		}
	case e.expect:
		l.arm(&u.timer, l.lim.ExpectWait)
	default:
		u.timer.deadline = 0
	}
	if st := e.c.st; st != nil && len(u.pend) == 0 {
		l.doneWith(st)
	}
	l.clientWait(e)
}

// clientWait sets the client's clock while its body is awaited.
func (l *loop) clientWait(e *exchange) {
	if e.waits != 0 {
		e.pace.Add(0, time.Duration(l.now-e.waits))
		e.waits = 0
	}
	if e.c.stalled() {
		if e.c.st == nil || e.c.timer.deadline == 0 {
			l.arm(&e.c.timer, l.lim.StallTimeout)
		}
		return
	}
	e.c.timer.deadline = 0
	if e.done || e.expect || !e.sent || len(e.u.pend) > 0 {
		return
	}
	if d := e.pace.Patience(l.p.BodyTimeout(), l.p.BodyRate()); d != 0 {
		l.arm(&e.c.timer, d)
		e.waits = l.now
	}
}

func (l *loop) bodyTimeout(e *exchange) {
	if e.begun {
		e.kind = stats.ClientTimeout
		l.fail(e, upstream.BadRequest, nil)
		return
	}
	l.endAttempt(e, upstream.BadRequest, nil)
	l.dropServer(e)
	l.refuse(e, proxy.RefuseSlowBody())
}

// endAttempt tells the core how the attempt ended.
func (l *loop) endAttempt(e *exchange, k upstream.Kind, err error) {
	if !e.running {
		return
	}
	e.running = false
	if k != upstream.OK { // else the last byte has just been read
		l.at = l.clock()
	}
	o := upstream.Outcome{Kind: k, Err: err, FirstByte: e.first, BytesIn: e.in, BytesOut: e.out, At: l.moment()}
	if e.begun {
		o.Status = e.status
	}
	if e.tunnel {
		o.Duration = -1
	}
	if l.e.log != nil {
		e.spent = e.at.ElapsedAt(o.At)
	}
	e.at.End(o)
}

// dropServer closes the backend's connection of an exchange.
func (l *loop) dropServer(e *exchange) {
	if u := e.u; u != nil {
		e.u, u.e = nil, nil
		l.closeServer(u)
	}
}

// fail ends an exchange that cannot be completed. The client gets an answer of ours if there is none yet,
// and sees that it is not complete otherwise (RFC 9112 §8).
func (l *loop) fail(e *exchange, k upstream.Kind, err error) {
	c := e.c
	l.endAttempt(e, k, err)
	l.dropServer(e)
	if k == upstream.ClientGone || e.begun {
		if e.kind == stats.Internal || e.kind == stats.OK {
			e.kind = k.Stats()
		}
		if st := c.st; st != nil {
			l.account(e)
			l.resetStream(st, resetCode(k), endedByUs)
			return
		}
		if e.begun && k != upstream.ClientGone && (e.coding == codingUnwrap || e.rbody == http1.UntilClose) {
			resetOnClose(c.fd)
		}
		l.account(e)
		l.closeClient(c)
		return
	}
	l.refuse(e, proxy.RefusalOf(k))
}

// refuse answers with an answer of ours and ends the exchange.
func (l *loop) refuse(e *exchange, f *proxy.Refusal) {
	c := e.c
	l.at = l.clock()
	if c.st != nil {
		l.refuseExchange(e, f)
		return
	}
	conn := http1.Conn(0)
	switch {
	case f.Close || !e.keep || !e.done || l.e.draining.Load():
		conn = http1.Close
	case e.minor == 0:
		conn = http1.Persist
	}
	l.out = f.Append(l.out[:0], l.p.NodeID(), e.verb, conn)
	e.status, e.kind, e.reason, e.out = f.Status, f.Kind, f.Code, bodyOf(l.out)
	l.account(e)
	if conn == http1.Close {
		l.lastWords(c, l.out)
		return
	}
	c.state = stIdle
	l.arm(&c.timer, l.lim.IdleTimeout)
	if !l.write(&c.sock, l.out) {
		l.closeClient(c)
		return
	}
	if len(c.pend) > 0 {
		l.arm(&c.timer, l.lim.StallTimeout)
	}
	// What was sent already is fed by the caller, or by the next turn if there is none.
	if len(c.in) > 0 || c.readable {
		l.later(c.idx, &c.queued)
	}
}

// bodyOf is the length of the body of a whole message.
func bodyOf(message []byte) uint64 {
	return uint64(len(message) - bytes.Index(message, []byte("\r\n\r\n")) - 4)
}

// account counts an exchange and frees it.
func (l *loop) account(e *exchange) {
	d := time.Duration(l.at - e.start)
	counted := d
	if e.tunnel {
		counted = -1
	}
	o := proxy.Outcome(e.status, e.kind, counted, e.in, e.out, l.shard)
	o.End = l.moment()
	if e.routed {
		e.x.Finish(o)
	}
	l.total.Record(o)
	if log := l.e.log; log != nil && log.Wants(e.status) {
		log.Log(l.entry(e, d))
	}
	e.c.e = nil
	l.freeExchange(e)
}
