//go:build linux

package engine

import (
	"time"

	"github.com/lbnode/lbnode/proxy/http2"
	"github.com/lbnode/lbnode/proxy/upstream"
	"github.com/lbnode/lbnode/stats"
)

// This file is about HTTP/2 connections as a whole: their beginning, their clock, their end.

const (
	windowStream = 128 << 10 // of a request's body: what is kept of it while its backend does not take it
	windowConn   = 1 << 20   // of all bodies of a connection
	maxOut       = 256 << 10 // output gathered in a batch before backends are held back
	maxTurns     = 4         // times that much in a batch, before others have their turn
	pingEvery    = 30 * time.Second
	pingWait     = 15 * time.Second
	awayWait     = time.Second // for streams that were on their way as the first GOAWAY was sent
	buckets      = 32
	remembered   = 32 // streams that have ended last
)

// h2phase is what a connection's timer waits for.
type h2phase uint8

const (
	phaseNone  h2phase = iota
	phaseHead          // for settings, or for the rest of a frame or header block
	phaseStall         // for the client to take what it asked for
	phaseIdle          // for a request
	phasePing          // to ask whether the client is still there
	phaseAway          // to send the second GOAWAY
)

// Stages of a connection's end (RFC 9113 §6.8).
const (
	awayNo     = iota
	awayWarned // new streams are still served
	awayFinal  // new streams are ignored
)

// h2conn is what a connection that speaks HTTP/2 has beyond a client.
type h2conn struct {
	dec      http2.Decoder
	enc      http2.Encoder
	tab      [buckets]*stream
	n        int    // streams
	last     uint32 // largest stream of the client
	sendWin  int64
	recvWin  int64
	owed     int // received and done with, but not yet given back to the client's window
	peerInit int64
	peerMax  int // largest frame that the client takes

	out    []byte // frames of this batch
	dirty  bool   // stands in loop.dirty
	resume bool   // streams in waiting may be able to go on
	full   bool   // a stream was held back because out is full
	first  *stream
	lastly *stream // streams in waiting, first to last
	queued int     // how many

	greeted bool // the preface has come
	settled bool // and SETTINGS
	pinged  bool // nothing has come since our PING
	away    uint8
	phase   h2phase

	block    []byte // of a header block that has not ended
	blockID  uint32 // 0 = none
	blockEnd bool   // it ends its stream
	blockOwn bool   // it depends on itself
	pieces   int

	ended  [remembered]uint32 // streams, with how they ended in the top bits
	endedN uint8
	effort meter // frames that ask for work without use
	resets meter // streams that were broken off by the client, or because of it
}

// openH2 makes a connection one of HTTP/2.
func (l *loop) openH2(c *client) {
	h := &h2conn{
		dec: http2.NewDecoder(&l.hpack), enc: http2.NewEncoder(l.seed),
		sendWin: http2.FirstWindow, recvWin: windowConn, peerInit: http2.FirstWindow, peerMax: http2.DefaultFrame,
		effort: meter{left: effortMost}, resets: meter{left: resetsMost},
	}
	c.h2, c.state, c.used = h, stH2, true
	l.makeRoom(h, 128)
	h.out = http2.AppendSettings(h.out,
		http2.Setting{ID: http2.MaxConcurrentStreams, Value: uint32(l.lim.Streams)},
		http2.Setting{ID: http2.InitialWindowSize, Value: windowStream},
		http2.Setting{ID: http2.MaxHeaderListSize, Value: uint32(l.lim.Head.Head)},
		http2.Setting{ID: http2.NoPriorities, Value: 1})
	h.out = http2.AppendWindowUpdate(h.out, 0, windowConn-http2.FirstWindow)
	l.soil(c)
	l.clockH2(c)
}

// soil has a connection's output sent at the end of the batch.
func (l *loop) soil(c *client) {
	if h := c.h2; !h.dirty {
		h.dirty = true
		l.dirty = append(l.dirty, slotRef{c.idx, l.slots[c.idx].gen})
	}
}

// makeRoom has h.out take n more bytes without an allocation of its own.
func (l *loop) makeRoom(h *h2conn, n int) {
	if cap(h.out)-len(h.out) >= n {
		return
	}
	b := append(l.bufs.get(max(len(h.out)+n, 2*cap(h.out))), h.out...)
	l.bufs.put(h.out)
	h.out = b
}

