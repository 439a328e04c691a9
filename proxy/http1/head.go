package http1

import "bytes"

// Body says how the end of a body is found (RFC 9112 §6.3).
type Body uint8

// The kinds of body.
const (
	NoBody     Body = iota // none follows the head
	ByLength               // Head.Length bytes follow
	ByChunks               // the chunked coding follows
	UntilClose             // everything up to the end of the connection: responses only
	Tunnel                 // no HTTP follows: 101, or 2xx to CONNECT
)

// maxOptions bounds the options that Connection fields may name: each is compared with every field.
const maxOptions = 32

// flags is what the fields of a head say in passing.
type flags uint16

const (
	optClose flags = 1 << iota
	optKeepAlive
	optUpgrade
	optTE
	optOther // Connection names a field that we do not know
	hasLength
	hasChunked
	hasUpgrade
	manyUpgrades
	hasTrailers // TE: trailers
	hasExpect
	hasHost
	manyHosts
	confused // a response with a length where none can be
)

// Head is what requests and responses have in common. Its slices refer to the parsed bytes.
type Head struct {
	Minor  uint8 // 1 for HTTP/1.1, 0 for HTTP/1.0
	Body   Body
	Length int64 // value of Content-Length, -1 for none; a length without a body stands for what HEAD or 304 would have had

	fields  []Field
	options int
	flags   flags
	upgrade []byte
	host    []byte
	seen    int  // bytes that an unfinished Parse has looked at
	lined   bool // the first line is complete
}

// Fields gives all fields in their order, those that end here too. The slice is reused by the next Parse;
// do not append to it.
func (h *Head) Fields() []Field { return h.fields }

// Get gives the value of the first field with this ID, nil for none. An empty value is not nil.
func (h *Head) Get(id ID) []byte {
	for i := range h.fields {
		if h.fields[i].id == id {
			return h.fields[i].value
		}
	}
	return nil
}

// Lookup gives the value of the first field with this name in any case, nil for none.
func (h *Head) Lookup(name string) []byte {
	for i := range h.fields {
		if f := &h.fields[i]; len(f.name) == len(name) && equalFoldBytes(f.name, bytesOf(name)) {
			return f.value
		}
	}
	return nil
}

// Count is the number of fields with this ID.
func (h *Head) Count(id ID) int {
	n := 0
	for i := range h.fields {
		if h.fields[i].id == id {
			n++
		}
	}
	return n
}

// Name is the name of fields that are added to every message: it is checked and looked up once.
type Name struct {
	name []byte
	id   ID
}

// NewName panics on a name that Add refuses: it is for constants.
func NewName(name string) Name {
	var h Head
	if why := h.Add([]byte(name), nil); why != OK {
		panic("http1: " + name + ": " + why.String())
	}
	return Name{h.fields[0].name, h.fields[0].id}
}

// AddNamed is Add with less to check.
func (h *Head) AddNamed(n Name, value []byte) Reason {
	if !ValidValue(value) {
		return BadFieldValue
	}
	h.add(n, value)
	return OK
}

// Add appends a field. It refuses a name or value that is not valid, and the fields that Append writes
// by itself: Host, the framing fields and the hop-by-hop ones.
func (h *Head) Add(name, value []byte) Reason {
	if !ValidName(name) {
		return BadFieldName
	}
	if !ValidValue(value) {
		return BadFieldValue
	}
	id, twin := identify(name)
	if twin {
		return UnderscoreTwin
	}
	if id != Other && id <= writtenLast {
		return BadFieldName
	}
	h.add(Name{name, id}, value)
	return OK
}

func (h *Head) add(n Name, value []byte) {
	if value == nil {
		value = []byte{} // Get tells an empty value from none
	}
	h.fields = append(h.fields, Field{name: n.name, value: value, id: n.id})
}

// Drop removes every field with this ID, underscore twins included.
func (h *Head) Drop(id ID) {
	h.DropFunc(func(f *Field) bool { return f.id == id })
}

// DropFunc removes every field for which drop says so.
func (h *Head) DropFunc(drop func(*Field) bool) {
	n := 0
	for i := range h.fields {
		if !drop(&h.fields[i]) {
			if n != i {
				h.fields[n] = h.fields[i]
			}
			n++
		}
	}
	h.fields = h.fields[:n]
}

// UpgradeTo is the protocol that the message wants to change to, or changes to: the value of Upgrade, if
// Connection names it and the version allows it (RFC 9110 §7.8). nil for none.
func (h *Head) UpgradeTo() []byte {
	if h.flags&(hasUpgrade|optUpgrade) != hasUpgrade|optUpgrade || h.Minor == 0 {
		return nil
	}
	return h.upgrade
}

// persistent is the rule of RFC 9112 §9.3.
func (h *Head) persistent() bool {
	if h.flags&optClose != 0 {
		return false
	}
	return h.Minor == 1 || h.flags&optKeepAlive != 0
}

