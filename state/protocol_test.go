package state

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// paths lists the fields of a type as JSON has them, those of structs in it too.
func paths(at string, t reflect.Type, out map[string]bool) {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || t == reflect.TypeFor[time.Time]() || reflect.PointerTo(t).Implements(reflect.TypeFor[json.Marshaler]()) {
		return
	}
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "":
			paths(at, f.Type, out)
		case f.IsExported() && name != "-" && !out[at+"."+name]:
			out[at+"."+name] = true
			paths(at+"."+name, f.Type, out)
		}
	}
}

// Whatever commands and objects can say, protocol 2 knew it, or newer has it.
func TestProtocol_everyFieldHasOne(t *testing.T) {
	t.Parallel()
	has := map[string]bool{}
	paths("command", reflect.TypeFor[Command](), has)
	for _, k := range Kinds() {
		has[string(k)] = true
		paths(string(k), reflect.TypeOf(NewSpec(k)), has)
	}
	file := filepath.Join("testdata", "v3", "fields.txt")
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	known, since := strings.Fields(string(raw)), newer()
	for path := range has {
		if !slices.Contains(known, path) && since[path] == 0 {
			t.Errorf("%s is not in what protocol 2 knows (%s): give it a protocol in newer, at least %d, and see that CommandProtocol is that high", path, file, CommandProtocol)
		}
	}
	for path, p := range since {
		if field, _, isValue := strings.Cut(path, "="); !has[field] {
			t.Errorf("newer has %s, which there is not", path)
		} else if slices.Contains(known, path) && !isValue || p < 3 || p > CommandProtocol {
			t.Errorf("newer[%s] = %d, want 3 to %d, and for nothing that protocol 2 knows", path, p, CommandProtocol)
		}
	}
}

func TestRequires(t *testing.T) {
	t.Parallel()
	for typ, want := range map[CommandType]uint8{TypeInit: 1, TypeTxn: 1, TypeStates: 1, TypeRestore: 1, TypeBBB: 2, TypeReseal: 2} {
		b, err := Encode(Command{Type: typ})
		if err != nil {
			t.Fatal(err)
		}
		if got := Requires(b); got != want || got > CommandProtocol {
			t.Errorf("Requires(type %d) = %d, want %d, at most %d", typ, got, want, CommandProtocol)
		}
	}
	if got := Requires(nil); got != 1 {
		t.Errorf("Requires(nothing) = %d, want 1", got)
	}
}

func TestNeeds(t *testing.T) {
	t.Parallel()
	newer := map[string]uint8{
		"backend.zone": 4, "pool.health.body": 5, "pool.algorithm=maglev": 6, "acme": 7, "command.dry": 8, "route.match.headers": 9,
	}
	for _, tc := range []struct {
		kind, value string
		want        uint8
	}{
		{"backend", `{"address":"a:1"}`, 1},
		{"backend", `{"address":"a:1","zone":"z"}`, 4},
		{"backend", `{"zone":null}`, 1},
		{"backend", `{"tags":["zone"]}`, 1},
		{"backend", `{"other":{"zone":1}}`, 1},
		{"pool", `{"zone":"z"}`, 1},
		{"pool", `{"health":{"type":"http","body":"ok"}}`, 5},
		{"pool", `{"algorithm":"maglev","health":{"body":"ok"}}`, 6},
		{"pool", `{"algorithm":"random"}`, 1},
		{"route", `{"match":[{"headers":{"a":"b"}}]}`, 9},
		{"acme", `{}`, 7},
		{"token", `{}`, 2},
		{"backend", ``, 1},
	} {
		c := Command{Type: TypeTxn, Ops: []Op{{Verb: VerbPut, Kind: Kind(tc.kind), ID: "x", Value: json.RawMessage(tc.value)}}}
		payload, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.needs(payload, newer); got != tc.want {
			t.Errorf("needs(%s %s) = %d, want %d", tc.kind, tc.value, got, tc.want)
		}
		if got := objectNeeds(Kind(tc.kind), []byte(tc.value), newer); tc.want > 2 && got != tc.want {
			t.Errorf("objectNeeds(%s %s) = %d, want %d", tc.kind, tc.value, got, tc.want)
		}
	}
	if got := (Command{}).needs([]byte(`{"dry":true}`), newer); got != 8 {
		t.Errorf("needs of a new field of commands = %d, want 8", got)
	}
	if raw, err := Encode(orderedEnd()); err != nil || Requires(raw) != 3 {
		t.Errorf("an order that leaves an entry in the history needs %d (%v), want 3", Requires(raw), err)
	}
	if got := (Command{Restore: &Restoration{needs: 5}}).needs([]byte(`{}`), newer); got != 5 {
		t.Errorf("needs of a restoration = %d, want that of its objects, 5", got)
	}
}

// A command of a protocol that is still to come stops this program: it must not do half of it.
func TestDecode_newerProtocol(t *testing.T) {
	t.Parallel()
	b, err := Encode(Command{Type: TypeTxn})
	if err != nil {
		t.Fatal(err)
	}
	b[2] = CommandProtocol + 1
	binary.BigEndian.PutUint32(b[4:], checksum(b))
	if _, err := Decode(b); err == nil || !strings.Contains(err.Error(), fmt.Sprint("version ", CommandProtocol+1)) {
		t.Errorf("Decode = %v, want an unknown command", err)
	}
	if got := Requires(b); got != CommandProtocol+1 {
		t.Errorf("Requires = %d, want %d", got, CommandProtocol+1)
	}
}
