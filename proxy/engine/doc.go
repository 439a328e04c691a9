//go:build linux

// Package engine is the proxy engine of Linux: HTTP/1.1 and HTTP/2 on event loops, one per core, each with its own
// listener (SO_REUSEPORT), its own backend connections and its own copy of the counters.
//
// [Engine] implements proxy.Engine. What a request meets is decided by package proxy, what is HTTP by packages
// http1 and http2; here are sockets, buffers and timers. What a loop does not do (backends that want TLS or
// HTTP/2 or are named instead of numbered, mirrors, mounted handlers) is for a proxy/portable engine that every
// Engine carries: an HTTP/1.1 connection goes there for good, a stream of an HTTP/2 connection is served there by
// itself. The state machine and the decisions are in DESIGN.md.
//
// A loop is a goroutine that must not block. GOMAXPROCS should be at least the number of loops plus one, or
// timers elsewhere in the process fire late while loops are saturated; the package does not set it.
package engine
