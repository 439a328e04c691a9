package upstream

import (
	"time"

	"github.com/lbnode/lbnode/state"
	"github.com/lbnode/lbnode/stats"
)

// ejections is how often a backend was ejected lately.
type ejections struct {
	count int
	until time.Duration // when the last one ends or ended, by Set.clock
}

// next decides whether a backend that has failed often enough in a row is ejected, and for how long; 0 = it is
// not. out of size backends of the pool are ejected already. The time is the base for the first ejection, twice
// that for the second and so on, and each base that passes afterwards in peace makes the count one less.
func (e ejections) next(o state.Outlier, now time.Duration, out, size int) (ejections, time.Duration) {
	if out >= max(size*o.MaxPercent/100, 1) || out+1 >= size {
		return e, 0 // what is left has to carry the load, and somebody has to
	}
	n := e.lately(o, now) + 1
	d := min(time.Duration(o.BaseEjection)*time.Duration(n), time.Duration(o.MaxEjection))
	return ejections{count: n, until: now + d}, d
}

func (e ejections) lately(o state.Outlier, now time.Duration) int {
	if now <= e.until {
		return e.count
	}
	return max(e.count-int((now-e.until)/time.Duration(o.BaseEjection)), 0)
}

// gateway says that the outcome is one that outlier ejection counts: the backend could not be reached, broke
// off, broke HTTP or was silent, or says that something behind it did.
func (o Outcome) gateway() bool {
	return int(o.Kind) < len(kinds) && kinds[o.Kind].failure || o.Status >= 502 && o.Status <= 504
}

// watch looks at how an attempt ended.
func (u *Upstream) watch(o Outcome) {
	switch {
	case o.gateway():
		if p := u.home.Load(); p != nil {
			if n := p.conf.Load().Outlier.ConsecutiveErrors; n > 0 && int(u.errors.Add(1)) >= n {
				u.errors.Store(0)
				p.eject(u)
			}
		}
	case o.Kind == OK && u.errors.Load() != 0:
		u.errors.Store(0)
	}
}

// eject takes a backend out for a while, if the pool can spare it.
func (p *Pool) eject(u *Upstream) {
	s := p.set
	s.ejectMu.Lock()
	defer s.ejectMu.Unlock()
	if u.flags.Load()&bitEjected != 0 || s.closed {
		return
	}
	now := s.clock()
	next, d := u.ejections.next(p.conf.Load().Outlier.WithDefaults(), now, int(p.ejected.Load()), int(p.size.Load()))
	if d == 0 {
		return
	}
	u.ejections, u.ejectedFrom, u.ejectedAt = next, p, time.Now()
	u.ejectedEnd = u.ejectedAt.Add(d)
	p.ejected.Add(1)
	u.ejectedTimes++
	u.flags.Or(bitEjected)
	u.stats.Count(stats.Ejected)
	u.readmission = time.AfterFunc(d, func() { u.readmit(next.until) })
	s.logs.Go(func() { // the caller may be an event loop, which must not wait for a log
		s.cfg.Logger.Warn("backend ejected after failures in a row", "backend", u.id, "pool", p.id, "for", d, "ejections_lately", next.count)
	})
}

// readmit lets a backend in whose ejection ends at this time; 0 = whenever it ends.
func (u *Upstream) readmit(until time.Duration) {
	s := u.set
	s.ejectMu.Lock()
	if u.flags.Load()&bitEjected == 0 || until != 0 && until != u.ejections.until {
		s.ejectMu.Unlock()
		return
	}
	p := u.ejectedFrom
	u.readmission.Stop()
	u.ejectedFrom, u.readmission = nil, nil
	p.ejected.Add(-1)
	u.errors.Store(0)
	if allowed(u.flags.Load()&^bitEjected, New) {
		u.slowStart(time.Duration(p.conf.Load().SlowStart)) // first: nobody may see it at its full share
	}
	u.flags.And(^bitEjected)
	s.ejectMu.Unlock()
	p.hand(u)
}
