package http1

import "bytes"

// maxChunkDigits keeps a chunk size within 60 bits.
const maxChunkDigits = 15

// extBudget is how many times Limits.Ext all extensions of one body may take: extensions on every tiny
// chunk are a way to make a proxy work for nothing.
const extBudget = 32

type chunkState uint8

const (
	chunkSize    chunkState = iota // in the digits of a size
	chunkExt                       // in an extension
	chunkSizeCR                    // CR of the size line, after an extension
	chunkSizeLF                    // LF of the size line
	chunkData                      // in the data
	chunkDataCR                    // CR after the data
	chunkDataLF                    // LF after the data
	chunkTrailer                   // in the trailer section
	chunkDone
)

// Chunked decodes a chunked body (RFC 9112 §7.1) from slices of any size. It takes sizes of 1 to 15 hexadecimal
// digits, CRLF and nothing else as line end, no white space; extensions are bounded and dropped; trailer
// fields are held to the rules for fields and must not be of those that frame, route or authorise.
// Call Reset before each body.
type Chunked struct {
	state    chunkState
	digits   int
	left     uint64
	ext      int // bytes of extensions in this size line
	extTotal int
	lim      Limits
	section  []byte // trailer section as far as it has come
	trailers []Field
	failed   Reason
}

// Reset makes c ready for the next body. Buffers are kept.
func (c *Chunked) Reset(lim *Limits) {
	c.state, c.digits, c.left, c.ext, c.extTotal, c.failed = chunkSize, 0, 0, 0, 0, OK
	c.lim = *lim
	c.section, c.trailers = c.section[:0], c.trailers[:0]
}

// Trailers gives the trailer fields, complete once the body has ended. They refer to memory of c and are
// good until Reset.
func (c *Chunked) Trailers() []Field { return c.trailers }

// Next decodes a part of b: n bytes are done with, of which data, a part of b and perhaps empty, is content.
// With More, call it again with what follows these n bytes, be it in b or yet to come; with OK the body has
// ended. Else the body is broken and the connection cannot go on.
//
//	for why == http1.More && len(b) > 0 {
//		n, data, why = c.Next(b)
//		use(data)
//		b = b[n:]
//	}
func (c *Chunked) Next(b []byte) (n int, data []byte, why Reason) {
	i := 0
	for i < len(b) && c.failed == OK && c.state != chunkDone {
		if c.state == chunkData {
			k := int(min(uint64(len(b)-i), c.left))
			if c.left -= uint64(k); c.left == 0 {
				c.state = chunkDataCR
			}
			return i + k, b[i : i+k], More
		}
		i += c.step(b[i:])
	}
	return i, nil, c.verdict()
}

// NextFramed is Next for a relay that keeps the coding: keep is what to send on, chunk heads and data in one
// piece, but neither extensions nor what follows the last chunk. When it says OK, AppendTrailers completes
// the body.
func (c *Chunked) NextFramed(b []byte) (n int, keep []byte, why Reason) {
	i := 0
	for c.state == chunkExt && i < len(b) && c.failed == OK {
		i += c.step(b[i:])
	}
	start := i
	for i < len(b) && c.failed == OK && c.state < chunkTrailer {
		if c.state == chunkData {
			k := int(min(uint64(len(b)-i), c.left))
			if c.left -= uint64(k); c.left == 0 {
				c.state = chunkDataCR
			}
			i += k
			continue
		}
		k := c.step(b[i:])
		if c.state == chunkExt {
			return i + k, b[start : i+k-1], c.verdict() // all but the semicolon
		}
		i += k
	}
	keep = b[start:i]
	for i < len(b) && c.failed == OK && c.state != chunkDone {
		i += c.step(b[i:])
	}
	return i, keep, c.verdict()
}

func (c *Chunked) verdict() Reason {
	switch {
	case c.failed != OK:
		return c.failed
	case c.state == chunkDone:
		return OK
	default:
		return More
	}
}

