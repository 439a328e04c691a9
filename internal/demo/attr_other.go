//go:build unix && !linux

package demo

import "syscall"

// childAttr puts a child into its own process group, so that Ctrl-C reaches the demo alone and it can stop
// the others in order.
func childAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
