// Package transport is the one TCP port on which the nodes of a cluster talk.
//
// A [Mux] listens once and speaks mutual TLS 1.3. The certificate authority is
// derived from the shared cluster [Key], so holding the key is what makes a
// process a peer: every node issues its own leaf certificate (common name =
// node id) and accepts any leaf that one of its keys has signed. Validity
// dates are pinned, because a node whose clock is wrong must still be able to
// join the cluster that would tell it so. Host names are not checked; the
// peer's identity is the node id, not an address.
//
// ALPN tells the protocols apart: [ProtoRaft] and [ProtoGossip] are raw streams
// ([Mux.Dial], [Mux.Accept]), [ProtoRPC] is a request/response protocol that the
// Mux serves itself ([Mux.Handle], [Mux.Call]). After the handshake both sides
// exchange a hello with node id and cluster id; the server refuses what does
// not belong here and says why, in words that both sides log.
//
// Callers rely on one promise above all: an error that matches [ErrNotSent]
// means the handler certainly did not see the request, so that the caller may
// try elsewhere; every other error, except a [RemoteError], also matches
// [ErrOutcomeUnknown] and must never be repeated blindly.
//
// The package knows neither raft nor memberlist. It never dials by itself,
// never retries a request that may have been handled, and keeps no goroutine
// after [Mux.Close].
package transport
