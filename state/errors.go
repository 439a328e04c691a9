package state

import "errors"

// What can become of a proposed command besides a [Result]. They are defined here so that the packages on
// both sides of the border between consensus and the edges can name them without knowing each other.
var (
	// ErrNoLeader says that the command was certainly not applied; it may be sent again.
	ErrNoLeader = errors.New("no leader")
	// ErrOutcomeUnknown says that the command may or may not be applied. It may be sent again with the
	// same request id, and then has its effect once.
	ErrOutcomeUnknown = errors.New("outcome unknown")
	// ErrStoreFull says that the leader's disk is full, and that no other node can lead in its place. The
	// command was certainly not applied. What wraps it names the disk and the fix.
	ErrStoreFull = errors.New("disk full")
	// ErrOldMember says that a member of the cluster does not understand the command. It was certainly not
	// applied. What wraps it names the nodes to upgrade.
	ErrOldMember = errors.New("a member is too old")
)
