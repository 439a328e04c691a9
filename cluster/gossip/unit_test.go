package gossip

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/hashicorp/memberlist"
)

func addressOf(p *peer) memberlist.Address {
	return memberlist.Address{Addr: p.addr, Name: p.cfg.NodeID}
}

func TestMeta_roundTrip(t *testing.T) {
	t.Parallel()
	longest := Meta{
		API: strings.Repeat("a", maxAddr), Proxy: strings.Repeat("p", maxAddr), Version: strings.Repeat("v", maxVersion),
		Proto: [2]uint8{0, 255}, Voter: true, Draining: true, Insecure: true,
	}
	for _, m := range []Meta{{}, longest, {API: "192.0.2.1:9080", Voter: true}, {Draining: true}, {Insecure: true, Proto: [2]uint8{3, 3}}} {
		b := wireMeta{m, 1<<63 + 7}.encode()
		if len(b) > maxMeta || maxMeta > memberlist.MetaMaxSize {
			t.Errorf("encoded Meta has %d bytes, want at most %d and %d", len(b), maxMeta, memberlist.MetaMaxSize)
		}
		got, err := decodeMeta(append(b, "a later version's field"...))
		if err != nil || got.Meta != m || got.instance != 1<<63+7 {
			t.Errorf("decodeMeta = %+v, %v, want %+v", got, err, m)
		}
		for n := range b {
			if _, err := decodeMeta(b[:n]); err == nil {
				t.Errorf("decodeMeta took %d of %d bytes", n, len(b))
			}
		}
	}
}

func TestMeta_Validate(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		m    Meta
		want string
	}{
		{Meta{}, ""},
		{Meta{API: strings.Repeat("x", maxAddr+1)}, "API has 129 bytes"},
		{Meta{Proxy: strings.Repeat("x", maxAddr+1)}, "Proxy"},
		{Meta{Version: strings.Repeat("x", maxVersion+1)}, "Version"},
		{Meta{Proto: [2]uint8{2, 1}}, "range 2..1"},
	} {
		err := tt.m.Validate()
		if (err == nil) != (tt.want == "") || (err != nil && !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("Validate(%.20v) = %v, want %q", tt.m, err, tt.want)
		}
	}
}

func TestConfig_Validate(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		change func(*Config)
		want   string
	}{
		"fine":           {func(*Config) {}, ""},
		"no node id":     {func(c *Config) { c.NodeID = "" }, "NodeID has 0 bytes"},
		"no cluster id":  {func(c *Config) { c.ClusterID = "" }, "ClusterID"},
		"long id":        {func(c *Config) { c.NodeID = strings.Repeat("n", 256) }, "256"},
		"no streams":     {func(c *Config) { c.Streams = nil }, "Streams"},
		"port 0":         {func(c *Config) { c.Addr = "127.0.0.1:0" }, "port of the cluster's TCP side"},
		"short key":      {func(c *Config) { c.Keys = [][]byte{testKey(1), {1}} }, "key 2"},
		"negative":       {func(c *Config) { c.PushPullInterval = -1 }, "PushPullInterval"},
		"probe too long": {func(c *Config) { c.ProbeTimeout = c.ProbeInterval }, "ProbeTimeout"},
		"negative queue": {func(c *Config) { c.MaxQueued = -1 }, "MaxQueued"},
		"bad meta":       {func(c *Config) { c.Meta.Proto = [2]uint8{9, 1} }, "range 9..1"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := fast()
			cfg.NodeID, cfg.Addr, cfg.Streams = "n1", "127.0.0.1:7946", noStreams{}
			tt.change(&cfg)
			err := cfg.Validate()
			if (tt.want == "") != (err == nil) || (err != nil && !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("Validate = %v, want %q", err, tt.want)
			}
		})
	}
	if diff := cmp.Diff(DefaultConfig(), Config{}.withDefaults(), cmpopts.IgnoreFields(Config{}, "Logger")); diff != "" {
		t.Errorf("withDefaults (-want +got):\n%s", diff)
	}
}

type noStreams struct{}

func (noStreams) Dial(context.Context, string) (net.Conn, error) { return nil, net.ErrClosed }
func (noStreams) Listener() net.Listener                         { return nil }

