//go:build linux

package engine

import (
	"encoding/binary"

	"github.com/lbnode/lbnode/proxy/http1"
	"github.com/lbnode/lbnode/proxy/http2"
	"github.com/lbnode/lbnode/proxy/upstream"
)

// This file is about the frames that a backend sends. It trusts a backend no more than a client.

// takeUpFrames takes all whole frames in b, which lies in l.frames, and keeps the rest.
func (l *loop) takeUpFrames(u *server, b []byte) {
	h := u.h2
	h.pinged = false
	if h.phase == phasePing {
		h.phase = phaseNone
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
		code = l.takeUpFrame(u, f, b[http2.HeaderSize:size])
		b = b[size:]
	}
	if code != http2.NoError {
		l.dieUp(u, code)
		return
	}
	l.setInput(&u.sock, b)
	if len(h.out) > 0 || h.resume {
		l.soilUp(u)
	}
	l.clockUp(u)
	l.wakeUps()
}

// wastefulUp takes the price of frames without use off the connection's meter.
func (l *loop) wastefulUp(h *upConn, n int) http2.ErrCode {
	if !h.effort.spend(n, effortMost, effortPerSec, l.now) {
		return http2.EnhanceYourCalm
	}
	return http2.NoError
}

// takeUpFrame takes one frame. An error code ends the connection.
func (l *loop) takeUpFrame(u *server, f http2.FrameHeader, p []byte) http2.ErrCode {
	h := u.h2
	switch {
	case h.blockID != 0 && (f.Type != http2.Continuation || f.Stream != h.blockID):
		return http2.ProtocolError
	case !h.settled && (f.Type != http2.Settings || f.Flags&http2.FlagAck != 0):
		return http2.ProtocolError
	}
	switch f.Type {
	case http2.Data:
		return l.takeUpData(u, f, p)
	case http2.Headers:
		return l.takeUpHeaders(u, f, p)
	case http2.Continuation:
		return l.takeUpContinuation(u, f, p)
	case http2.WindowUpdate:
		return l.takeUpWindow(u, f, p)
	case http2.Settings:
		return l.takeUpSettings(u, f, p)
	case http2.Ping:
		return l.takeUpPing(u, f, p)
	case http2.ResetStream:
		return l.takeUpReset(u, f, p)
	case http2.GoAway:
		return l.takeUpGoAway(u, f, p)
	case http2.PushPromise:
		return http2.ProtocolError // we have said that we want none
	case http2.Priority:
		switch {
		case f.Stream == 0:
			return http2.ProtocolError
		case len(p) != 5:
			return http2.FrameSizeError
		}
	}
	return l.wastefulUp(h, 1) // of an extension, or without meaning: to be ignored
}

// opened says that a stream with this number is or was one of ours.
func (h *upConn) opened(id uint32) bool { return id&1 == 1 && id < h.next }

func (h *upConn) bucket(id uint32) **upStream { return &h.tab[id>>1%bucketsUp] }

func (h *upConn) stream(id uint32) *upStream {
	for us := *h.bucket(id); us != nil; us = us.next {
		if us.id == id {
			return us
		}
	}
	return nil
}

func (l *loop) takeUpHeaders(u *server, f http2.FrameHeader, p []byte) http2.ErrCode {
	h := u.h2
	if !h.opened(f.Stream) {
		return http2.ProtocolError
	}
	if f.Flags&http2.FlagPadded != 0 {
		var ok bool
		if p, ok = http2.Unpad(p); !ok {
			return http2.ProtocolError
		}
	}
	if f.Flags&http2.FlagPriority != 0 {
		if len(p) < 5 {
			return http2.FrameSizeError
		}
		p = p[5:]
	}
	h.blockEnd = f.Flags&http2.FlagEndStream != 0
	if f.Flags&http2.FlagEndHeaders != 0 {
		return l.takeUpBlock(u, f.Stream, p)
	}
	h.blockID, h.pieces = f.Stream, 1
	h.block = append(l.bufs.get(2*len(p)), p...)
	return http2.NoError
}

