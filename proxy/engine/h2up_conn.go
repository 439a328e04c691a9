//go:build linux

package engine

import (
	"errors"
	"syscall"
	"time"

	"github.com/lbnode/lbnode/proxy/http2"
	"github.com/lbnode/lbnode/proxy/upstream"
	"github.com/lbnode/lbnode/state"
	"github.com/lbnode/lbnode/stats"
)

// This file is about HTTP/2 connections to backends as a whole: their beginning, their clock, their end.

const (
	windowUp     = 256 << 10 // of an answer's body: what is kept of it while its client does not take it
	windowUpConn = 4 << 20   // of all bodies of a connection; it is given back at once, see DESIGN.md
	streamsUp    = 256       // most streams of a connection, whatever the backend allows
	promisedUp   = 100       // streams that a connection is counted on for before its SETTINGS have come
	bucketsUp    = 64
	settleWait   = 15 * time.Second // for a connection whose exchanges have given up
	trailingWait = 5 * time.Second  // for the END_STREAM of an answer that is complete
	lastStreamUp = 1<<31 - 1
)

var (
	errNotHTTP2   = errors.New("the backend does not speak HTTP/2")
	errBadFrames  = errors.New("the backend broke HTTP/2")
	errFlooded    = errors.New("the backend made too much work without use")
	errNoPing     = errors.New("the backend did not answer a PING")
	errLostStream = errors.New("the backend reset the stream")
	errRefused    = errors.New("the backend did not take the request up")
	errHead       = errors.New("the request's head cannot be sent")
	errBadAnswer  = errors.New("the answer is no valid HTTP/2")
)

// upConn is what a connection that speaks HTTP/2 with a backend has beyond a server.
type upConn struct {
	pool *upPool
	dec  http2.Decoder
	enc  http2.Encoder
	tab  [bucketsUp]*upStream
	n    int    // streams
	next uint32 // the next one's number

	sendWin     int64
	recvWin     int64
	owed        int
	peerInit    int64
	peerMax     int    // largest frame that the backend takes
	peerStreams uint32 // most streams at once
	peerList    uint32 // largest list of fields

	out    []byte // frames of this batch
	dirty  bool   // stands in loop.dirty
	resume bool   // streams in waiting may be able to go on
	full   bool   // a stream was held back because out is full
	first  *upStream
	lastly *upStream // streams in waiting, first to last
	queued int       // how many

	settled bool // SETTINGS have come
	pinged  bool // nothing has come since our PING
	away    bool // no new streams
	phase   h2phase

	block    []byte // of a header block that has not ended
	blockID  uint32 // 0 = none
	blockEnd bool   // it ends its stream
	pieces   int

	effort meter // frames that ask for work without use
}

// upPool is a loop's HTTP/2 connections to one endpoint, and the exchanges that wait for room on one.
type upPool struct {
	ep            *upstream.Endpoint
	conns         []*server
	first, lastly *upStream
	waiting       int
	dialing       int // connections that goroutines make
}

// multiplexed says that requests to an endpoint go on streams of HTTP/2.
func multiplexed(ep *upstream.Endpoint) bool {
	return ep.Proxy == "" && (ep.Protocol == state.ProtocolH2 || ep.Protocol == state.ProtocolH2C)
}

func (l *loop) upPool(ep *upstream.Endpoint) *upPool {
	p := l.ups[ep]
	if p == nil {
		p = &upPool{ep: ep}
		l.ups[ep] = p
	}
	return p
}

// room gives a connection that takes another stream; nil: there is none. The first that can is taken, so that few
// connections carry many requests, and a batch is one write.
func (p *upPool) room() *server {
	for _, u := range p.conns {
		if u.h2.room() {
			return u
		}
	}
	return nil
}

func (h *upConn) room() bool {
	return h.settled && !h.away && h.n < int(min(h.peerStreams, streamsUp)) && h.next < lastStreamUp
}

