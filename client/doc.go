// Package client talks to the admin API of a cluster. lbctl and other tools of ours use it.
//
// A [Client] knows the API addresses of several nodes, stays with one that works and goes to the next when it
// does not. Every write carries an Idempotency-Key, so that the same write may be sent to another node without
// having its effect twice; [Client.Do] does so by itself. What is no success comes back as an [Error] that
// carries the problem the API answered, and matches one of the sentinels (errors.Is), of which
// [ErrOutcomeUnknown] is the one that must never be taken for "failed".
//
// [Backends], [Pools], [Routes] and [Frontends] are the collections, each a [Collection] with the same methods.
//
// The package starts no goroutine, follows no redirect, and caches nothing but which node answered last.
package client
