// Package state is the pure core of lbnode: the replicated objects, the commands that change them, and
// [Apply], the one function that turns a view and a command into the next view.
//
// The main types are [View] (an immutable picture of everything replicated, made of persistent trees, so
// that a change costs O(log n) and readers never block the writer), [Backend], [Pool], [Route] and
// [Frontend] (the objects), [Command] (what goes into the Raft log) and [Result] (what came of it).
//
// Package fsm calls Apply in log order on every node; everything else only reads views. Apply and all it
// calls are deterministic: no clock, no randomness, no map order, no I/O. Times and ids travel inside the
// command. A mistake of an operator is a [Refusal] inside the result, never an error or a panic.
//
// The JSON tags of the types in this package are the format of the log and of snapshots. Golden files
// under testdata hold every released encoding; see [Encode] and [WriteSnapshot].
package state
