// Package cluster makes one process a member of an lbnode cluster: Raft for
// what must be agreed on, gossip for who is there, and calls between nodes,
// all three on one mutually authenticated port.
//
// The main types are [Node] (one member: New, Start, Stop), [Config] and
// [Timing] (how it is set up), [Member] and [Status] (what it knows of the
// others and of itself) and [Term] (one stretch of leadership). The node
// package calls it; the state machine comes in as a raft.FSM, so that nothing
// here knows what is replicated.
//
// # Outcomes of a write
//
// [Node.Propose] commits a command on whatever node leads. It ends in one of
// three ways, and callers must keep them apart:
//
//   - nil: applied, and the result is the state machine's;
//   - [ErrNoLeader]: certainly not applied, safe to send again;
//   - [ErrOutcomeUnknown]: applied or not, nobody can say yet.
//
// A forwarded command is never forwarded a second time.
//
// # What it never does
//
// It never bootstraps when it was told to join, never changes a data directory
// that it refuses, never removes a member by itself, and never lets a disk that
// has failed once be used again: the node cuts itself off and reports on
// [Node.Failed], upon which the process must exit.
package cluster
