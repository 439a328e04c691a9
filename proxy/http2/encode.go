package http2

import (
	"hash/maphash"

	"github.com/lbnode/lbnode/proxy/http1"
)

const (
	// encoderSize is what the encoder's table may count. A proxy's answers repeat few lines, and a smaller table
	// than the peer allows is always right: its newest entries are the same.
	encoderSize  = 2 << 10
	encoderSlots = 64
	// maxLearnt is the largest entry that is worth its place.
	maxLearnt = encoderSize / 2
)

// Encoder is the HPACK encoder of one connection. NewEncoder makes one.
type Encoder struct {
	table
	seed  maphash.Seed
	slots *[encoderSlots]encoderSlot // with the first field that is worth it
	low   int                        // smallest size since the last block that the decoder must be told; -1 = none
}

// encoderSlot remembers a line by its hash: as one that was sent once, and then as an entry.
type encoderSlot struct {
	hash uint64
	id   uint32 // number of the entry; 0 = none
}

// NewEncoder makes an encoder. The seed keeps clients from choosing lines that share a slot.
func NewEncoder(seed maphash.Seed) Encoder {
	return Encoder{table: newTable(encoderSize), seed: seed, low: -1}
}

// SetLimit takes the peer's SETTINGS_HEADER_TABLE_SIZE.
func (e *Encoder) SetLimit(n uint32) {
	size := int(min(n, encoderSize))
	if e.low < 0 || size < e.low {
		e.low = size
	}
	e.resize(size)
}

// Begin begins a header block: it says what the table's size is now, if the peer must know (RFC 7541 §4.2).
func (e *Encoder) Begin(dst []byte) []byte {
	if e.low < 0 {
		return dst
	}
	if e.low < e.limit {
		dst = appendInt(dst, 0x20, 0x1f, uint32(e.low))
	}
	e.low = -1
	return appendInt(dst, 0x20, 0x1f, uint32(e.limit))
}

// Status appends :status, which is 100..999.
func (e *Encoder) Status(dst []byte, status int) []byte {
	switch status {
	case 200:
		return append(dst, 0x80|8)
	case 204:
		return append(dst, 0x80|9)
	case 206:
		return append(dst, 0x80|10)
	case 304:
		return append(dst, 0x80|11)
	case 400:
		return append(dst, 0x80|12)
	case 404:
		return append(dst, 0x80|13)
	case 500:
		return append(dst, 0x80|14)
	}
	return append(dst, 8, 3, byte('0'+status/100), byte('0'+status/10%10), byte('0'+status%10))
}

// Field appends a field of an HTTP/1.1 head, whose name and value are valid. The name may have upper-case letters.
// A line enters the table when it is seen for the second time, so that values which never come again do not push
// out those that do.
func (e *Encoder) Field(dst, name, value []byte) []byte {
	id := http1.Identify(name)
	first, mask := byte(0x00), uint32(0x0f)
	cost := len(name) + len(value) + overhead
	switch {
	case id == http1.SetCookie || id == http1.Authorization || id == http1.WWWAuthenticate:
		first = 0x10 // never indexed, by anybody on the way: RFC 7541 §7.1.3
	case id == http1.ContentLength || id == http1.ContentRange || cost > min(maxLearnt, e.limit):
	default:
		if e.slots == nil {
			e.slots = &[encoderSlots]encoderSlot{}
		}
		hash := maphash.Bytes(e.seed, name) ^ maphash.Bytes(e.seed, value)<<1
		s := &e.slots[hash%encoderSlots]
		switch {
		case s.hash != hash:
			*s = encoderSlot{hash: hash}
		case s.id != 0 && e.added-s.id < e.n && e.is(s.id, name, value):
			return appendInt(dst, 0x80, 0x7f, uint32(firstDynamic)+e.added-s.id)
		default:
			if p := e.add(len(name), len(value), kindPlain, 0); p != nil {
				copy(p[copy(p, name):], value)
				s.id = e.added
				first, mask = 0x40, 0x3f
				// The name's index counts without the entry that is being added. It is a static one anyway.
			}
		}
	}
	dst = appendName(dst, first, mask, name)
	dst = appendInt(dst, 0, 0x7f, uint32(len(value)))
	return append(dst, value...)
}

// is tells whether an entry that is in the table is this line.
func (e *Encoder) is(id uint32, name, value []byte) bool {
	x := &e.ents[id%uint32(len(e.ents))]
	at, mid := int(x.at), int(x.at)+int(x.name)
	return string(e.arena[at:mid]) == string(name) && string(e.arena[mid:mid+int(x.value)]) == string(value)
}

// appendName appends a name in lower case: as a static index, or literally.
func appendName(dst []byte, first byte, mask uint32, name []byte) []byte {
	at := len(dst)
	dst = append(dst, name...)
	low := dst[at:]
	for i, c := range low {
		if c-'A' < 26 {
			low[i] = c | 0x20
		}
	}
	if i := staticNames[string(low)]; i != 0 {
		return appendInt(dst[:at], first, mask, uint32(i))
	}
	// Literally: make room for what stands before it.
	var buf [8]byte
	pre := appendInt(append(buf[:0], first), 0, 0x7f, uint32(len(name)))
	dst = append(dst, pre...)
	copy(dst[at+len(pre):], dst[at:at+len(name)])
	copy(dst[at:], pre)
	return dst
}

// appendInt appends an integer of RFC 7541 §5.1 whose first byte has first above mask.
func appendInt(dst []byte, first byte, mask, v uint32) []byte {
	if v < mask {
		return append(dst, first|byte(v))
	}
	dst = append(dst, first|byte(mask))
	for v -= mask; v >= 0x80; v >>= 7 {
		dst = append(dst, byte(v)|0x80)
	}
	return append(dst, byte(v))
}
