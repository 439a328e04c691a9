//go:build race

package cluster

// slowdown stretches the tests' delays: the race detector costs that much.
const slowdown = 4
