package http2

// tableSize is the most that a dynamic table holds, by the measure of RFC 7541 §4.1. It is the value of
// SETTINGS_HEADER_TABLE_SIZE that holds unless one is sent.
const (
	tableSize = 4 << 10
	overhead  = 32 // added to the length of name and value
	maxEnts   = tableSize / overhead
	// arenaSize: entries stand in the arena in one piece, and are never longer than they count. So twice the
	// table always has room for the next one, whatever is lost at the end of the arena.
	arenaSize = 2 * tableSize
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

// ring says where the entries of a dynamic table stand. The newest has the number added, the oldest is n-1 before it.
type ring struct {
	ents  [maxEnts]ringEntry
	arena [arenaSize]byte
}

type ringEntry struct {
	at    uint16 // in the arena
	name  uint16 // length of the name
	value uint16
	kind  kind
}

func (e *ringEntry) cost() int { return int(e.name) + int(e.value) + overhead }

// table is a dynamic table (RFC 7541 §2.3.2). Its memory comes with its first entry.
type table struct {
	ring  *ring
	added uint32 // entries ever
	n     uint32 // entries there are
	size  int    // what they count
	limit int    // what they may count
	at    int    // in the arena, where the next one goes
}

// evict drops the oldest entries until the others count no more than size.
func (t *table) evict(size int) {
	for t.size > size {
		t.size -= t.ring.ents[(t.added-t.n+1)%maxEnts].cost()
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
	if t.ring == nil {
		t.ring = &ring{}
	}
	t.evict(t.limit - cost)
	size := name + value + extra
	if t.at+size > arenaSize {
		t.at = 0
	}
	t.added++
	t.n++
	t.size += cost
	t.ring.ents[t.added%maxEnts] = ringEntry{at: uint16(t.at), name: uint16(name), value: uint16(value), kind: k}
	place := t.ring.arena[t.at : t.at+size : t.at+size]
	t.at += size
	return place
}