// promised is how many waiting exchanges the connections that are being made are for. A backend that takes no streams
// at all gets no further connections.
func (p *upPool) promised() int {
	n := p.dialing * promisedUp
	for _, u := range p.conns {
		switch h := u.h2; {
		case h.away:
		case !h.settled:
			n += promisedUp
		case h.peerStreams == 0:
			return p.waiting
		}
	}
	return n
}

// awaitRoom puts an exchange into the queue for a stream. An error says that there is no connection to be had.
func (l *loop) awaitRoom(e *exchange) error {
	p := l.upPool(e.at.Endpoint)
	us := l.newUpStream(e)
	us.pool, us.prev, us.after = p, p.lastly, nil
	if p.lastly != nil {
		p.lastly.after = us
	} else {
		p.first = us
	}
	p.lastly = us
	p.waiting++
	us.u.connecting = true
	if d := e.x.Target.Connect; d > 0 {
		l.arm(&us.u.timer, d)
	}
	if u := p.room(); u != nil {
		l.soilUp(u)
		return nil
	}
	if err := l.dialMore(p, e.x.Target.Connect); err != nil {
		l.dropServer(e)
		return err
	}
	return nil
}

// dialMore makes a connection if those that there are will not do for all who wait.
func (l *loop) dialMore(p *upPool, patience time.Duration) error {
	if p.promised() >= p.waiting {
		return nil
	}
	addr, err := addrOf(p.ep)
	if err != nil {
		return err
	}
	u, err := l.newServer(p.ep, addr)
	if err != nil {
		return err
	}
	l.beginUp(p, u)
	l.arm(&u.timer, max(settleWait, patience+time.Second))
	return nil
}

// beginUp makes a connection one of HTTP/2.
func (l *loop) beginUp(p *upPool, u *server) {
	h := &upConn{
		pool: p, dec: http2.NewDecoder(&l.hpack), enc: http2.NewEncoder(l.seed), next: 1,
		sendWin: http2.FirstWindow, recvWin: windowUpConn, peerInit: http2.FirstWindow, peerMax: http2.DefaultFrame,
		peerStreams: streamsUp, peerList: 1<<32 - 1, effort: meter{left: effortMost},
	}
	u.h2 = h
	p.conns = append(p.conns, u)
	h.out = append(l.bufs.get(128), http2.Preface...)
	h.out = http2.AppendSettings(h.out,
		http2.Setting{ID: http2.EnablePush, Value: 0},
		http2.Setting{ID: http2.InitialWindowSize, Value: windowUp},
		http2.Setting{ID: http2.MaxHeaderListSize, Value: uint32(l.e.answer.Head)})
	h.out = http2.AppendWindowUpdate(h.out, 0, windowUpConn-http2.FirstWindow)
	l.soilUp(u)
}

// soilUp has a connection's output sent at the end of the batch.
func (l *loop) soilUp(u *server) {
	if h := u.h2; !h.dirty {
		h.dirty = true
		l.dirty = append(l.dirty, slotRef{u.idx, l.slots[u.idx].gen})
	}
}

// roomUp has h.out take n more bytes without an allocation of its own.
func (l *loop) roomUp(h *upConn, n int) {
	if cap(h.out)-len(h.out) >= n {
		return
	}
	b := append(l.bufs.get(max(len(h.out)+n, 2*cap(h.out))), h.out...)
	l.bufs.put(h.out)
	h.out = b
}

