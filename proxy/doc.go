// Package proxy forwards HTTP requests to backends.
//
// What a request meets is decided here once, for every engine: [Proxy.Route] finds its target, an
// [Exchange] picks backends for it, says whether a failure may be retried elsewhere and counts the result,
// [RequestHeader] and [ResponseHeader] say which fields go on, and a [Refusal] is an answer of our own.
// [Proxy] is also an http.Handler built from these parts over the transports of package upstream, for
// engines that stand on net/http, such as proxy/portable; [Engine] is what all engines look like.
//
// # Answers of our own
//
// A request that is not answered by a backend gets a small RFC 9457 problem document with a stable code and
// the field X-Lbnode-Node with the id of the node. 400 for an ambiguous or malformed request, 404 without a
// route, 405 for CONNECT and TRACE, 408 for a body that stalls, 502 if the backend could not be reached, broke
// off or broke HTTP, 503 without a usable backend, 504 after a timeout.
//
// # Retries
//
// Another backend is tried (at most `retries` times, never the same one twice) if the connection failed or
// timed out, so that nothing was sent. That holds for every method, as long as no byte of the request's body
// has been taken from the client, or all that was taken is kept. A pool can name further failures: a connection
// that ended before a byte of the answer, silence, and the statuses 502, 503 and 504. Then idempotent requests
// (all, if the pool says so) are sent again within the pool's budget, with bodies of up to [MaxReplay] bytes. The
// transport itself sends a request again on a new connection to the same backend if a kept-alive one turns out
// to be closed and the request is idempotent without a body, or marked so by its client with Idempotency-Key.
//
// # Queues
//
// A pool can bound the requests on a backend. [Exchange.Next] then gives [Parked] for a request that has to wait,
// and whoever ends a request hands its room on to the one that has waited longest.
//
// # Streams
//
// A request stays with the routing table, the backend and the connection that it began with, whatever
// changes meanwhile. It ends by itself, by its client, its backend, its route's timeouts, or when its
// engine is shut down.
//
// The package knows nothing of raft, gossip, health or the admin API: it is given views and tells an
// [Observer] of failures.
package proxy
