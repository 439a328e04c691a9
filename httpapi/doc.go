// Package httpapi is the admin API: JSON over HTTP for operators, lbctl and the dashboard.
//
// [New] makes a [Server], an http.Handler, from a [Config] whose parts are the borders to the rest of the
// process: [Store] (the replicated state), [Cluster] (members and leadership), [Stats] and [Runtime] (what the
// proxy and the health checks measure). Any node answers everything: a write goes to the leader inside Store.Do,
// which returns once this node has applied the result.
//
// A handler decodes strictly, calls one method, and returns an answer or an error; one function writes
// answers, and one function maps every error to a problem (RFC 9457). The document at /openapi.json is kept
// by hand in openapi.yaml; the tests hold every request and answer they make against it.
//
// The package starts no goroutine, keeps no state of its own, and knows neither Raft nor gossip.
package httpapi
