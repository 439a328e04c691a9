//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package cluster

import (
	"errors"
	"os"
	"syscall"
)

// errLocked says that another open file holds the lock.
var errLocked = errors.New("locked")

// tryLock takes an exclusive lock that the kernel drops when the file is closed
// or the process ends.
func tryLock(f *os.File) error {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return errLocked
	}
	return err
}