// readH2 takes what has come. false: there is nothing more to do now.
func (l *loop) readH2(c *client) bool {
	if len(c.pend) > 0 {
		return false // who does not read our answers is not asked for more
	}
	l.ownFrames(nil)
	b, r := l.fillInto(&c.sock, l.frames)
	switch r {
	case readSome:
		l.takeFrames(c, b)
		return c.fd >= 0 && c.state == stH2
	case readAgain:
		return false
	}
	l.closeClient(c)
	return false
}

// ownFrames copies input into the read buffer of HTTP/2 connections: the other one is needed while it is taken.
func (l *loop) ownFrames(b []byte) []byte {
	if l.frames == nil {
		l.frames = make([]byte, readSize)
	}
	return l.frames[:copy(l.frames, b)]
}

// takeFrames takes all whole frames in b, which lies in l.frames, and keeps the rest.
func (l *loop) takeFrames(c *client, b []byte) {
	h := c.h2
	h.pinged = false
	if !h.greeted {
		n := min(len(b), len(http2.Preface))
		if string(b[:n]) != http2.Preface[:n] {
			l.dieH2(c, http2.ProtocolError)
			return
		}
		if n < len(http2.Preface) {
			l.setInput(&c.sock, b)
			return
		}
		h.greeted = true
		b = b[n:]
	}
	code := http2.NoError
	for len(b) >= http2.HeaderSize && code == http2.NoError {
		f := http2.ParseFrameHeader(b)
		if f.Length > http2.DefaultFrame {
			code = http2.FrameSizeError
			break
		}
		size := http2.HeaderSize + f.Length
		if len(b) < size {
			break
		}
		code = l.takeFrame(c, f, b[http2.HeaderSize:size])
		b = b[size:]
	}
	l.wakeStreams()
	if c.fd < 0 || c.h2 != h {
		return
	}
	if code != http2.NoError {
		l.dieH2(c, code)
		return
	}
	l.setInput(&c.sock, b)
	if len(h.out) > 0 || h.resume {
		l.soil(c)
	}
	if l.e.draining.Load() && h.settled {
		l.warnAway(c)
	}
	l.clockH2(c)
}

// wakeStreams lets the streams go on for which something came with the frames of one read.
func (l *loop) wakeStreams() {
	for i := 0; i < len(l.woken); i++ {
		st := l.woken[i]
		switch {
		case !st.woken: // it has ended meanwhile
		case st.fresh:
			st.woken, st.fresh = false, false
			l.startStream(st)
		default:
			st.woken = false
			l.streamInput(st)
		}
	}
	l.woken = l.woken[:0]
}

// flushDirty is the end of a batch: what has been gathered for each connection leaves as one piece.
func (l *loop) flushDirty() {
	for i := 0; i < len(l.dirty); i++ {
		r := l.dirty[i]
		switch s := l.slots[r.idx]; {
		case s.gen != r.gen:
		case s.c != nil && s.c.h2 != nil:
			l.flushH2(s.c)
		case s.u != nil && s.u.h2 != nil:
			l.flushUp(s.u)
		}
	}
	l.dirty, l.dirtyNext = append(l.dirty[:0], l.dirtyNext...), l.dirtyNext[:0]
}

func (l *loop) flushH2(c *client) {
	h := c.h2
	for turn := 0; len(c.pend) == 0; turn++ {
		if h.full {
			h.full, h.resume = false, true
		}
		if h.resume {
			h.resume = false
			l.resumeStreams(c)
			if c.fd < 0 || c.h2 != h {
				return
			}
		}
		if len(h.out) > 0 {
			if !l.write(&c.sock, h.out) {
				l.closeClient(c)
				return
			}
			h.out = h.out[:0]
		}
		if !h.full {
			break
		}
		if turn == maxTurns {
			l.dirtyNext = append(l.dirtyNext, slotRef{c.idx, l.slots[c.idx].gen})
			return // still dirty
		}
	}
	h.dirty = false
	if cap(h.out) > 0 && len(h.out) == 0 {
		l.bufs.put(h.out)
		h.out = nil
	}
	if h.away == awayFinal && h.n == 0 && len(c.pend) == 0 {
		l.leaveH2(c)
		return
	}
	l.clockH2(c)
}

