//go:build linux

package engine

import (
	"github.com/lbnode/lbnode/proxy/http2"
	"github.com/lbnode/lbnode/proxy/upstream"
)

// This file is about the frames that a client sends.

const (
	maxPieces = 16 // frames of one header block
	// effortSettings is what a SETTINGS frame takes of a meter: each has to be answered, and may move all windows.
	effortSettings = 10
)

// How a stream has ended, in the top bits of h2conn.ended.
const (
	endedWell   = 0
	endedByPeer = 1 << 31
	endedByUs   = 1 << 30
	endedMask   = 1<<30 - 1
)

// wasteful takes the price of frames without use off the connection's meter.
func (l *loop) wasteful(h *h2conn, n int) http2.ErrCode {
	if !h.effort.spend(n, effortMost, effortPerSec, l.now) {
		return http2.EnhanceYourCalm
	}
	return http2.NoError
}

// takeFrame takes one frame. An error code ends the connection.
func (l *loop) takeFrame(c *client, f http2.FrameHeader, p []byte) http2.ErrCode {
	h := c.h2
	switch {
	case h.blockID != 0 && (f.Type != http2.Continuation || f.Stream != h.blockID):
		return http2.ProtocolError
	case !h.settled && (f.Type != http2.Settings || f.Flags&http2.FlagAck != 0):
		return http2.ProtocolError
	}
	switch f.Type {
	case http2.Data:
		return l.takeData(c, f, p)
	case http2.Headers:
		return l.takeHeaders(c, f, p)
	case http2.Continuation:
		return l.takeContinuation(c, f, p)
	case http2.WindowUpdate:
		return l.takeWindow(c, f, p)
	case http2.Settings:
		return l.takeSettings(c, f, p)
	case http2.Ping:
		return l.takePing(c, f, p)
	case http2.ResetStream:
		return l.takeReset(c, f, p)
	case http2.Priority:
		return l.takePriority(c, f, p)
	case http2.GoAway:
		switch {
		case f.Stream != 0:
			return http2.ProtocolError
		case len(p) < 8:
			return http2.FrameSizeError
		}
		// The client wants no more streams of ours, of which there are none. It closes when it has its answers.
		return l.wasteful(h, 1)
	case http2.PushPromise:
		return http2.ProtocolError
	}
	return l.wasteful(h, 1) // of an extension: to be ignored
}

// clientStream says that a client may use this number.
func clientStream(id uint32) bool { return id&1 == 1 }

func (l *loop) takeHeaders(c *client, f http2.FrameHeader, p []byte) http2.ErrCode {
	h := c.h2
	if !clientStream(f.Stream) {
		return http2.ProtocolError
	}
	if f.Flags&http2.FlagPadded != 0 {
		var ok bool
		if p, ok = http2.Unpad(p); !ok {
			return http2.ProtocolError
		}
	}
	h.blockOwn = false
	if f.Flags&http2.FlagPriority != 0 {
		if len(p) < 5 {
			return http2.FrameSizeError
		}
		h.blockOwn = http2.Uint31(p) == f.Stream
		p = p[5:]
	}
	h.blockEnd = f.Flags&http2.FlagEndStream != 0
	if f.Flags&http2.FlagEndHeaders != 0 {
		return l.takeBlock(c, f.Stream, p)
	}
	h.blockID, h.pieces = f.Stream, 1
	h.block = append(l.bufs.get(2*len(p)), p...)
	return http2.NoError
}

func (l *loop) takeContinuation(c *client, f http2.FrameHeader, p []byte) http2.ErrCode {
	h := c.h2
	if h.blockID == 0 {
		return http2.ProtocolError
	}
	// A compressed block is rarely larger than the list of its fields may be.
	if h.pieces++; h.pieces > maxPieces || len(h.block)+len(p) > l.lim.Head.Head {
		return http2.EnhanceYourCalm
	}
	if need := len(h.block) + len(p); cap(h.block) < need {
		b := append(l.bufs.get(2*need), h.block...)
		l.bufs.put(h.block)
		h.block = b
	}
	h.block = append(h.block, p...)
	if f.Flags&http2.FlagEndHeaders == 0 {
		return http2.NoError
	}
	block := h.block
	h.block, h.blockID = nil, 0
	code := l.takeBlock(c, f.Stream, block)
	l.bufs.put(block)
	return code
}

