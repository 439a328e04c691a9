// Package health finds out which backends are well: it probes them, spreads what it saw, and on the leader
// turns what a majority of nodes says into one replicated verdict.
//
// The pieces, from the inside out:
//
//   - a check is one probe of one backend (HTTP, TCP or none); step is the pure rise/fall rule over its
//     outcomes, and over failures of live traffic that the proxy reports through [Health.Passive].
//   - [Observation] is one node's own opinion of one backend. [Table] holds every node's observations: a
//     CRDT that is spread as deltas and heartbeats and repaired by exchanging whole states.
//   - [Merge] is the pure quorum rule, [Drained] the pure end of a drain.
//   - [Health.Lead] is the arbiter. It runs on the leader only and commits changes of verdicts in batches,
//     damped, so that the number of log entries stays bounded however many backends flap.
//   - an [Overlay] receives this node's own veto at once: a node sends no new traffic to a backend that it
//     has itself just found dead, whatever the quorum says. A veto can only take away.
//
// Package node joins the borders: the Store commits, the cluster names voters and carries the table, the
// proxy's upstreams take the veto. The package knows nothing of raft or gossip, opens no listener and never
// compares the clocks of two nodes. DESIGN.md beside this file says why it is built so.
package health
