// Package fsm is the Raft shell around package state: [FSM] applies log entries to an immutable view and
// publishes it; [Store] is how the rest of the node writes ([Store.Do]) and reads ([Store.View],
// [Store.Watch]).
//
// Package node builds both and hands the FSM to package cluster and the Store to the edges. There is one
// way in, Do, and one way out, the view. The package never looks at a clock to decide anything and never
// forwards: that is the [Proposer]'s work.
//
// The last published view is also kept in a file ([ViewFile]), since Raft restores only the last snapshot
// until a leader speaks (hashicorp/raft#549) and a lone restarted node must still proxy.
package fsm
