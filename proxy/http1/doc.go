// Package http1 is the one strict HTTP/1.1 codec of the proxy: pure functions on bytes that read and write
// message heads and chunked bodies. Every engine obeys it, so that all of them accept and refuse the same.
//
// The types:
//
//   - Request and Response are parsed heads. Parse is called again with more bytes until it says anything
//     but More; the message refers to the caller's buffer and is reused for the next message.
//   - Chunked decodes a chunked body, or lets it through in its own framing without its extensions.
//   - Reason says why a message is refused, as a stable code with an HTTP status.
//   - Scanner follows the request stream of a client connection and lets nothing of a refused request
//     through; Reader is a Scanner around an io.Reader. They guard net/http, which is more lenient.
//
// What is ambiguous is an error, even where RFC 9112 allows a recipient to repair it, because the next
// hop may repair it in another way: that is request smuggling. Nothing is relayed as it came in: Append
// builds a fresh head from what was understood, with the hop-by-hop fields gone and the framing restated.
//
// A verdict depends on the bytes only, never on how they were split into reads: each rule looks at bytes
// from left to right, and the first byte that breaks a rule decides. Rules about the head as a whole
// (framing, Host) apply once it is complete.
//
// The package does no I/O beyond Reader.Read, keeps no clock and no goroutine, and allocates only to grow
// slices that are then reused. It knows nothing of routes, backends or policy: CONNECT, TRACE and unknown
// methods are parsed like any other.
package http1
