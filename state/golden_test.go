package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares bytes with a file. Files of released encodings are added to, never changed: what they
// hold is in the logs and backups of clusters.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s: encoding changed; got:\n%s", name, cmp.Diff(string(want), string(got)))
	}
}

// goldenCommands has one command of each type and operation of each verb and kind.
func goldenCommands(t testing.TB) []Command {
	t.Helper()
	return []Command{
		{Type: TypeInit, At: at, ClusterID: "7f1d2c54-33a2-4f6f-9a62-0a3f0f3f5a11"},
		{Type: TypeTxn, RequestID: "req-1", Actor: "ann", At: at.Add(time.Millisecond), Ops: parseAll(t,
			`create backend node23 {"address":"https://node23.bbb.example.org/bigbluebutton/api/","pool":"bbb","weight":3,"tags":["bbb_26","x"],"load_factor":0.5}`,
			`put pool bbb {"algorithm":"consistent_hash","hash":{"source":"header","name":"X-Key"},"protocol":"http1","health":{"type":"tcp","interval":"5s","timeout":"500ms","rise":1,"fall":5},"on_empty":"fail","initial":"up","tls":{"skip_verify":true,"server_name":"bbb"}}`,
			`put route users {"priority":10,"match":{"host":"*.example.org","path":"/users","method":"GET","headers":{"X-A":"~b+"},"query":{"q":"*"}},"backend_pool":"bbb","algorithm":"least_connections","timeouts":{"connect":"1s","first_byte":"10s","total":"1m0s"},"retries":0}`,
			`put frontend uni {"hosts":["uni.example.org"],"key":"uni","secret":"s","required_tags":["bbb_26"]}`,
		)},
		{Type: TypeTxn, RequestID: "req-2", At: at, Ops: parseAll(t,
			`patch@2 backend node23 {"admin_state":"stopped","tags":null}`,
			`put backend plain {"address":"10.0.1.15:8080"}`,
			`delete route users`,
			`delete! pool default`,
		)},
		{Type: TypeTxn, RequestID: "req-3", At: at, Ops: parseAll(t, `delete backend nobody`)},
		{Type: TypeStates, Actor: "health@n1", At: at, Changes: []StateChange{
			{ID: "node23", Gen: 2, From: VerdictUnknown, To: VerdictDown, Text: "2 of 3 nodes: connection refused"},
			{ID: "node23", Drained: 3},
		}},
	}
}

func TestGolden_commands(t *testing.T) {
	t.Parallel()
	v := NewView()
	for i, c := range goldenCommands(t) {
		b, err := Encode(c)
		if err != nil {
			t.Fatal(err)
		}
		name := fmt.Sprintf("v1/command-%d.bin", i+1)
		golden(t, name, b)
		stored, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		decoded, err := Decode(stored)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(c, decoded); d != "" {
			t.Errorf("%s reads as another command: %s", name, d)
		}
		var res Result
		v, res = Apply(v, uint64(i+1), 3, decoded)
		rb, err := EncodeResult(res)
		if err != nil {
			t.Fatal(err)
		}
		golden(t, fmt.Sprintf("v1/result-%d.json", i+1), rb)
		back, err := DecodeResult(rb)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(res, back); d != "" {
			t.Errorf("result %d reads as another one: %s", i+1, d)
		}
	}
	var snap bytes.Buffer
	if err := WriteSnapshot(&snap, v); err != nil {
		t.Fatal(err)
	}
	golden(t, "v2/snapshot.jsonl", snap.Bytes())
	golden(t, "v2/hash.txt", []byte(Hash(v)+"\n"))
}

func TestGolden_snapshotOfOldCanBeRead(t *testing.T) {
	t.Parallel()
	old, current := readGolden(t, "v1"), readGolden(t, "v2")
	want, err := os.ReadFile("testdata/v2/hash.txt")
	if err != nil {
		t.Fatal(err)
	}
	if got := Hash(current) + "\n"; got != string(want) {
		t.Errorf("hash of the restored view is %s, want %s", got, want)
	}
	if old.HistoryBase() != old.Index || current.HistoryBase() != 0 {
		t.Errorf("history begins after %d and %d, want %d (what was before is not known) and 0", old.HistoryBase(), current.HistoryBase(), old.Index)
	}
	for range old.ChangesAfter(0) {
		t.Error("a snapshot of version 1 has a history")
	}
	// All but the history is the same.
	for _, c := range slices.Collect(current.ChangesAfter(0)) {
		current.history, _, _ = current.history.Delete(indexKey(c.Index))
	}
	current.historyBase = old.historyBase
	if Hash(current) != Hash(old) {
		t.Error("the snapshots of version 1 and 2 hold different objects")
	}
	for _, v := range []*View{old, current} {
		checkIndexes(t, v)
	}
}

