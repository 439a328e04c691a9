package http2

// tableSize is the most that a dynamic table holds, by the measure of RFC 7541 §4.1. It is the value of
// SETTINGS_HEADER_TABLE_SIZE that holds unless one is sent.
const (
	tableSize = 4 << 10
	overhead  = 32 // added to the length of name and value
)

// firstDynamic is the index of the newest entry of a dynamic table.
const firstDynamic = len(staticFields)

// staticFields are those of RFC 7541 appendix A; index 0 is none. Read only.
var staticFields = [62][2]string{
	{},
	{":authority", ""},
	{":method", "GET"},
	{":method", "POST"},
	{":path", "/"},
	{":path", "/index.html"},
	{":scheme", "http"},
	{":scheme", "https"},
	{":status", "200"},
	{":status", "204"},
	{":status", "206"},
	{":status", "304"},
	{":status", "400"},
	{":status", "404"},
	{":status", "500"},
	{"accept-charset", ""},
	{"accept-encoding", "gzip, deflate"},
	{"accept-language", ""},
	{"accept-ranges", ""},
	{"accept", ""},
	{"access-control-allow-origin", ""},
	{"age", ""},
	{"allow", ""},
	{"authorization", ""},
	{"cache-control", ""},
	{"content-disposition", ""},
	{"content-encoding", ""},
	{"content-language", ""},
	{"content-length", ""},
	{"content-location", ""},
	{"content-range", ""},
	{"content-type", ""},
	{"cookie", ""},
	{"date", ""},
	{"etag", ""},
	{"expect", ""},
	{"expires", ""},
	{"from", ""},
	{"host", ""},
	{"if-match", ""},
	{"if-modified-since", ""},
	{"if-none-match", ""},
	{"if-range", ""},
	{"if-unmodified-since", ""},
	{"last-modified", ""},
	{"link", ""},
	{"location", ""},
	{"max-forwards", ""},
	{"proxy-authenticate", ""},
	{"proxy-authorization", ""},
	{"range", ""},
	{"referer", ""},
	{"refresh", ""},
	{"retry-after", ""},
	{"server", ""},
	{"set-cookie", ""},
	{"strict-transport-security", ""},
	{"transfer-encoding", ""},
	{"user-agent", ""},
	{"vary", ""},
	{"via", ""},
	{"www-authenticate", ""},
}

// staticLines are the static fields as the decoder wants them; nothing writes to them.
var staticLines = func() (t [len(staticFields)]entry) {
	for i, f := range staticFields {
		if i > 0 {
			name, value := []byte(f[0]), []byte(f[1])
			t[i] = entry{line: appendLine(nil, name, value), name: len(name), kind: classify(name, value)}
		}
	}
	return t
}()

// staticNames gives the index of a name, for the encoder; nothing writes to it.
var staticNames = func() map[string]uint8 {
	m := map[string]uint8{}
	for i := len(staticFields) - 1; i > 0; i-- {
		m[staticFields[i][0]] = uint8(i)
	}
	return m
}()

// entry is a field as an HTTP/1.1 line, and what it means.
type entry struct {
	line []byte // name, ": ", value, CRLF
	name int    // length of the name
	kind kind
}

func (e *entry) split() (name, value []byte) {
	return e.line[:e.name], e.line[e.name+2 : len(e.line)-2]
}

func appendLine(dst, name, value []byte) []byte {
	dst = append(append(dst, name...), ": "...)
	return append(append(dst, value...), "\r\n"...)
}

type ringEntry struct {
	at    uint16 // in the arena
	name  uint16 // length of the name
	value uint16
	kind  kind
}

func (e *ringEntry) cost() int { return int(e.name) + int(e.value) + overhead }

// table is a dynamic table (RFC 7541 §2.3.2). Its memory grows with what it holds, up to its bounds. The newest
// entry has the number added, the oldest is n-1 before it.
type table struct {
	ents  []ringEntry // a ring
	arena []byte      // a ring as well, of entries in one piece
	most  int         // the largest limit there can be
	added uint32      // entries ever
	n     uint32      // entries there are
	size  int         // what they count
	limit int         // what they may count
	at    int         // in the arena, where the next one goes
}

func newTable(most int) table { return table{most: most, limit: most} }

// evict drops the oldest entries until the others count no more than size.
func (t *table) evict(size int) {
	for t.size > size {
		t.size -= t.ents[(t.added-t.n+1)%uint32(len(t.ents))].cost()
		t.n--
	}
}

// resize changes what the table may hold.
func (t *table) resize(limit int) {
	t.limit = limit
	t.evict(limit)
}

// add makes room for an entry and gives its place in the arena, of extra bytes more than name and value have; nil:
// it is too large for the table, which is empty now. The bytes of entries that had to go stay until the place is
// written, so that name may be one of theirs if it is copied first.
func (t *table) add(name, value int, k kind, extra int) []byte {
	cost := name + value + overhead
	if cost > t.limit {
		t.evict(0)
		return nil
	}
	if t.ents == nil {
		t.ents = make([]ringEntry, t.most/overhead)
	}
	t.evict(t.limit - cost)
	size := name + value + extra
	// Entries are never longer than they count. So twice the table always has room for the next one, whatever is
	// lost at the end.
	if t.at+size > 2*t.most {
		t.at = 0
	}
	if need := t.at + size; need > len(t.arena) {
		grown := make([]byte, min(max(2*len(t.arena), need, 1<<10), 2*t.most))
		copy(grown, t.arena)
		t.arena = grown
	}
	t.added++
	t.n++
	t.size += cost
	t.ents[t.added%uint32(len(t.ents))] = ringEntry{at: uint16(t.at), name: uint16(name), value: uint16(value), kind: k}
	place := t.arena[t.at : t.at+size : t.at+size]
	t.at += size
	return place
}