func TestQueue(t *testing.T) {
	t.Parallel()
	q := newQueue(3, 10)
	drain := func() (all []string) {
		for b, ok := q.pop(); ok; b, ok = q.pop() {
			all = append(all, string(b))
		}
		return all
	}
	for _, s := range []string{"a", "b", "c", "d", "e"} {
		q.push([]byte(s))
	}
	if got := drain(); !cmp.Equal(got, []string{"c", "d", "e"}) || q.drops() != 2 {
		t.Errorf("over the item limit: %q, %d dropped", got, q.drops())
	}
	q.push([]byte("12345678"))
	q.push([]byte("abc"))
	if got := drain(); !cmp.Equal(got, []string{"abc"}) || q.drops() != 3 {
		t.Errorf("over the byte limit: %q, %d dropped", got, q.drops())
	}
	q.push(make([]byte, 100)) // larger than the queue, but alone
	if got := drain(); len(got) != 1 || q.bytes != 0 {
		t.Errorf("one big item: %d kept, %d bytes left", len(got), q.bytes)
	}
	select {
	case <-q.ready:
	default:
		t.Error("ready says nothing")
	}
}

func TestWire_roundTrip(t *testing.T) {
	t.Parallel()
	k := stateKey{kindState, "health"}
	got, err := decodeMessage(encodeMessage(k, []byte("delta")))
	if err != nil || got.key != k || string(got.payload) != "delta" {
		t.Errorf("message = %+v, %v", got, err)
	}
	in := []section{{k, []byte("one")}, {stateKey{kindLeave, ""}, []byte{}}, {stateKey{kindState, strings.Repeat("k", 255)}, bytes.Repeat([]byte("x"), 100_000)}}
	var b []byte
	for _, s := range in {
		b = appendSection(b, s)
	}
	var out []section
	for rest := b; len(rest) > 0; {
		s, r, err := cutSection(rest)
		if err != nil {
			t.Fatal(err)
		}
		out, rest = append(out, s), r
	}
	if diff := cmp.Diff(in, out, cmp.AllowUnexported(section{}, stateKey{})); diff != "" {
		t.Errorf("sections (-want +got):\n%.500s", diff)
	}
}

func TestParseLine(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		in    string
		level slog.Level
		text  string
	}{
		{"[DEBUG] memberlist: Stream connection from=1.2.3.4:5", slog.LevelDebug, "Stream connection from=1.2.3.4:5"},
		{"[INFO] memberlist: Marking n1 as failed", slog.LevelInfo, "Marking n1 as failed"},
		{"[WARN] memberlist: Refuting", slog.LevelWarn, "Refuting"},
		{"[ERR] memberlist: Push/Pull with n1 failed", slog.LevelWarn, "Push/Pull with n1 failed"},
		{"[ERROR] memberlist: x", slog.LevelWarn, "x"},
		{"[ERR] Failed to shutdown transport: x", slog.LevelWarn, "Failed to shutdown transport: x"},
		{"no level", slog.LevelInfo, "no level"},
		{"[", slog.LevelInfo, "["},
		{"", slog.LevelInfo, ""},
	} {
		level, text := parseLine(tt.in)
		if level != tt.level || text != tt.text {
			t.Errorf("parseLine(%q) = %v, %q, want %v, %q", tt.in, level, text, tt.level, tt.text)
		}
	}
}

func TestLogWriter(t *testing.T) {
	t.Parallel()
	var buf bytes.Buffer
	var suspects []string
	w := newLogWriter(slog.New(slog.NewTextHandler(&buf, nil)), func(id string) { suspects = append(suspects, id) })
	for _, line := range []string{
		"[INFO] memberlist: Suspect n 7 has failed, no acks received\n",
		"[DEBUG] memberlist: Suspicious\n",
		"[ERR] memberlist: Decrypt packet failed: x from=1.1.1.1:1\n",
		"[ERR] memberlist: Decrypt packet failed: y from=2.2.2.2:2\n",
	} {
		if n, err := fmt.Fprint(w, line); n != len(line) || err != nil {
			t.Errorf("Write = %d, %v", n, err)
		}
	}
	if !cmp.Equal(suspects, []string{"n 7"}) {
		t.Errorf("suspects = %q", suspects)
	}
	if got := strings.Count(buf.String(), "Decrypt"); got != 1 || strings.Contains(buf.String(), "Suspicious") {
		t.Errorf("log = %q, want one line of a kind and nothing below the level", buf.String())
	}
	now := time.Now()
	for i := range 3 * logKeys {
		w.allow(fmt.Sprint("kind ", i), now)
	}
	if len(w.last) > logKeys {
		t.Errorf("the limiter remembers %d kinds", len(w.last))
	}
	if !w.allow("Decrypt packet failed: again", now.Add(2*logPeriod)) {
		t.Error("a kind stays silent after its period")
	}
}

