//go:build !race

package balance

const (
	picks     = 500_000
	tolerance = 0.02
	keys      = 50_000
)
