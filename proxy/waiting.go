package proxy

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"github.com/lbnode/lbnode/proxy/upstream"
)

// handed is what a request in a queue was given.
type handed struct {
	ticket  *upstream.Ticket
	attempt upstream.Attempt
}

// next is Exchange.Next, but waits where that parks.
func (s *serving) next() (upstream.Attempt, *Refusal) {
	if s.handed == nil && s.x.Target.Runtime.QueueWait() > 0 {
		s.handed = make(chan handed, 1)
	}
	var ready func(*upstream.Ticket, upstream.Attempt)
	if s.handed != nil {
		ready = func(t *upstream.Ticket, a upstream.Attempt) { s.handed <- handed{t, a} } // one for each ticket, and there is room
	}
	a, f := s.x.Next(ready)
	if f != Parked {
		return a, f
	}
	timer := time.NewTimer(s.x.Target.Runtime.QueueWait())
	defer timer.Stop()
	select {
	case h := <-s.handed:
		s.x.Resume(h.ticket, h.attempt)
		return s.x.Next(nil)
	case <-timer.C:
		f = s.x.QueueTimeout()
	case <-s.ctx.Done():
		f = refuseGone
		if context.Cause(s.ctx) == errTotalTimeout {
			f = RefusalOf(upstream.TotalTimeout)
		}
	}
	if s.x.Leave() {
		h := <-s.handed
		h.attempt.Abandon()
	}
	return upstream.Attempt{}, f
}

// refuseGone stands for a client that has left while it waited: there is nobody to answer.
var refuseGone = &Refusal{Code: "client_gone"}

// setCookie ties the client to the backend.
func (s *serving) setCookie(u *upstream.Upstream, resp *http.Response) {
	if c := s.x.AppendCookie(nil, u); len(c) > 0 {
		resp.Header["Set-Cookie"] = append(slices.Clip(resp.Header["Set-Cookie"]), string(c))
	}
}

// addrs are the two ends of the client's connection, as the PROXY protocol tells them.
func (s *serving) addrs() (src, dst netip.AddrPort) {
	src, _ = netip.ParseAddrPort(s.r.RemoteAddr)
	if src.Addr().Unmap().WithZone("") != s.client.Peer {
		src = netip.AddrPortFrom(s.client.Peer, 0) // a proxy before us has said who the client is
	}
	if a, ok := s.r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		dst, _ = netip.ParseAddrPort(a.String())
	}
	return src, dst
}