func readGolden(t *testing.T, version string) *View {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", version, "snapshot.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	v, err := ReadSnapshot(f)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func checkIndexes(t *testing.T, v *View) {
	t.Helper()
	if b := v.FindBackends("https://node23.bbb.example.org"); len(b) != 1 || b[0].AdminState != AdminStopped {
		t.Errorf("the restored address index finds %v", b)
	}
	var ids []string
	for b := range v.PoolBackends("bbb") {
		ids = append(ids, b.ID)
	}
	if strings.Join(ids, " ") != "node23" {
		t.Errorf("the restored pool index has %v", ids)
	}
}

func TestDecode_refuses(t *testing.T) {
	t.Parallel()
	good, err := Encode(goldenCommands(t)[1])
	if err != nil {
		t.Fatal(err)
	}
	resum := func(b []byte) []byte {
		sum := checksum(b)
		b[4], b[5], b[6], b[7] = byte(sum>>24), byte(sum>>16), byte(sum>>8), byte(sum)
		return b
	}
	with := func(i int, x byte) []byte {
		b := bytes.Clone(good)
		b[i] = x
		return b
	}
	for _, tc := range []struct {
		name string
		b    []byte
		want error
	}{
		{"nothing", nil, ErrCorrupt},
		{"half a head", good[:7], ErrCorrupt},
		{"half a payload", good[:len(good)/2], ErrCorrupt},
		{"a flipped type", with(1, 3), ErrCorrupt},
		{"a flipped payload", with(20, good[20]^1), ErrCorrupt},
		{"no JSON", resum(append(bytes.Clone(good[:8]), "nonsense"...)), ErrCorrupt},
		{"newer format", resum(with(0, 2)), ErrUnknownCommand},
		{"newer type", resum(with(1, 99)), ErrUnknownCommand},
		{"type 0", resum(with(1, 0)), ErrUnknownCommand},
		{"newer version", resum(with(2, CommandProtocol+1)), ErrUnknownCommand},
		{"newer type that may be skipped", resum(with(1, 99|ignorable)), ErrIgnorable},
		{"newer version that may be skipped", func() []byte { b := with(1, 2|ignorable); b[2] = 7; return resum(b) }(), ErrIgnorable},
	} {
		if _, err := Decode(tc.b); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", tc.name, err, tc.want)
		}
	}
	if _, err := DecodeResult([]byte("{")); err == nil {
		t.Error("half a result was read")
	}
}

func TestSnapshot_refuses(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	l.must(parse(t, `put backend a {"address":"h:1"}`))
	l.do(Command{Type: TypeTxn, RequestID: "r", Ops: parseAll(t, `put backend b {"address":"h:2"}`)})
	var buf bytes.Buffer
	if err := WriteSnapshot(&buf, l.view); err != nil {
		t.Fatal(err)
	}
	good := buf.Bytes()
	if _, err := ReadSnapshot(bytes.NewReader(good)); err != nil {
		t.Fatal(err)
	}
	lines := bytes.SplitAfter(good, []byte("\n"))
	join := func(l ...[]byte) []byte { return bytes.Join(l, nil) }
	last := lines[len(lines)-2]
	for _, tc := range []struct {
		name string
		b    []byte
	}{
		{"nothing", nil},
		{"no header", join(lines[1:]...)},
		{"no end", join(lines[:len(lines)-2]...)},
		{"cut in a line", good[:len(good)-10]},
		{"a record missing", join(lines[0], lines[2], join(lines[3:]...))},
		{"a record twice", join(lines[0], lines[1], lines[1], join(lines[2:]...))},
		{"a change of another shape", join(lines[0], []byte(`{"change":{"objects":[{"before":{}},7]}}`+"\n"), last)},
		{"another content", bytes.Replace(good, []byte("h:2"), []byte("h:3"), 1)},
		{"a newer version", bytes.Replace(good, []byte(`"version":2`), []byte(`"version":3`), 1)},
		{"an unknown kind", join(lines[0], []byte(`{"kind":"cat","object":{"id":"a"}}`+"\n"), last)},
		{"an object without id", join(lines[0], []byte(`{"kind":"pool","object":{}}`+"\n"), last)},
		{"an object of another shape", join(lines[0], []byte(`{"kind":"pool","object":[]}`+"\n"), last)},
	} {
		if v, err := ReadSnapshot(bytes.NewReader(tc.b)); !errors.Is(err, ErrSnapshot) || v != nil {
			t.Errorf("%s: view %v, error %v, want none and ErrSnapshot", tc.name, v != nil, err)
		}
	}
	if err := WriteSnapshot(failing{}, l.view); err == nil {
		t.Error("a snapshot that could not be written was reported as written")
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestSnapshot_sameBytesFromEveryReplica(t *testing.T) {
	t.Parallel()
	// The same objects by another history: order of insertion must not show, indexes do.
	a, b := newLog(t), newLog(t)
	x, y, z := parse(t, `put backend x {"address":"h:1"}`), parse(t, `put backend y {"address":"h:2"}`), parse(t, `put backend z {"address":"h:3"}`)
	a.must(x, y, z)
	b.must(z, x, y)
	if Hash(a.view) != Hash(b.view) {
		t.Error("the order within an entry shows in the hash")
	}
	if Hash(restored(t, a.view)) != Hash(a.view) {
		t.Error("a restored view has another hash")
	}
	c := newLog(t)
	c.must(parse(t, `put backend x {"address":"h:1","weight":2}`), y, z)
	if Hash(a.view) == Hash(c.view) {
		t.Error("different views have the same hash")
	}
}

func TestDuration_json(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{`"1.5s"`: `"1.5s"`, `"0"`: `"0s"`, `"90s"`: `"1m30s"`} {
		var d Duration
		if err := json.Unmarshal([]byte(in), &d); err != nil {
			t.Fatal(err)
		}
		if b, _ := json.Marshal(d); string(b) != want {
			t.Errorf("%s became %s, want %s", in, b, want)
		}
	}
	for _, in := range []string{`"5"`, `"fast"`, `5`, `""`} {
		var d Duration
		if err := json.Unmarshal([]byte(in), &d); err == nil {
			t.Errorf("%s became %s, want an error", in, d)
		}
	}
}