// eventUp is serverEvent for an HTTP/2 connection.
func (l *loop) eventUp(u *server, ev uint32) {
	h := u.h2
	if u.connecting {
		if ev&(syscall.EPOLLOUT|syscall.EPOLLERR|syscall.EPOLLHUP) == 0 {
			return
		}
		if errno := socketError(u.fd); errno != 0 {
			l.loseUp(u, upstream.ConnectFailed, errno)
			return
		}
		u.connecting = false
		l.soilUp(u)
	} else if ev&syscall.EPOLLOUT != 0 && len(u.pend) > 0 {
		done, ok := l.flush(&u.sock)
		if !ok {
			l.loseUp(u, upstream.Reset, syscall.EPIPE)
			return
		}
		h.phase = phaseNone // it moves
		if done {
			l.soilUp(u)
		} else {
			l.clockUp(u)
		}
	}
	if ev&(epollRDHUP|syscall.EPOLLHUP|syscall.EPOLLERR) != 0 {
		u.hup = true
	}
	if ev&(syscall.EPOLLIN|epollRDHUP|syscall.EPOLLHUP|syscall.EPOLLERR) != 0 {
		u.readable = true
		l.readUp(u)
	}
}

// readUp takes what has come. It reads on even while the backend does not take what it is sent, as that may wait for
// the other.
func (l *loop) readUp(u *server) {
	h := u.h2
	for turn := 0; u.h2 == h && u.fd >= 0 && u.readable && !u.connecting; turn++ {
		if turn == budget {
			l.later(u.idx, &u.queued)
			return
		}
		l.ownFrames(nil)
		b, r := l.fillInto(&u.sock, l.frames)
		switch r {
		case readAgain:
			return
		case readSome:
			l.takeUpFrames(u, b)
		case readEnd:
			l.loseUp(u, upstream.Reset, errClosed)
		case readError:
			l.loseUp(u, upstream.Reset, syscall.ECONNRESET)
		}
	}
}

// flushUp sends what has been gathered for a connection, as one piece.
func (l *loop) flushUp(u *server) {
	h := u.h2
	if u.connecting {
		h.dirty = false
		return
	}
	for turn := 0; ; turn++ {
		l.serveWaiting(h.pool)
		if p := h.pool; p.first != nil {
			if err := l.dialMore(p, 0); err != nil {
				l.failWaiting(p, upstream.ConnectFailed, err)
			}
		}
		if len(u.pend) > 0 {
			break
		}
		if h.full {
			h.full, h.resume = false, true
		}
		if h.resume {
			h.resume = false
			l.resumeUps(u)
		}
		if len(h.out) > 0 {
			if !l.write(&u.sock, h.out) {
				l.loseUp(u, upstream.Reset, syscall.EPIPE)
				return
			}
			h.out = h.out[:0]
		}
		if !h.full {
			break
		}
		if turn == maxTurns {
			l.dirtyNext = append(l.dirtyNext, slotRef{u.idx, l.slots[u.idx].gen})
			return // still dirty
		}
	}
	h.dirty = false
	if len(h.out) == 0 {
		l.bufs.put(h.out)
		h.out = nil
	}
	if h.n == 0 && h.settled && len(u.pend) == 0 && (h.away || len(h.pool.conns) > l.e.maxIdle || l.stage == stageQuiet) {
		l.leaveUp(u)
		return
	}
	l.clockUp(u)
}

// serveWaiting gives exchanges that wait streams, as long as there are any.
func (l *loop) serveWaiting(p *upPool) {
	for p.first != nil {
		u := p.room()
		if u == nil {
			return
		}
		us := p.first
		p.unlink(us)
		us.u.connecting = false
		us.u.timer.deadline = 0
		l.openUp(us, u)
		l.connected(us.u.e)
	}
}

func (p *upPool) unlink(us *upStream) {
	if us.prev != nil {
		us.prev.after = us.after
	} else {
		p.first = us.after
	}
	if us.after != nil {
		us.after.prev = us.prev
	} else {
		p.lastly = us.prev
	}
	us.pool, us.prev, us.after = nil, nil, nil
	p.waiting--
}

