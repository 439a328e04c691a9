// Package http2 is the strict HTTP/2 codec of the event loops (RFC 9113, RFC 7541): pure functions on bytes
// that read and write frames, and translate header blocks from and to HTTP/1.1, which is what the loops speak
// with backends.
//
// The types:
//
//   - FrameHeader, Setting and the Append functions are frames.
//   - Decoder is the HPACK decoder of one connection. What it decodes goes into a Head.
//   - Head collects one header block and makes an HTTP/1.1 request head or trailer section of it, or says why
//     that cannot be done safely. Package http1 then holds the head to its own rules, so that a request is
//     accepted or refused alike however it comes.
//   - Encoder is the HPACK encoder of one connection.
//
// A table entry of the decoder is kept as the HTTP/1.1 line that it stands for, with the verdict on it. A field
// that was sent before so costs one copy. The encoder knows the lines that a backend has sent before, so that
// each costs a byte or two.
//
// The package does no I/O, keeps no clock and no goroutine, and allocates only to grow slices that are then
// reused, and the tables of a connection with their first entries. All tables are bounded: 4 KiB of entries each.
// It is used by event loops, and knows nothing of routes, streams or policy.
package http2
