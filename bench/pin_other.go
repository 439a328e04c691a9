//go:build !linux

package main

import (
	"errors"
	"os/exec"
)

var errLinux = errors.New("the comparison needs Linux: it pins processes to cores and reads CPU time from /proc")

func startPinned(*exec.Cmd, []int) error { return errLinux }
func pinSelf([]int) error                { return errLinux }
func raiseFileLimit() (int, error)       { return 0, errLinux }
