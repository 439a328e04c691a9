package proxy

import (
	"net/http"

	"github.com/lbnode/lbnode/proxy/http1"
	"github.com/lbnode/lbnode/proxy/route"
	"github.com/lbnode/lbnode/proxy/upstream"
	"github.com/lbnode/lbnode/stats"
)

// MaxReplay is the longest request body that is kept so that it can be sent to another backend.
const MaxReplay = 64 << 10

// protection is what an Exchange knows of sticky cookies, retries and queues. The zero value is none of them.
type protection struct {
	home    *upstream.Upstream // the backend that the client's cookie means
	current bool               // and a new cookie would say the same
	cookie  bool               // the client has sent one, whatever it says
	again   bool               // the request may be sent to another backend after it was sent
	next    upstream.Attempt   // begun already
	ticket  *upstream.Ticket   // in the pool's queue
}

var (
	// Parked is what Exchange.Next gives for a request that was put into the pool's queue.
	Parked = &Refusal{Code: "parked"}

	refuseQueueFull    = &Refusal{Status: 503, Code: "queue_full", Detail: "every backend has as many requests as max_connections allows, and no more may wait", Kind: stats.QueueFull}
	refuseQueueTimeout = &Refusal{Status: 503, Code: "queue_timeout", Detail: "every backend had as many requests as max_connections allows for longer than a request may wait", Kind: stats.QueueFull}
)

// recall finds what the client's cookie and the request's method allow.
func (x *Exchange) recall(r *route.Request) {
	t := x.Target
	if t.Sticky != nil && r.Header != nil {
		var v string
		if v, x.cookie = t.Sticky.Find(r.Header.Values("Cookie")); x.cookie {
			x.home, x.current = x.Group.Sticky(v)
		}
	}
	if t.Retry.Any() {
		x.again = t.Retry.NonIdempotent || http1.VerbOf(r.Method).Idempotent() ||
			r.Header != nil && len(r.Header.Values("Idempotency-Key")) > 0
	}
}

// Keeps says whether up to MaxReplay bytes of the request's body are to be kept, so that it can be sent again.
func (x *Exchange) Keeps() bool { return x.again && x.left > 0 }

// Retry says whether another backend is to be tried after an attempt ended like this, without a byte of an
// answer, and takes one off the retries that are left. replayable says that all of the request's body that has
// been consumed can be had again.
func (x *Exchange) Retry(k upstream.Kind, replayable bool) bool {
	switch {
	case x.left <= 0 || !replayable:
		return false
	case k.NothingSent():
	case !x.again || !x.Target.Retry.After(k):
		return false
	case !x.Target.Runtime.Spend():
		x.Target.Count(stats.RetryRefused)
		return false
	}
	x.left--
	x.Target.Count(stats.Retry)
	return true
}

// RetryStatus is Retry for an answer of which nothing has been sent on. If it says yes, another backend has room
// for the request, and Next is to be called at once; otherwise the answer is to be sent on as any other.
func (x *Exchange) RetryStatus(status int, replayable bool) bool {
	if !x.again || x.left <= 0 || !replayable || !x.Target.Retry.AfterStatus(status) {
		return false
	}
	a, ok := x.pick()
	if !ok {
		return false
	}
	if !x.Target.Runtime.Spend() {
		x.Target.Count(stats.RetryRefused)
		a.Abandon()
		return false
	}
	x.tried.Add(a.Upstream)
	x.next = a
	x.left--
	x.Target.Count(stats.Retry)
	return true
}

// pick begins an attempt on a backend that has room and that the request has not been to. The caller adds it to
// those tried.
func (x *Exchange) pick() (upstream.Attempt, bool) {
	for range lostRaces {
		u, mode := x.Group.Pick(x.key, &x.tried)
		if u == nil {
			break
		}
		if a, ok := u.Begin(mode); ok {
			return a, true
		} // else taken out between the pick and now: pick again
	}
	return upstream.Attempt{}, false
}

// Next begins an attempt on a backend that the request has not been to, the one that its cookie means first. If
// all that there are have as many requests as they may have, it puts the request into the pool's queue and gives
// Parked; then ready is called as upstream.Ticket says, and its arguments are for Resume. Other refusals are what
// to answer. A nil ready means that the request cannot wait.
func (x *Exchange) Next(ready func(*upstream.Ticket, upstream.Attempt)) (upstream.Attempt, *Refusal) {
	for range lostRaces {
		a, f := x.attempt(ready)
		if f != nil {
			return a, f
		}
		if a.Endpoint != nil {
			return a, nil
		}
		a.End(upstream.Outcome{Kind: upstream.ConnectFailed, Err: errNoEndpoint})
	}
	return upstream.Attempt{}, refuseNoBackend
}

