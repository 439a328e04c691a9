// Package balance picks a backend from a group.
//
// A [Picker] is made once for a group of [Member]s when the routing table is compiled and is then used by
// all requests at once: no lock, no allocation. It asks each candidate's flags at the moment of the pick,
// so health and drain take effect without a new picker. Whether a pick holds is decided by
// upstream.Upstream.Begin; a caller that loses that race picks again.
//
// Every algorithm obeys the same rules, and one conformance suite runs over all: never a member that is
// not available in the given mode, never one already tried, weight 0 never, shares by weight, and nil only
// if no candidate is left.
//
//   - round_robin: bit-sliced smooth weighted round robin, see [classes]. O(1) with all members up, whatever
//     their number and weights.
//   - least_connections: the member with the fewest requests per weight; ties in round robin. A pick that
//     meets an idle member costs O(1); else up to 128 members are compared all, more by a sample of 32.
//   - random: the less loaded of two weighted choices, O(1).
//   - least_latency: as least_connections, with the peak EWMA of latency times in-flight as the load. A
//     member that has not answered yet gets one request at a time until it has.
//   - ip_hash, consistent_hash: weighted rendezvous hashing in two levels, see [hrw]. The same member for the
//     same key on every node, exactly minimal movement when members come, go or change weight.
//     consistent_hash also bounds load: a member with more than 1.25 times its share passes the key on.
//
// Package route makes pickers; nothing else does.
package balance
