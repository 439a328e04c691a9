// Package node assembles one lbnode process: the replicated state, the cluster, health checks, the proxy
// and the admin API.
//
// [New] builds a [Node] and opens its listeners, [Node.Run] serves until its context ends or the store
// fails, and then stops in order. cmd/lbnode calls it, and tests that want a whole node in process.
//
// This is the only package that knows all the others. It joins their borders with small adapters
// (adapters.go) and owns the goroutines between them (loops.go); it decides nothing about routing, health
// or consensus itself.
package node
