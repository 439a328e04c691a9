package demo

import "syscall"

// childAttr puts a child into its own process group, so that Ctrl-C reaches the demo alone and it can stop
// the others in order, and ends it with the demo however that ends.
func childAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
