// Package gossip spreads small facts between the nodes of one cluster and
// notices which of them answer. It hides memberlist (SWIM with Lifeguard) behind
// three ideas:
//
//   - [Member]: who is there, with its [Meta] and a [Status];
//   - [State]: a piece of mergeable data (a CRDT, in practice) that registers
//     with [Gossip.AddState] and is spread by messages and by full exchanges;
//   - [Streams]: where reliable connections come from. Packets go over a UDP
//     socket of the package's own, streams through the one cluster port.
//
// Everything here is a hint. A member reported dead may be alive behind a cut
// or a slow processor, and one reported alive may be gone for seconds. Nothing
// that needs agreement, such as membership of Raft or the state of a backend,
// may follow from it alone.
//
// Packets are sealed with AES-256-GCM under the keys given, with the cluster id
// as label, so that neither strangers nor other clusters get in. A holder of
// the key is trusted: memberlist 0.6.0 does not bound what one can make it
// allocate.
//
// Callbacks from memberlist run on its packet loop and under its lock, so they
// only copy and enqueue; queues are bounded and drop the oldest entry, which
// the next full exchange makes good. [Gossip.Stats] counts what was dropped.
package gossip
