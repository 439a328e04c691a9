package http2

// lineExtra is how much longer a line is than its name and value.
const lineExtra = len(": \r\n")

// Decoder is the HPACK decoder of one connection. NewDecoder makes one.
type Decoder struct {
	table
	scratch *Scratch
}

// Scratch is memory for decoding that connections of one goroutine share.
type Scratch struct{ name, value []byte }

// NewDecoder makes a decoder with a table of 4 KiB.
func NewDecoder(s *Scratch) Decoder { return Decoder{table: newTable(tableSize), scratch: s} }

// Decode decodes a whole header block into h. false: the block is broken, and with it the connection
// (RFC 7541 §5, COMPRESSION_ERROR). A block must be decoded even if nobody wants its fields, as the next ones
// build on it.
func (d *Decoder) Decode(block []byte, h *Head) bool {
	b, fields := block, false
	for len(b) > 0 {
		c := b[0]
		switch {
		case c >= 0x80:
			i, rest, ok := readInt(b, 0x7f)
			if !ok {
				return false
			}
			b = rest
			e, ok := d.lookup(i)
			if !ok {
				return false
			}
			name, value := e.split()
			h.take(e.kind, name, value, e.line)
			fields = true
		case c&0xe0 == 0x20: // a new size: only before all fields, RFC 7541 §4.2
			n, rest, ok := readInt(b, 0x1f)
			if !ok || n > tableSize || fields {
				return false
			}
			b = rest
			d.resize(int(n))
		default:
			var ok bool
			if b, ok = d.literal(b, h); !ok {
				return false
			}
			fields = true
		}
	}
	return true
}

// literal decodes a field whose value is not in a table (RFC 7541 §6.2).
func (d *Decoder) literal(b []byte, h *Head) (rest []byte, ok bool) {
	mask, learn := byte(0x0f), b[0] >= 0x40
	if learn {
		mask = 0x3f
	}
	i, b, ok := readInt(b, mask)
	if !ok {
		return nil, false
	}
	var name, value []byte
	if i == 0 {
		if name, b, ok = readString(b, &d.scratch.name); !ok {
			return nil, false
		}
	} else {
		e, ok := d.lookup(i)
		if !ok {
			return nil, false
		}
		name, _ = e.split()
	}
	if value, b, ok = readString(b, &d.scratch.value); !ok {
		return nil, false
	}
	k := classify(name, value)
	h.take(k, name, value, nil)
	if learn {
		if p := d.add(len(name), len(value), k, lineExtra); p != nil {
			n := copy(p, name) // it may be that of an entry that has just gone: first
			n += copy(p[n:], ": ")
			n += copy(p[n:], value)
			copy(p[n:], "\r\n")
		}
	}
	return b, true
}

// lookup finds the field with an index (RFC 7541 §2.3.3).
func (d *Decoder) lookup(i uint64) (entry, bool) {
	if i < uint64(firstDynamic) {
		return staticLines[i], i > 0
	}
	if i -= uint64(firstDynamic); i >= uint64(d.n) {
		return entry{}, false
	}
	e := &d.ents[(d.added-uint32(i))%uint32(len(d.ents))]
	end := int(e.at) + int(e.name) + int(e.value) + lineExtra
	return entry{line: d.arena[e.at:end:end], name: int(e.name), kind: e.kind}, true
}

// readInt reads an integer of RFC 7541 §5.1 whose first byte is under mask. It must fit into 32 bits or so: no
// number of the protocol is larger.
func readInt(b []byte, mask byte) (v uint64, rest []byte, ok bool) {
	if len(b) == 0 {
		return 0, nil, false
	}
	v = uint64(b[0] & mask)
	if b = b[1:]; v < uint64(mask) {
		return v, b, true
	}
	for m := 0; m < 35 && len(b) > 0; m += 7 {
		c := b[0]
		b = b[1:]
		v += uint64(c&0x7f) << m
		if c < 0x80 {
			return v, b, true
		}
	}
	return 0, nil, false
}

// readString reads a string of RFC 7541 §5.2. It is a part of b, or of *buf if it had to be decoded.
func readString(b []byte, buf *[]byte) (s, rest []byte, ok bool) {
	if len(b) == 0 {
		return nil, nil, false
	}
	coded := b[0]&0x80 != 0
	n, b, ok := readInt(b, 0x7f)
	if !ok || n > uint64(len(b)) {
		return nil, nil, false
	}
	s, rest = b[:n], b[n:]
	if coded {
		*buf, ok = appendDecoded((*buf)[:0], s)
		s = *buf
	}
	return s, rest, ok
}
