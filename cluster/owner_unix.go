//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package cluster

import (
	"fmt"
	"os"
	"syscall"
)

// sameOwner refuses to work on a directory of somebody else's, root included: the
// node could not read what is written there.
func sameOwner(dir string) error {
	st, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if sys, ok := st.Sys().(*syscall.Stat_t); ok && int(sys.Uid) != os.Geteuid() {
		return fmt.Errorf("%s belongs to user id %d, and lbnode runs as %d: run this as the user that the node runs as, such as with sudo -u '#%d'", dir, sys.Uid, os.Geteuid(), sys.Uid)
	}
	return nil
}
