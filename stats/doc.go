// Package stats counts what the proxy does: requests by status class, failures by kind, bytes, what is
// in flight, and latency as a histogram, for the whole node and for every route and backend.
//
// The types, from the inside out:
//
//   - Hist is a lock-free log-linear histogram; HistSnapshot is its plain, mergeable, encodable copy.
//   - Handle holds the counters of one route or backend. A route table resolves its handles when it is
//     compiled, so that a request writes to them without a lookup, a lock or an allocation.
//   - Registry owns the handles by Key (scope and id). The same key gives the same handle for as long as
//     it is not pruned, so counters outlive every change of configuration.
//   - Snapshot is what a node has counted, as plain data. Snapshots of several nodes are merged before
//     percentiles are taken: percentiles are never averaged.
//
// A snapshot taken while traffic runs is not a point in time: each counter is exact, but a request that
// is being recorded may be in one counter and not yet in another.
//
// The package imports nothing of ours, starts no goroutine and exports to no monitoring system itself:
// Registry.All and HistSnapshot.Cumulative are what an exporter needs.
package stats
