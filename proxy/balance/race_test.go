//go:build race

package balance

// Under the race detector a pick costs a hundred times as much: fewer of them, and so more noise.
const (
	picks     = 10_000
	tolerance = 0.2
	keys      = 3_000
)