func (h *Head) reset() {
	h.Minor, h.Body, h.Length = 0, NoBody, -1
	h.fields, h.options, h.flags, h.seen, h.lined = h.fields[:0], 0, 0, 0, false
	h.upgrade, h.host = nil, nil
}

// again tells whether a Parse that wanted more need not look at b yet: no line has ended since, and no
// limit is reached. Without it a head that trickles in byte by byte would cost the square of its length.
func (h *Head) again(b []byte, lim *Limits) bool {
	end := lim.Head
	if !h.lined {
		end = lim.Line // an empty line before the first one only makes this early
	}
	if len(b) < h.seen || len(b) >= end || bytes.IndexByte(b[h.seen:], '\n') >= 0 {
		return false
	}
	h.seen = len(b)
	return true
}

// note takes in what the known fields say: framing, Connection, Upgrade, TE, Expect.
func (h *Head) note() Reason {
	for i := range h.fields {
		f := &h.fields[i]
		if f.id == Other || f.id > Expect {
			continue
		}
		if why := h.noteField(f); why != OK {
			return why
		}
	}
	if h.flags&(hasChunked|hasLength) == hasChunked|hasLength {
		return EncodingAndLength
	}
	if h.flags&optOther != 0 {
		h.markOptions()
	}
	return OK
}

func (h *Head) noteField(f *Field) Reason {
	switch f.id {
	case Host:
		if h.flags&hasHost != 0 {
			h.flags |= manyHosts
		}
		h.host, h.flags = f.value, h.flags|hasHost
	case ContentLength:
		if h.flags&hasLength != 0 {
			return DuplicateLength
		}
		n, ok := parseLength(f.value)
		if !ok {
			return BadContentLength
		}
		h.Length, h.flags = n, h.flags|hasLength
	case TransferEncoding:
		return h.noteEncoding(f.value)
	case Connection:
		return h.noteOptions(f.value)
	case Upgrade:
		if h.flags&hasUpgrade != 0 {
			h.flags |= manyUpgrades
		}
		h.upgrade, h.flags = f.value, h.flags|hasUpgrade
	case TE:
		for rest := f.value; len(rest) > 0; {
			var item []byte
			if item, rest = nextItem(rest); equalFold(item, "trailers") {
				h.flags |= hasTrailers
			}
		}
	case Expect:
		if h.Minor == 0 {
			f.hop = true // RFC 9110 §10.1.1: to be ignored
			return OK
		}
		if !equalFold(f.value, "100-continue") {
			return BadExpect
		}
		h.flags |= hasExpect
	}
	return OK
}

// parseLength takes 1 to 18 digits, which always fit; RFC 9110 §8.6.
func parseLength(v []byte) (int64, bool) {
	if len(v) == 0 || len(v) > 18 {
		return 0, false
	}
	n := int64(0)
	for _, c := range v {
		if c-'0' > 9 {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}

func (h *Head) noteEncoding(v []byte) Reason {
	switch {
	case h.flags&hasChunked != 0:
		return DuplicateEncoding
	case h.Minor == 0:
		return EncodingInHTTP10
	case equalFold(v, "chunked"):
		h.flags |= hasChunked
		return OK
	case isTokenBytes(v):
		return UnsupportedEncoding
	default:
		return BadTransferEncoding
	}
}

// nextItem cuts the first element off a comma-separated list (RFC 9110 §5.6.1).
func nextItem(v []byte) (item, rest []byte) {
	if k := bytes.IndexByte(v, ','); k >= 0 {
		return trim(v[:k]), v[k+1:]
	}
	return trim(v), nil
}

func (h *Head) noteOptions(v []byte) Reason {
	for len(v) > 0 {
		var opt []byte
		if opt, v = nextItem(v); len(opt) == 0 {
			continue
		}
		if h.options++; h.options > maxOptions {
			return TooManyOptions
		}
		h.flags |= option(opt)
	}
	return OK
}

func option(opt []byte) flags {
	switch len(opt) {
	case 2:
		if equalFold(opt, "te") {
			return optTE
		}
	case 5:
		if equalFold(opt, "close") {
			return optClose
		}
	case 7:
		if equalFold(opt, "upgrade") {
			return optUpgrade
		}
	case 10:
		if equalFold(opt, "keep-alive") {
			return optKeepAlive
		}
	}
	return optOther
}

// markOptions marks the fields that Connection names. Host and the framing fields cannot be stripped that
// way: Append writes them anew whatever Connection says.
func (h *Head) markOptions() {
	for i := range h.fields {
		if h.fields[i].id != Connection {
			continue
		}
		for v := h.fields[i].value; len(v) > 0; {
			var opt []byte
			if opt, v = nextItem(v); len(opt) == 0 {
				continue
			}
			for j := range h.fields {
				if f := &h.fields[j]; !f.hop && equalFoldBytes(f.name, opt) {
					f.hop = true
				}
			}
		}
	}
}