func testNode(id string, port uint16, instance uint64) *memberlist.Node {
	return &memberlist.Node{Name: id, Addr: net.IPv4(127, 0, 0, 1), Port: port, Meta: wireMeta{Meta{Voter: true}, instance}.encode()}
}

func TestTable(t *testing.T) {
	t.Parallel()
	const forget, suspect = time.Hour, time.Minute
	t0 := time.Unix(1000, 0)
	tests := map[string]struct {
		do   func(*table)
		want Status // "" = not listed
	}{
		"alive":                {func(*table) {}, Alive},
		"suspect":              {func(b *table) { b.suspected("n1", t0) }, Suspect},
		"refuted by an answer": {func(b *table) { b.suspected("n1", t0); b.heard("n1", t0) }, Alive},
		"refuted in time":      {func(b *table) { b.suspected("n1", t0); b.sweep(t0.Add(suspect)) }, Alive},
		"still suspect":        {func(b *table) { b.suspected("n1", t0); b.sweep(t0.Add(suspect - 1)) }, Suspect},
		"dead":                 {func(b *table) { b.suspected("n1", t0); b.gone("n1", t0) }, Dead},
		"dead is not suspect":  {func(b *table) { b.gone("n1", t0); b.suspected("n1", t0) }, Dead},
		"dead answers nothing": {func(b *table) { b.gone("n1", t0); b.heard("n1", t0) }, Dead},
		"left, reason first":   {func(b *table) { b.leaving(departure{"n1", 7}, t0); b.gone("n1", t0) }, Left},
		"left, reason later":   {func(b *table) { b.gone("n1", t0); b.leaving(departure{"n1", 7}, t0) }, Left},
		"an earlier life left": {func(b *table) { b.leaving(departure{"n1", 6}, t0); b.gone("n1", t0) }, Dead},
		"goodbye, still here":  {func(b *table) { b.leaving(departure{"n1", 7}, t0) }, Alive},
		"back":                 {func(b *table) { b.gone("n1", t0); b.seen(testNode("n1", 2, 8), t0) }, Alive},
		"remembered":           {func(b *table) { b.gone("n1", t0); b.sweep(t0.Add(forget - 1)) }, Dead},
		"forgotten":            {func(b *table) { b.gone("n1", t0); b.sweep(t0.Add(forget)) }, ""},
		"strangers are none":   {func(b *table) { b.gone("n9", t0); b.suspected("n9", t0) }, Alive},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newTable(slog.New(slog.DiscardHandler), forget, func(int) time.Duration { return suspect })
			b.seen(testNode("n1", 1, 7), t0)
			<-b.changed
			tt.do(b)
			var got Status
			for _, m := range b.list() {
				got = m.Status
			}
			if got != tt.want {
				t.Errorf("status = %q, want %q", got, tt.want)
			}
			if changed := len(b.changed) == 1; got != Alive && !changed {
				t.Error("the change was not signalled")
			}
			if wantN := map[bool]int{true: 1}[tt.want == Alive || tt.want == Suspect]; b.count() != wantN || len(b.reachable("")) != wantN || len(b.reachable("n1")) != 0 {
				t.Errorf("count = %d, reachable %v", b.count(), b.reachable(""))
			}
		})
	}
}

