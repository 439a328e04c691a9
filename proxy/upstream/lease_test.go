package upstream

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lbnode/lbnode/proxy/internal/viewtest"
	"github.com/lbnode/lbnode/state"
)

func TestSetLease(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSet(t, nil)
		s.Update(viewtest.New(t).Put(state.KindBackend, `{"id":"a","address":"10.0.0.1:80"}`).Verdict(state.VerdictUp).View())
		u := s.Get("a")
		begins := func(m Mode) bool {
			a, ok := u.Begin(m)
			if ok {
				a.End(Outcome{Status: 200})
			}
			return ok
		}
		check := func(what string, want bool) {
			t.Helper()
			for _, m := range []Mode{New, Sticky, Panic} {
				if got := begins(m); got != want || s.Fenced() == want || u.InFlight() != 0 {
					t.Errorf("%s: Begin(%d) = %v, Fenced = %v, in flight %d; want Begin %v", what, m, got, s.Fenced(), u.InFlight(), want)
				}
			}
		}
		check("without a lease", true)
		s.SetLease(time.Now()) // from the first moment on
		check("with a lease that has run out", false)
		s.SetLease(time.Now().Add(time.Second))
		check("with a lease", true)
		time.Sleep(time.Second - 1)
		check("just before its end", true)
		time.Sleep(time.Nanosecond)
		check("at its end", false)
		s.SetLease(time.Time{})
		check("without a lease again", true)
	})
}

// A backend whose drain has ended takes no sessions, until it is used again.
func TestExpire(t *testing.T) {
	t.Parallel()
	b := viewtest.New(t).Put(state.KindBackend, `{"id":"a","address":"10.0.0.1:80"}`).Verdict(state.VerdictUp)
	s := newSet(t, nil)
	s.Update(b.View())
	s.Expire("a")
	s.Expire("nobody")
	if u := s.Get("a"); !u.Available(New) {
		t.Error("a backend in use was taken out")
	}
	s.Update(b.Admin(state.AdminStopped, "a").View())
	u := s.Get("a")
	if !u.Available(Sticky) {
		t.Fatal("a stopped backend takes no sessions")
	}
	s.Expire("a")
	s.SetLocal("a", false, "")
	s.Update(b.Verdict(state.VerdictDown).Verdict(state.VerdictUp).View())
	if u.Available(Sticky) {
		t.Error("after the deadline the backend takes sessions")
	}
	s.Update(b.Admin(state.AdminReady, "a").View())
	if !u.Available(New) || !u.Available(Sticky) {
		t.Error("once enabled the backend takes nothing")
	}
}

func TestCutOff(t *testing.T) {
	t.Parallel()
	s := newSet(t, nil)
	s.Update(viewtest.New(t).Put(state.KindBackend, `{"id":"a","address":"10.0.0.1:80"}`, `{"id":"b","address":"10.0.0.1:81"}`).Verdict(state.VerdictUp).View())
	var ctxs [4]context.Context
	var runs [4]Running
	for i, id := range []string{"a", "a", "a", "b"} {
		var cancel context.CancelCauseFunc
		ctxs[i], cancel = context.WithCancelCause(t.Context())
		defer cancel(nil)
		s.Get(id).Track(&runs[i], cancel)
	}
	s.Get("a").Untrack(&runs[1])
	s.CutOff("a")
	s.CutOff("nobody")
	for i, want := range []error{ErrDrained, nil, ErrDrained, nil} {
		if got := context.Cause(ctxs[i]); !errors.Is(got, want) {
			t.Errorf("request %d ended by %v, want %v", i, got, want)
		}
	}
	for _, i := range []int{2, 0} {
		s.Get("a").Untrack(&runs[i])
	}
	s.CutOff("a")
}
