//go:build !linux

package cluster

import (
	"errors"
	"os"
)

// freeSpace is not known; the reserve is then never given back.
func freeSpace(string) (int64, error) { return 0, errors.ErrUnsupported }

func preallocate(*os.File, int64) error { return errors.ErrUnsupported }
