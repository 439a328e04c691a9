package e2e

import "syscall"

// childAttr has the system end a child whose test process dies without cleaning up, as on a test timeout.
func childAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
