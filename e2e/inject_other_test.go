//go:build !linux

package e2e

func canInject() bool { return false }

func (n *node) failDisk(string) { n.t.Fatal("system calls cannot be made to fail here") }
