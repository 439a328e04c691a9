// Package upstream holds what a node knows about each backend while it runs: whether it may take traffic,
// how many requests are on it, how fast it answers, and the connections to it.
//
// The types are [Set] (all of them, by backend id), [Upstream] (one backend), [Attempt] (one request on
// it), [Endpoint] (where its connections go) and [Outcome] (how an attempt ended).
//
// An Upstream belongs to a backend id, not to a configuration: changing a weight, an address or a pool
// keeps its counters, and removing the backend keeps them until the last request on it has ended.
//
// The invariant that draining rests on: [Upstream.Begin] counts the request first and looks at the flags
// second. So once [Set.Update] has returned and in-flight reads 0, no request can start on a backend that
// the view stopped, whichever routing table its picker came from.
//
// Package balance picks among Upstreams, package proxy begins and ends attempts, package health reads
// in-flight counts and sets the local veto. Nothing here decides about health, and the request path takes
// no lock.
package upstream
