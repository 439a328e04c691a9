package cluster

import (
	"errors"
	"fmt"
)

var (
	// ErrNoLeader says that the request was certainly not carried out: no leader
	// was found in time, or it gave up before taking it. Sending it again is safe.
	ErrNoLeader = errors.New("no leader")
	// ErrOutcomeUnknown says that the request left this node and that nobody can
	// say whether it took effect. Only a request that may be repeated, or that
	// carries a request id, may be sent again.
	ErrOutcomeUnknown = errors.New("outcome unknown")
	// ErrNotSafe is the answer to a membership change that would cost the cluster
	// its quorum.
	ErrNotSafe = errors.New("not safe")
	// ErrUnknownNode names a node that is not a member.
	ErrUnknownNode = errors.New("unknown node")
	// ErrUnknownKey names a cluster key that there is not.
	ErrUnknownKey = errors.New("unknown cluster key")
	// ErrBadKey says that what was given is no cluster key.
	ErrBadKey = errors.New("not a cluster key")
	// ErrBusy says that another membership change is under way. Nothing was changed.
	ErrBusy = errors.New("another membership change is under way")
	// ErrDamagedStore says that a file of the data directory cannot be trusted.
	ErrDamagedStore = errors.New("damaged data directory")
	// ErrForeignStore says that the data directory belongs to another node,
	// another cluster or a newer lbnode.
	ErrForeignStore = errors.New("foreign data directory")
	// ErrStoreInUse says that another process holds the data directory.
	ErrStoreInUse = errors.New("data directory in use")
	// ErrStoreFailed says that the disk under the Raft log failed or hung. The
	// process must exit; what was being written is of unknown outcome.
	ErrStoreFailed = errors.New("raft store failed")
	// ErrStoreFull says that the leader's disk is full, and every other voter's too.
	// The request was certainly not carried out.
	ErrStoreFull = errors.New("disk full")
	// ErrOldMember says that a member runs a version of lbnode that does not understand
	// the command. The request was certainly not carried out.
	ErrOldMember = errors.New("a member is too old")
	// ErrStuck says that the Raft library refuses all work for good; only a new
	// process helps.
	ErrStuck = errors.New("raft is stuck")
	// ErrJoinRefused says that a cluster was found and does not take this node.
	ErrJoinRefused = errors.New("join refused")
	// ErrRemoved says that this node is no longer a member, by its own Leave or by
	// another's Remove.
	ErrRemoved = errors.New("node was removed from the cluster")
	// ErrStopped is the answer of a node after Stop or after a failure.
	ErrStopped = errors.New("node is stopped")
	// ErrTooLarge says that a command is over MaxCommand.
	ErrTooLarge = errors.New("command too large")
)

// ApplyError is an error that the state machine itself returned for a command:
// the entry is committed and every node answered it alike.
type ApplyError struct {
	Index uint64
	Msg   string
}

func (e *ApplyError) Error() string {
	return fmt.Sprintf("apply entry %d: %s", e.Index, e.Msg)
}
