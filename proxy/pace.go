package proxy

import "time"

// paceGrace is how long a client may take for the beginning of a body before Config.BodyRate is asked for.
const paceGrace = 10 * time.Second

// Pace is how fast the body of one request comes in. Only the time counts in which the client was waited for. The
// zero value is the beginning. It is not safe for concurrent use.
type Pace struct {
	bytes  int64
	waited time.Duration
}

// Add notes that a piece of n bytes came after a wait.
func (p *Pace) Add(n int, waited time.Duration) {
	p.bytes += int64(n)
	p.waited += waited
}

// Patience is how long to wait for the next byte: as long as a body may stand still, and no longer than until the
// whole of it has been slower than rate bytes a second. idle 0 = for ever, rate 0 = no bound. The result is 0 where
// there is no bound at all, and negative where the client is too slow already.
func (p *Pace) Patience(idle time.Duration, rate int) time.Duration {
	if rate <= 0 {
		return idle
	}
	// Seconds first: bytes alone may be more than a Duration has nanoseconds.
	left := paceGrace + time.Duration(p.bytes/int64(rate))*time.Second + time.Duration(p.bytes%int64(rate))*time.Second/time.Duration(rate) - p.waited
	if left == 0 {
		left = -1
	}
	if idle > 0 {
		return min(idle, left)
	}
	return left
}
