package transport

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"time"
)

const (
	notePeriod = 30 * time.Second
	noteKeys   = 1024
)

// notes logs what peers do wrong, at most once per period, peer and kind: a
// misconfigured node retries for ever, and a scanner sends what it likes.
type notes struct {
	log *slog.Logger

	mu   sync.Mutex
	seen map[string]*noted
}

type noted struct {
	at         time.Time
	suppressed int
}

func newNotes(log *slog.Logger) *notes {
	return &notes{log: log, seen: make(map[string]*noted)}
}

func (n *notes) say(level slog.Level, key, msg string, args ...any) {
	ok, suppressed := n.allow(key, time.Now())
	if !ok {
		return
	}
	if suppressed > 0 {
		args = append(args, "suppressed", suppressed)
	}
	n.log.Log(context.Background(), level, msg, args...)
}

// allow reports whether key may be logged now, and how often it was not since
// it last was. Memory is bounded: when too many keys are fresh, the newcomers
// share one.
func (n *notes) allow(key string, now time.Time) (ok bool, suppressed int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	e := n.seen[key]
	if e == nil && len(n.seen) >= noteKeys {
		for k, old := range n.seen {
			if now.Sub(old.at) >= notePeriod {
				delete(n.seen, k)
			}
		}
		if len(n.seen) >= noteKeys {
			key = ""
			e = n.seen[key]
		}
	}
	if e == nil {
		n.seen[key] = &noted{at: now}
		return true, 0
	}
	if now.Sub(e.at) < notePeriod {
		e.suppressed++
		return false, 0
	}
	suppressed = e.suppressed
	*e = noted{at: now}
	return true, suppressed
}

// host is the part of an address that stays the same over a peer's attempts.
func host(addr string) string {
	if h, _, err := net.SplitHostPort(addr); err == nil {
		return h
	}
	return addr
}
