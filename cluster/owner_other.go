//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package cluster

// sameOwner has nothing to go by here.
func sameOwner(string) error { return nil }