// takeBlock takes a whole header block: a request, or the trailer section of one.
func (l *loop) takeBlock(c *client, id uint32, block []byte) http2.ErrCode {
	h := c.h2
	st := h.stream(id)
	if st != nil {
		l.head.ResetTrailer(l.lim.Head.Trailer)
	} else {
		l.head.Reset(l.lim.Head.Head)
	}
	// Whatever becomes of it: the next blocks build on this one.
	if !h.dec.Decode(block, &l.head) {
		return http2.CompressionError
	}
	if st != nil {
		return l.takeTrailer(st)
	}
	if id <= h.last {
		return l.lateFrame(c, id)
	}
	if h.away == awayFinal {
		return http2.NoError // the GOAWAY says that it is not served
	}
	h.last = id
	if h.n >= l.lim.Streams {
		return l.refuseStream(c, id, http2.RefusedStream)
	}
	end := http2.Open
	if h.blockEnd {
		end = http2.Ended
	}
	head, v := l.head.Request(end)
	switch {
	case v == http2.TooLarge:
		l.freshStream(c, id, end, -1) // is answered
		return http2.NoError
	case v != http2.Fine || h.blockOwn:
		l.malformed(c)
		return l.refuseStream(c, id, http2.ProtocolError)
	}
	h.effort.earn(effortPerUse, effortMost)
	st = l.freshStream(c, id, end, l.head.Length())
	l.setInput(&st.c.sock, head)
	return http2.NoError
}

// refuseStream answers a request that is none, without a stream for it.
func (l *loop) refuseStream(c *client, id uint32, code http2.ErrCode) http2.ErrCode {
	h := c.h2
	h.remember(id | endedByUs)
	l.appendReset(c, id, code)
	if !h.resets.spend(1, resetsMost, resetsPerSec, l.now) {
		return http2.EnhanceYourCalm
	}
	return http2.NoError
}

func (l *loop) appendReset(c *client, id uint32, code http2.ErrCode) {
	l.makeRoom(c.h2, 13)
	c.h2.out = http2.AppendReset(c.h2.out, id, code)
	l.soil(c)
}

// lateFrame judges a frame for a stream that is no more: the client may not have known when it sent it.
func (l *loop) lateFrame(c *client, id uint32) http2.ErrCode {
	switch how, ok := c.h2.how(id); {
	case !ok:
		return http2.ProtocolError // it was passed over, or is long gone
	case how == endedByUs:
		return l.wasteful(c.h2, 1)
	case how == endedByPeer:
		return l.refuseStream(c, id, http2.StreamClosed)
	}
	return http2.StreamClosed
}

func (l *loop) takeTrailer(st *stream) http2.ErrCode {
	section, v := l.head.Trailer()
	switch {
	case st.end:
		return http2.StreamClosed
	case !st.conn.h2.blockEnd || v == http2.Malformed || st.left > 0:
		return l.breakStream(st, http2.ProtocolError)
	case v != http2.Fine:
		return l.breakStream(st, http2.EnhanceYourCalm)
	}
	if len(section) > len("\r\n") {
		st.trailer = append(l.bufs.get(len(section)), section...)
	}
	st.end = true
	l.wake(st)
	return http2.NoError
}

func (l *loop) takeData(c *client, f http2.FrameHeader, p []byte) http2.ErrCode {
	h := c.h2
	size := len(p) // padding counts: RFC 9113 §6.1
	if !clientStream(f.Stream) {
		return http2.ProtocolError
	}
	if f.Flags&http2.FlagPadded != 0 {
		var ok bool
		if p, ok = http2.Unpad(p); !ok {
			return http2.ProtocolError
		}
	}
	if h.recvWin -= int64(size); h.recvWin < 0 {
		return http2.FlowControlError
	}
	end := f.Flags&http2.FlagEndStream != 0
	if len(p) == 0 && !end {
		if code := l.wasteful(h, 1); code != http2.NoError {
			return code
		}
	}
	st := h.stream(f.Stream)
	if st == nil || st.deaf {
		l.giveBack(c, size)
		if st != nil {
			st.end = st.end || end
			return http2.NoError
		}
		if f.Stream > h.last && h.away != awayFinal {
			return http2.ProtocolError // it was never opened
		} else if f.Stream > h.last {
			return http2.NoError
		}
		return l.lateFrame(c, f.Stream)
	}
	if st.end {
		l.giveBack(c, size)
		return l.breakStream(st, http2.StreamClosed)
	}
	st.taken += size // given back when it is done with, whatever happens
	if st.recvWin -= int64(size); st.recvWin < 0 {
		return l.breakStream(st, http2.FlowControlError)
	}
	if st.left >= 0 {
		if st.left -= int64(len(p)); st.left < 0 || end && st.left > 0 {
			return l.breakStream(st, http2.ProtocolError) // RFC 9113 §8.1.1
		}
	}
	st.end = end
	l.keepInput(st, p)
	l.wake(st)
	return http2.NoError
}

