//go:build !race

package cluster

// slowdown stretches the tests' delays.
const slowdown = 1