// clockH2 sets the connection's timer for what it waits for.
func (l *loop) clockH2(c *client) {
	h, d := c.h2, time.Duration(0)
	var phase h2phase
	switch {
	case len(c.pend) > 0:
		phase, d = phaseStall, l.lim.StallTimeout
	case h.away == awayWarned:
		phase, d = phaseAway, awayWait
	case !h.settled || h.blockID != 0 || len(c.in) > 0:
		phase, d = phaseHead, l.lim.HeadTimeout
	case h.n == 0:
		phase, d = phaseIdle, l.lim.IdleTimeout
	case h.pinged:
		phase, d = phasePing, pingWait
	default:
		phase, d = phasePing, pingEvery
	}
	if phase == h.phase && (phase == phaseHead || phase == phaseAway || phase == phaseStall) {
		return // a head that trickles in has one deadline
	}
	h.phase = phase
	l.arm(&c.timer, d)
}

func (l *loop) h2Timeout(c *client) {
	h := c.h2
	phase := h.phase
	h.phase = phaseNone
	switch phase {
	case phaseStall:
		l.total.Count(stats.ClientTimeout)
		resetOnClose(c.fd)
		l.closeClient(c)
	case phaseHead:
		l.total.Count(stats.ClientTimeout)
		l.dieH2(c, http2.NoError)
	case phaseIdle:
		l.finalAway(c)
	case phaseAway:
		l.finalAway(c)
	case phasePing:
		if h.pinged {
			l.closeClient(c)
			return
		}
		h.pinged = true
		l.makeRoom(h, 17)
		h.out = http2.AppendPing(h.out, 0, pingAlive)
		l.soil(c)
	}
}

// What our PINGs carry.
var (
	pingAlive = [8]byte{'a', 'l', 'i', 'v', 'e', '?'} // read only
	pingAway  = [8]byte{'a', 'w', 'a', 'y'}           // read only
)

// warnAway is the first step of a graceful end: no new streams, please; those on their way are still served.
func (l *loop) warnAway(c *client) {
	h := c.h2
	if h.away != awayNo {
		return
	}
	h.away = awayWarned
	l.makeRoom(h, 64)
	h.out = http2.AppendGoAway(h.out, http2.MaxWindow, http2.NoError)
	h.out = http2.AppendPing(h.out, 0, pingAway)
	l.soil(c)
	l.clockH2(c)
}

// finalAway is the second step: it says which streams are served. The connection ends with the last of them.
func (l *loop) finalAway(c *client) {
	h := c.h2
	if h.away == awayFinal {
		return
	}
	h.away = awayFinal
	l.makeRoom(h, 32)
	h.out = http2.AppendGoAway(h.out, h.last, http2.NoError)
	l.soil(c)
}

// dieH2 ends a connection whose client breaks the protocol, or that makes too much work.
func (l *loop) dieH2(c *client, code http2.ErrCode) {
	h := c.h2
	if code == http2.EnhanceYourCalm {
		l.total.Count(stats.HTTP2Flood)
	}
	l.makeRoom(h, 32)
	h.out = http2.AppendGoAway(h.out, h.last, code)
	if !l.write(&c.sock, h.out) {
		l.closeClient(c)
		return
	}
	h.out = h.out[:0]
	l.leaveH2(c)
}

// leaveH2 closes a connection whose last frames are out, or on their way.
func (l *loop) leaveH2(c *client) {
	l.endStreams(c, upstream.ClientGone)
	l.dropH2(c)
	l.closeGently(c)
}

// dropH2 frees what an HTTP/2 connection holds. Its streams have ended.
func (l *loop) dropH2(c *client) {
	l.bufs.put(c.h2.out)
	l.bufs.put(c.h2.block)
	c.h2 = nil
}

// drainH2 begins the graceful end of all HTTP/2 connections of a loop.
func (l *loop) drainH2() {
	for c := range l.clients {
		if c.h2 != nil && l.e.draining.Load() {
			l.warnAway(c)
		}
	}
}

// meter bounds what a client may do without use: it holds up to most, each act takes some, and time and use give
// some back.
type meter struct {
	left int
	at   int64
}

// The bounds of a connection.
const (
	effortMost   = 2000 // frames without use
	effortPerSec = 200
	effortPerUse = 4   // for each request, and each DATA frame that is sent
	resetsMost   = 200 // streams broken off
	resetsPerSec = 100
)

// spend takes n off; false: there was not enough.
func (m *meter) spend(n, most, perSec int, now int64) bool {
	if gone := now - m.at; gone >= int64(time.Second)/int64(perSec) {
		m.left = min(most, m.left+int(min(gone, int64(time.Minute))*int64(perSec)/int64(time.Second)))
		m.at = now
	}
	m.left -= n
	return m.left >= 0
}

func (m *meter) earn(n, most int) { m.left = min(most, m.left+n) }