// fail remembers why, so that no later call can take the body up again.
func (c *Chunked) fail(why Reason) int {
	c.failed = why
	return 0
}

// step consumes some bytes of b, which is not empty, outside of the data. It consumes nothing if it fails.
// It stops right after a semicolon that begins extensions and after the line of the last chunk.
func (c *Chunked) step(b []byte) int {
	switch c.state {
	case chunkSize:
		return c.stepSize(b)
	case chunkExt:
		return c.stepExt(b)
	case chunkSizeCR:
		c.state = chunkSizeLF
		return 1
	case chunkSizeLF:
		if b[0] != '\n' {
			return c.fail(BareCR)
		}
		c.state, c.digits, c.ext = chunkData, 0, 0
		if c.left == 0 {
			c.state = chunkTrailer
		}
		return 1
	case chunkDataCR:
		if b[0] != '\r' {
			return c.fail(BadChunkEnd)
		}
		c.state = chunkDataLF
		return 1
	case chunkDataLF:
		if b[0] != '\n' {
			return c.fail(BadChunkEnd)
		}
		c.state = chunkSize
		return 1
	default:
		return c.stepTrailer(b)
	}
}

// stepSize takes either digits or the one byte after them, so that good digits count as taken whatever follows.
func (c *Chunked) stepSize(b []byte) int {
	i := 0
	for ; i < len(b) && class[b[i]]&isHex != 0; i++ {
		if c.digits == maxChunkDigits {
			if i == 0 {
				return c.fail(BadChunkSize)
			}
			break
		}
		c.digits++
		d := b[i]
		if class[d]&isDigit != 0 {
			d -= '0'
		} else {
			d = d | 0x20 - 'a' + 10
		}
		c.left = c.left<<4 | uint64(d)
	}
	switch {
	case i > 0:
		return i
	case c.digits == 0:
		return c.fail(BadChunkSize)
	case b[0] == '\r':
		c.state = chunkSizeLF
	case b[0] == ';':
		c.state = chunkExt
	case b[0] == '\n':
		return c.fail(BareLF)
	default:
		return c.fail(BadChunkSize)
	}
	return 1
}

func (c *Chunked) stepExt(b []byte) int {
	for i, x := range b {
		switch {
		case x == '\r':
			c.state = chunkSizeCR // left for the next step, as NextFramed keeps it
			return i
		case x == '\n':
			return c.fail(BareLF)
		case x < 0x20 && x != '\t', x == 0x7f:
			return c.fail(BadChunkExtension)
		}
		c.ext++
		c.extTotal++
		if c.ext > c.lim.Ext || c.extTotal > extBudget*c.lim.Ext {
			return c.fail(ExtensionTooLong)
		}
	}
	return len(b)
}

// stepTrailer gathers the section line by line; it is parsed whenever a line has ended.
func (c *Chunked) stepTrailer(b []byte) int {
	n := bytes.IndexByte(b, '\n') + 1
	ended := n > 0
	if !ended {
		n = len(b)
	}
	c.section = append(c.section, b[:min(n, c.lim.Trailer-len(c.section)+1)]...)
	if len(c.section) > c.lim.Trailer {
		return c.fail(TrailerTooLarge)
	}
	if !ended {
		return n
	}
	var why Reason
	_, c.trailers, why = parseFields(c.section, 0, c.trailers[:0], c.lim.Fields)
	switch why {
	case More:
	case OK:
		c.state = chunkDone
		for i := range c.trailers {
			if c.trailers[i].id.forbiddenTrailer() {
				return c.fail(ForbiddenTrailer)
			}
		}
	default:
		return c.fail(why)
	}
	return n
}

// forbiddenTrailer lists what RFC 9110 §6.5.1 keeps out of trailer sections: fields that frame, route, modify
// or authorise a request, or say how to process content.
func (id ID) forbiddenTrailer() bool {
	switch id {
	case Other, IdempotencyKey:
		return false
	}
	return true
}
