package callback

import (
	"net/http"
	"time"
)

// Verdict is what an attempt means for a callback.
type Verdict int

// The verdicts.
const (
	Retry     Verdict = iota // later
	Delivered                // the receiver has it
	Gone                     // the receiver wants it no more
	Wrong                    // the receiver does not accept this signature
)

// Decide reads the status of a receiver's answer, as BigBlueButton does; 0 = there was none.
func Decide(status int) Verdict {
	switch {
	case status >= 200 && status < 300:
		return Delivered
	case status == http.StatusGone:
		return Gone
	case status == http.StatusUnauthorized:
		return Wrong
	}
	return Retry
}

// The pauses between attempts.
const (
	FirstPause = 5 * time.Second
	MaxPause   = time.Hour
)

// Pause is how long to wait after so many attempts, the first of which is 1. random, from 0 up to 1, makes it up to a
// fifth shorter or longer, so that callbacks that failed together do not come back together.
func Pause(tries int, random float64) time.Duration {
	pause := MaxPause
	if tries < 12 {
		pause = min(MaxPause, FirstPause<<max(tries-1, 0))
	}
	return time.Duration(float64(pause) * (0.8 + 0.4*random))
}