func (l *loop) takeUpContinuation(u *server, f http2.FrameHeader, p []byte) http2.ErrCode {
	h := u.h2
	if h.blockID == 0 {
		return http2.ProtocolError
	}
	if h.pieces++; h.pieces > maxPieces || len(h.block)+len(p) > l.e.answer.Head {
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
	code := l.takeUpBlock(u, f.Stream, block)
	l.bufs.put(block)
	return code
}

// takeUpBlock takes a whole header block: an answer, an interim one, or the trailer section.
func (l *loop) takeUpBlock(u *server, id uint32, block []byte) http2.ErrCode {
	h := u.h2
	us := h.stream(id)
	if us != nil && us.headed {
		l.head.ResetTrailer(l.lim.Head.Trailer)
	} else {
		l.head.ResetAnswer(l.e.answer.Head)
	}
	// Whatever becomes of it: the next blocks build on this one.
	if !h.dec.Decode(block, &l.head) {
		return http2.CompressionError
	}
	switch {
	case us == nil: // we have reset it
		return l.wastefulUp(h, 1)
	case us.end:
		l.refuseUp(us, http2.StreamClosed)
	case us.u.e == nil: // its exchange has all that it wants
		us.end = h.blockEnd
		l.closeServer(us.u)
	case us.headed:
		l.takeUpTrailer(us)
	default:
		l.takeUpAnswer(us)
	}
	return http2.NoError
}

func (l *loop) takeUpAnswer(us *upStream) {
	h := us.conn.h2
	end := http2.Open
	if h.blockEnd {
		end = http2.Ended
	}
	status, head, framing, v := l.head.Answer(end, us.u.e.verb == http1.HEAD)
	if status/100 == 1 {
		if us.interim++; us.interim > maxInterim {
			v = http2.Malformed
		}
	}
	if v != http2.Fine {
		l.refuseUp(us, http2.ProtocolError)
		return
	}
	h.effort.earn(effortPerUse, effortMost)
	l.keepUp(us, head)
	l.wakeUp(us)
	if status/100 == 1 {
		return
	}
	us.headed, us.framing, us.left = true, framing, -1
	us.bare = h.blockEnd && l.head.Length() < 0
	if framing != http2.Bodiless {
		us.left = l.head.Length()
	}
	us.end = h.blockEnd
}

func (l *loop) takeUpTrailer(us *upStream) {
	section, v := l.head.Trailer()
	if !us.conn.h2.blockEnd || v != http2.Fine || us.left > 0 {
		l.refuseUp(us, http2.ProtocolError)
		return
	}
	us.end = true
	l.lastUp(us, section)
	l.wakeUp(us)
}

func (l *loop) takeUpData(u *server, f http2.FrameHeader, p []byte) http2.ErrCode {
	h := u.h2
	size := len(p) // padding counts: RFC 9113 §6.1
	if !h.opened(f.Stream) {
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
	l.giveBackUp(h, size)
	end := f.Flags&http2.FlagEndStream != 0
	us := h.stream(f.Stream)
	if us == nil || len(p) == 0 && !end {
		return l.wastefulUp(h, 1)
	}
	us.recvWin -= int64(size)
	switch {
	case us.end:
		l.refuseUp(us, http2.StreamClosed)
	case us.u.e == nil:
		us.end = end && len(p) == 0
		l.closeServer(us.u)
	case us.recvWin < 0:
		l.refuseUp(us, http2.FlowControlError)
	case !us.headed || us.framing == http2.Bodiless && len(p) > 0:
		l.refuseUp(us, http2.ProtocolError)
	case us.left >= 0 && int64(len(p)) > us.left: // RFC 9113 §8.1.1
		l.refuseUp(us, http2.ProtocolError)
	default:
		us.taken += size
		if us.left >= 0 {
			us.left -= int64(len(p))
		}
		l.bodyFrom(us, p)
		if end && us.left > 0 {
			l.refuseUp(us, http2.ProtocolError)
			break
		}
		if us.end = end; end {
			l.lastUp(us, crlf)
		}
		l.wakeUp(us)
	}
	return http2.NoError
}

var crlf = []byte("\r\n") // read only

// giveBackUp opens the connection's window again.
func (l *loop) giveBackUp(h *upConn, n int) {
	if h.owed += n; h.owed < windowUpConn/2 {
		return
	}
	l.roomUp(h, 13)
	h.out = http2.AppendWindowUpdate(h.out, 0, uint32(h.owed))
	h.recvWin += int64(h.owed)
	h.owed = 0
}

func (l *loop) takeUpWindow(u *server, f http2.FrameHeader, p []byte) http2.ErrCode {
	h := u.h2
	if len(p) != 4 {
		return http2.FrameSizeError
	}
	if code := l.wastefulUp(h, 1); code != http2.NoError {
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
	us := h.stream(f.Stream)
	switch {
	case us == nil && !h.opened(f.Stream):
		return http2.ProtocolError
	case us == nil:
	case inc == 0:
		l.refuseUp(us, http2.ProtocolError)
	default:
		if us.sendWin += inc; us.sendWin > http2.MaxWindow {
			l.refuseUp(us, http2.FlowControlError)
			return http2.NoError
		}
		h.resume = h.resume || us.waits
	}
	return http2.NoError
}

func (l *loop) takeUpSettings(u *server, f http2.FrameHeader, p []byte) http2.ErrCode {
	h := u.h2
	switch {
	case f.Stream != 0:
		return http2.ProtocolError
	case f.Flags&http2.FlagAck != 0:
		if len(p) != 0 {
			return http2.FrameSizeError
		}
		return l.wastefulUp(h, 1)
	}
	if code := l.wastefulUp(h, effortSettings); code != http2.NoError {
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
		case http2.EnablePush:
			if s.Value != 0 {
				return http2.ProtocolError // RFC 9113 §6.5.2
			}
		case http2.MaxConcurrentStreams:
			h.peerStreams = s.Value
		case http2.InitialWindowSize:
			if !h.moveWindows(int64(s.Value)) {
				return http2.FlowControlError
			}
		case http2.MaxFrameSize:
			h.peerMax = int(min(s.Value, http2.DefaultFrame))
		case http2.MaxHeaderListSize:
			h.peerList = s.Value
		}
	}
	if !h.settled {
		h.settled = true
		u.timer.deadline = 0
	}
	l.roomUp(h, http2.HeaderSize)
	h.out = http2.AppendSettingsAck(h.out)
	l.soilUp(u) // also for those who wait
	return http2.NoError
}

// moveWindows applies a new initial window to all streams (RFC 9113 §6.9.2).
func (h *upConn) moveWindows(size int64) bool {
	by := size - h.peerInit
	h.peerInit = size
	for _, us := range h.tab {
		for ; us != nil; us = us.next {
			if us.sendWin += by; us.sendWin > http2.MaxWindow {
				return false
			}
		}
	}
	h.resume = h.resume || by > 0 && h.first != nil
	return true
}

func (l *loop) takeUpPing(u *server, f http2.FrameHeader, p []byte) http2.ErrCode {
	h := u.h2
	switch {
	case f.Stream != 0:
		return http2.ProtocolError
	case len(p) != 8:
		return http2.FrameSizeError
	}
	if f.Flags&http2.FlagAck == 0 {
		l.roomUp(h, 17)
		h.out = http2.AppendPing(h.out, http2.FlagAck, [8]byte(p))
	}
	return l.wastefulUp(h, 1)
}

func (l *loop) takeUpReset(u *server, f http2.FrameHeader, p []byte) http2.ErrCode {
	h := u.h2
	switch {
	case len(p) != 4:
		return http2.FrameSizeError
	case !h.opened(f.Stream):
		return http2.ProtocolError
	}
	us := h.stream(f.Stream)
	if us == nil {
		return l.wastefulUp(h, 1)
	}
	code := http2.ErrCode(binary.BigEndian.Uint32(p))
	l.detach(us)
	switch {
	case us.u.e == nil:
		l.closeServer(us.u)
	case us.end: // the answer is complete, and the rest of the request is not wanted: RFC 9113 §8.1
		l.bufs.put(us.u.pbuf)
		us.u.pbuf, us.u.pend, us.u.timer.deadline = nil, nil, 0
	case code == http2.RefusedStream && !us.headed && us.interim == 0:
		l.breakUp(us, upstream.ConnectFailed, errRefused)
	default:
		us.given = code == http2.Cancel
		l.breakUp(us, upstream.Reset, errLostStream)
	}
	return http2.NoError
}

func (l *loop) takeUpGoAway(u *server, f http2.FrameHeader, p []byte) http2.ErrCode {
	h := u.h2
	switch {
	case f.Stream != 0:
		return http2.ProtocolError
	case len(p) < 8:
		return http2.FrameSizeError
	}
	h.away = true
	last := http2.Uint31(p)
	for i := range h.tab {
		for us := h.tab[i]; us != nil; {
			next := us.next
			if us.id > last { // RFC 9113 §6.8: nothing of it was taken up
				l.detach(us)
				l.breakUp(us, upstream.ConnectFailed, errRefused)
			}
			us = next
		}
	}
	l.soilUp(u) // closes if there are no streams
	return l.wastefulUp(h, effortSettings)
}
