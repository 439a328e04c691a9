package agent

import "time"

const (
	firstPause = time.Second
	maxPause   = 30 * time.Second
)

// backoff is how long to wait after so many failures in a row, the first of which is attempt 0: twice as long each
// time up to a bound, of which random, from 0 up to 1, takes up to half off, so that the agents of many servers
// do not come all at once.
func backoff(attempt int, random float64) time.Duration {
	pause := maxPause
	if attempt < 5 {
		pause = min(maxPause, firstPause<<max(attempt, 0))
	}
	return time.Duration(float64(pause) * (1 - random/2))
}