// clockUp sets the connection's timer for what it waits for.
func (l *loop) clockUp(u *server) {
	h, d := u.h2, time.Duration(0)
	var phase h2phase
	switch {
	case len(u.pend) > 0:
		phase, d = phaseStall, l.lim.StallTimeout
	case !h.settled:
		return // has had its deadline since it was begun
	case h.blockID != 0 || len(u.in) > 0:
		phase, d = phaseHead, l.lim.HeadTimeout
	case h.n == 0:
		phase, d = phaseIdle, l.e.idleTimeout
	case h.pinged:
		phase, d = phasePing, pingWait
	default:
		phase, d = phasePing, pingEvery
	}
	if phase == h.phase && (phase == phaseHead || phase == phaseStall || phase == phaseIdle && u.timer.deadline != 0) {
		return
	}
	h.phase = phase
	l.arm(&u.timer, d)
}

func (l *loop) timeoutUp(u *server) {
	h := u.h2
	phase := h.phase
	h.phase = phaseNone
	switch {
	case phase == phaseStall:
		l.loseUp(u, upstream.Reset, errStalled)
	case !h.settled:
		l.loseUp(u, upstream.ConnectTimeout, errors.New("connect timeout"))
	case phase == phaseHead:
		l.dieUp(u, http2.ProtocolError)
	case phase == phaseIdle:
		l.leaveUp(u)
	case h.pinged:
		l.loseUp(u, upstream.Reset, errNoPing)
	default:
		h.pinged = true
		l.roomUp(h, 17)
		h.out = http2.AppendPing(h.out, 0, pingAlive)
		l.soilUp(u)
	}
}

// leaveUp closes a connection that has no streams.
func (l *loop) leaveUp(u *server) {
	l.out = http2.AppendGoAway(l.out[:0], 0, http2.NoError)
	_ = l.write(&u.sock, l.out) // it closes anyway
	l.loseUp(u, upstream.Reset, errClosed)
}

// dieUp ends a connection whose backend breaks the protocol, or makes too much work.
func (l *loop) dieUp(u *server, code http2.ErrCode) {
	err := errBadFrames
	switch {
	case code == http2.EnhanceYourCalm:
		err = errFlooded
		l.total.Count(stats.HTTP2Flood)
	case !u.h2.settled:
		err = errNotHTTP2
	}
	l.out = http2.AppendGoAway(l.out[:0], 0, code)
	_ = l.write(&u.sock, l.out) // it closes anyway
	l.loseUp(u, upstream.BadResponse, err)
}

// loseUp closes a connection. What its exchanges make of it is up to them. Those that wait for it to be made fail, and
// for others a new one is made.
func (l *loop) loseUp(u *server, k upstream.Kind, err error) {
	h := u.h2
	p := h.pool
	for i := range h.tab {
		for h.tab[i] != nil {
			us := h.tab[i]
			l.detach(us)
			us.lost = true
			l.breakUp(us, k, err)
		}
	}
	l.closeServer(u)
	switch {
	case !h.settled:
		if !k.NothingSent() {
			k = upstream.ConnectFailed
		}
		l.failWaiting(p, k, err)
	case p.waiting > 0:
		if err := l.dialMore(p, 0); err != nil {
			l.failWaiting(p, upstream.ConnectFailed, err)
		}
	}
	l.dropPool(p)
	l.wakeUps()
}

// failWaiting tells all who wait that there is no connection.
func (l *loop) failWaiting(p *upPool, k upstream.Kind, err error) {
	for n := p.waiting; n > 0 && p.first != nil; n-- {
		l.connectFailed(p.first.u.e, k, err)
	}
}

// dropPool forgets a pool that nobody uses.
func (l *loop) dropPool(p *upPool) {
	if len(p.conns) == 0 && p.first == nil && p.dialing == 0 && l.ups[p.ep] == p {
		delete(l.ups, p.ep)
	}
}

// dropUp frees what an HTTP/2 connection holds. It has no streams.
func (l *loop) dropUp(u *server) {
	h := u.h2
	for i, x := range h.pool.conns {
		if x == u {
			h.pool.conns = append(h.pool.conns[:i], h.pool.conns[i+1:]...)
			break
		}
	}
	l.bufs.put(h.out)
	l.bufs.put(h.block)
	h.out, h.block = nil, nil
}