func (l *loop) takeWindow(c *client, f http2.FrameHeader, p []byte) http2.ErrCode {
	h := c.h2
	if len(p) != 4 {
		return http2.FrameSizeError
	}
	if code := l.wasteful(h, 1); code != http2.NoError {
		return code
	}
	inc := int64(http2.Uint31(p))
	if f.Stream == 0 {
		if inc == 0 {
			return http2.ProtocolError
		}
		if h.sendWin += inc; h.sendWin > http2.MaxWindow {
			return http2.FlowControlError
		}
		h.resume = h.resume || h.first != nil
		return http2.NoError
	}
	st := h.stream(f.Stream)
	if st == nil {
		if f.Stream > h.last || !clientStream(f.Stream) {
			return http2.ProtocolError
		}
		return http2.NoError
	}
	if inc == 0 {
		return l.breakStream(st, http2.ProtocolError)
	}
	if st.sendWin += inc; st.sendWin > http2.MaxWindow {
		return l.breakStream(st, http2.FlowControlError)
	}
	h.resume = h.resume || st.waits
	return http2.NoError
}

func (l *loop) takeSettings(c *client, f http2.FrameHeader, p []byte) http2.ErrCode {
	h := c.h2
	switch {
	case f.Stream != 0:
		return http2.ProtocolError
	case f.Flags&http2.FlagAck != 0:
		if len(p) != 0 {
			return http2.FrameSizeError
		}
		return l.wasteful(h, 1)
	}
	if code := l.wasteful(h, effortSettings); code != http2.NoError {
		return code
	}
	for len(p) > 0 {
		s, rest, code := http2.ParseSetting(p)
		if code != http2.NoError {
			return code
		}
		p = rest
		switch s.ID {
		case http2.HeaderTableSize:
			h.enc.SetLimit(s.Value)
		case http2.InitialWindowSize:
			if !h.moveWindows(int64(s.Value)) {
				return http2.FlowControlError
			}
		case http2.MaxFrameSize:
			h.peerMax = int(min(s.Value, http2.DefaultFrame))
		}
	}
	h.settled = true
	l.makeRoom(h, http2.HeaderSize)
	h.out = http2.AppendSettingsAck(h.out)
	l.soil(c)
	return http2.NoError
}

// moveWindows applies a new initial window to all streams (RFC 9113 §6.9.2).
func (h *h2conn) moveWindows(size int64) bool {
	by := size - h.peerInit
	h.peerInit = size
	for _, st := range h.tab {
		for ; st != nil; st = st.next {
			if st.sendWin += by; st.sendWin > http2.MaxWindow {
				return false
			}
		}
	}
	h.resume = h.resume || by > 0 && h.first != nil
	return true
}

func (l *loop) takePing(c *client, f http2.FrameHeader, p []byte) http2.ErrCode {
	h := c.h2
	switch {
	case f.Stream != 0:
		return http2.ProtocolError
	case len(p) != 8:
		return http2.FrameSizeError
	}
	if f.Flags&http2.FlagAck != 0 {
		if h.away == awayWarned && [8]byte(p) == pingAway {
			l.finalAway(c) // what was on its way is here
			return http2.NoError
		}
		return l.wasteful(h, 1)
	}
	l.makeRoom(h, 17)
	h.out = http2.AppendPing(h.out, http2.FlagAck, [8]byte(p))
	l.soil(c)
	return l.wasteful(h, 1)
}

func (l *loop) takeReset(c *client, f http2.FrameHeader, p []byte) http2.ErrCode {
	h := c.h2
	switch {
	case len(p) != 4:
		return http2.FrameSizeError
	case f.Stream > h.last || !clientStream(f.Stream):
		return http2.ProtocolError
	}
	st := h.stream(f.Stream)
	if st == nil {
		return l.wasteful(h, 1)
	}
	l.cancelStream(st, upstream.ClientGone)
	if !h.resets.spend(1, resetsMost, resetsPerSec, l.now) {
		return http2.EnhanceYourCalm
	}
	return http2.NoError
}

// takePriority validates and ignores: priorities of RFC 7540 are no more.
func (l *loop) takePriority(c *client, f http2.FrameHeader, p []byte) http2.ErrCode {
	if f.Stream == 0 {
		return http2.ProtocolError
	}
	var code http2.ErrCode
	switch {
	case len(p) != 5:
		code = http2.FrameSizeError
	case http2.Uint31(p) == f.Stream:
		code = http2.ProtocolError
	default:
		return l.wasteful(c.h2, 1)
	}
	if st := c.h2.stream(f.Stream); st != nil {
		return l.breakStream(st, code)
	}
	l.appendReset(c, f.Stream, code)
	return l.wasteful(c.h2, effortSettings)
}