func TestDepartures_merge(t *testing.T) {
	t.Parallel()
	table := func() *table {
		return newTable(slog.New(slog.DiscardHandler), time.Hour, func(int) time.Duration { return time.Minute })
	}
	a, b := departures{table()}, departures{table()}
	now := time.Unix(1000, 0)
	a.t.leaving(departure{"n1", 1}, now)
	a.t.leaving(departure{"n2", 2}, now)
	b.t.leaving(departure{"n1", 9}, now)
	for range 2 { // idempotent and commutative
		x, _ := a.MarshalBinary()
		y, _ := b.MarshalBinary()
		if err := b.Merge(x); err != nil {
			t.Fatal(err)
		}
		if err := a.Merge(y); err != nil {
			t.Fatal(err)
		}
	}
	want := []departure{{"n1", 1}, {"n1", 9}, {"n2", 2}}
	for _, d := range []departures{a, b} {
		if got := d.t.departures(); !cmp.Equal(want, got, cmp.AllowUnexported(departure{})) {
			t.Errorf("departures = %v, want %v", got, want)
		}
	}
	if a.t.leaving(departure{"n1", 1}, now) {
		t.Error("a known departure counts as news")
	}
}

// Callbacks get buffers that memberlist uses again.
func TestDelegate_copies(t *testing.T) {
	t.Parallel()
	g := &Gossip{inbound: newQueue(2, 100)}
	b := []byte("mine")
	delegate{g}.NotifyMsg(b)
	copy(b, "gone")
	if got, _ := g.inbound.pop(); string(got) != "mine" {
		t.Errorf("queued %q, want a copy", got)
	}
}

func TestDelegate_NotifyAlive(t *testing.T) {
	t.Parallel()
	ok := testNode("n1", 1, 1)
	tests := map[string]struct {
		change func(*memberlist.Node)
		ok     bool
	}{
		"fine":       {func(*memberlist.Node) {}, true},
		"no meta":    {func(n *memberlist.Node) { n.Meta = nil }, false},
		"no address": {func(n *memberlist.Node) { n.Addr = nil }, false},
		"no name":    {func(n *memberlist.Node) { n.Name = "" }, false},
		"long name":  {func(n *memberlist.Node) { n.Name = strings.Repeat("n", 256) }, false},
	}
	for name, tt := range tests {
		n := *ok
		tt.change(&n)
		if err := (delegate{}).NotifyAlive(&n); (err == nil) != tt.ok {
			t.Errorf("%s: NotifyAlive = %v", name, err)
		}
	}
}

func TestResolve(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"192.0.2.1:7946":          "192.0.2.1:7946",
		"[::ffff:192.0.2.1]:7946": "192.0.2.1:7946",
		"[fe80::1%lo]:7946":       "[fe80::1]:7946",
		":7946":                   "0.0.0.0:7946",
		"localhost:7946":          "127.0.0.1:7946",
	} {
		got, err := resolve(within(t, 5*time.Second), in)
		if err != nil || got.String() != want {
			t.Errorf("resolve(%q) = %v, %v, want %v", in, got, err, want)
		}
	}
	for _, in := range []string{"", "n1", "localhost:no-such-service", "localhost:70000"} {
		if got, err := resolve(within(t, 5*time.Second), in); err == nil {
			t.Errorf("resolve(%q) = %v, want an error", in, got)
		}
	}
}

func FuzzDecodeMeta(f *testing.F) {
	f.Add(wireMeta{Meta{API: "192.0.2.1:9080", Version: "1", Proto: [2]uint8{1, 2}, Voter: true}, 42}.encode())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decodeMeta(b)
		if err != nil {
			return
		}
		again, err := decodeMeta(m.encode())
		if err != nil || again != m {
			t.Fatalf("decode(encode(%+v)) = %+v, %v", m, again, err)
		}
	})
}

func FuzzWire(f *testing.F) {
	f.Add(encodeMessage(stateKey{kindState, "health"}, []byte("delta")))
	f.Add(appendSection(appendSection(nil, section{stateKey{kindLeave, ""}, appendDeparture(nil, departure{"n1", 3})}), section{stateKey{kindState, "x"}, nil}))
	f.Fuzz(func(t *testing.T, b []byte) {
		g := &Gossip{states: make(map[stateKey]*registered), log: slog.New(slog.DiscardHandler)}
		d := departures{newTable(g.log, time.Hour, func(int) time.Duration { return time.Minute })}
		g.addState(stateKey{kind: kindLeave}, d)
		g.mergeAll(b)
		if s, err := decodeMessage(b); err == nil {
			if got := encodeMessage(s.key, s.payload); !bytes.Equal(got, b) {
				t.Fatalf("encode(decode(%x)) = %x", b, got)
			}
			g.merge(s)
		}
		full, err := d.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Merge(full); err != nil {
			t.Fatalf("Merge of our own state = %v", err)
		}
	})
}
