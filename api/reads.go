package api

import "time"

// How new what a GET shows must be (?consistency=). Whatever it is, X-Lbnode-Index says what it was read from.
const (
	ReadStale        = "stale"        // what the node has: no waiting, and always an answer
	ReadLeader       = "leader"       // all that the leader had applied when the node asked it
	ReadLinearizable = "linearizable" // every change acknowledged anywhere before the request came
)

// Bounds of how long a GET waits for ?consistency and ?min_index (?timeout=).
const (
	DefaultReadWait = 5 * time.Second
	MaxReadWait     = time.Minute
)