func (x *Exchange) attempt(ready func(*upstream.Ticket, upstream.Attempt)) (upstream.Attempt, *Refusal) {
	if a := x.next; a.Upstream != nil {
		x.next = upstream.Attempt{}
		return a, nil
	}
	if home := x.home; home != nil && x.tried.Len() == 0 {
		if a, ok := home.Begin(upstream.Sticky); ok {
			x.tried.Add(home)
			return a, nil
		}
		if home.Allowed(upstream.Sticky) && home.Full() {
			return x.wait(home, upstream.Sticky, ready) // elsewhere the session would be unknown
		}
	}
	if a, ok := x.pick(); ok {
		x.tried.Add(a.Upstream)
		return a, nil
	}
	if mode, full := x.Group.Full(&x.tried); full {
		return x.wait(nil, mode, ready)
	}
	return upstream.Attempt{}, refuseNoBackend
}

// wait puts the request into the pool's queue.
func (x *Exchange) wait(only *upstream.Upstream, m upstream.Mode, ready func(*upstream.Ticket, upstream.Attempt)) (upstream.Attempt, *Refusal) {
	t := &upstream.Ticket{Only: only, In: x.Group, Tried: x.tried, Mode: m, Ready: ready}
	if ready == nil || !x.Target.Runtime.Wait(t) {
		return upstream.Attempt{}, refuseQueueFull
	}
	x.ticket = t
	// Room may have been made just before the request stood in the queue.
	var a upstream.Attempt
	var ok bool
	if only != nil {
		a, ok = only.Begin(m)
	} else {
		a, ok = x.pick()
	}
	switch {
	case !ok:
		return a, Parked
	case !x.Target.Runtime.Leave(t): // it has been given an attempt meanwhile
		a.Abandon()
		return upstream.Attempt{}, Parked
	}
	x.ticket = nil
	x.tried.Add(a.Upstream)
	return a, nil
}

// Resume takes the attempt that the request was given in the queue, which Next is going to return; false: the
// request does not wait for it any more, and the attempt is taken back.
func (x *Exchange) Resume(t *upstream.Ticket, a upstream.Attempt) bool {
	if x.ticket != t {
		a.Abandon()
		return false
	}
	x.ticket = nil
	x.tried.Add(a.Upstream)
	x.next = a
	return true
}

// Leave takes the request out of the queue. handed says that ready was or is about to be called with an attempt,
// which Resume takes back.
func (x *Exchange) Leave() (handed bool) {
	if x.ticket == nil {
		return false
	}
	handed = !x.Target.Runtime.Leave(x.ticket)
	x.ticket = nil
	return handed
}

// QueueTimeout is the answer to a request that has waited too long.
func (x *Exchange) QueueTimeout() *Refusal {
	x.Target.Runtime.TimedOut()
	return refuseQueueTimeout
}

// AppendCookie appends the value of a Set-Cookie field that ties the client to the backend that answers; nothing
// if there is none to be set.
func (x *Exchange) AppendCookie(dst []byte, u *upstream.Upstream) []byte {
	s := x.Target.Sticky
	if s == nil || u == x.home && x.current {
		return dst
	}
	dst = append(append(dst, s.Name...), '=')
	return append(append(dst, u.Tokens()[0]...), s.Attributes...)
}

// StripCookie takes the sticky cookie from a request on its way to a backend, which has no use for it. New values
// are appended to scratch, which must live as long as r is used.
func (x *Exchange) StripCookie(r *http1.Request, scratch []byte) []byte {
	if !x.cookie {
		return scratch
	}
	start := len(scratch)
	fields := r.Fields()
	for i := range fields {
		if fields[i].ID() == http1.Cookie {
			scratch = x.Target.Sticky.Strip(scratch, start, text(fields[i].Value()))
		}
	}
	r.Drop(http1.Cookie)
	if left := scratch[start:len(scratch):len(scratch)]; len(left) > 0 {
		r.Add(nameCookie, left) // cannot be refused: it is part of what was accepted
	}
	return scratch
}

// stripCookie is StripCookie for the header of a request that net/http sends.
func (x *Exchange) stripCookie(h http.Header) {
	if !x.cookie {
		return
	}
	var left []byte
	for _, line := range h["Cookie"] {
		left = x.Target.Sticky.Strip(left, 0, line)
	}
	delete(h, "Cookie")
	if len(left) > 0 {
		h["Cookie"] = []string{string(left)}
	}
}

var nameCookie = []byte("Cookie") // read only
