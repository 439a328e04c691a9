package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// FuzzDecode: no bytes make Decode or Apply panic, and what was read can be written and read again.
func FuzzDecode(f *testing.F) {
	files, err := filepath.Glob("testdata/v1/command-*.bin")
	if err != nil || len(files) == 0 {
		f.Fatal("no golden commands", err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, false)
		f.Add(b[:len(b)-1], true)
	}
	for _, c := range bbbCommands(f) {
		b, err := Encode(c)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, false)
	}
	f.Fuzz(func(t *testing.T, b []byte, resum bool) {
		if resum && len(b) >= envelopeLen { // else hardly anything gets past the checksum
			sum := checksum(b)
			b[4], b[5], b[6], b[7] = byte(sum>>24), byte(sum>>16), byte(sum>>8), byte(sum)
		}
		c, err := Decode(b)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrUnknownCommand) && !errors.Is(err, ErrIgnorable) {
				t.Fatalf("Decode = %v, want one of its own errors", err)
			}
			return
		}
		again, err := Encode(c)
		if err != nil {
			t.Fatalf("what was decoded cannot be encoded: %v", err)
		}
		c2, err := Decode(again)
		if err != nil {
			t.Fatal(err)
		}
		check(t, c, c2)
	})
}

// check applies two equal commands to a cluster with some history on two replicas, one of them restored
// from a snapshot.
func check(t *testing.T, a, b Command) {
	t.Helper()
	v := history(t)
	one, res1 := Apply(v, v.Index+1, 1, a)
	two, res2 := Apply(restored(t, v), v.Index+1, 1, b)
	if Hash(one) != Hash(two) {
		t.Fatal("equal logs, different hashes")
	}
	r1, err := EncodeResult(res1)
	if err != nil {
		t.Fatal(err)
	}
	r2, _ := EncodeResult(res2)
	if !bytes.Equal(r1, r2) {
		t.Fatalf("equal logs, different results: %s and %s", r1, r2)
	}
	if Hash(restored(t, one)) != Hash(one) {
		t.Fatal("snapshot and restore change the hash")
	}
	// And once more, as a repeat or on top of itself.
	three, _ := Apply(one, one.Index+1, 1, a)
	if Hash(restored(t, three)) != Hash(three) {
		t.Fatal("snapshot and restore change the hash after a repeat")
	}
	if one.byAddr.Len() != one.Len(KindBackend) || one.byPool.Len() != one.Len(KindBackend) {
		t.Fatalf("%d backends, %d addresses, %d members", one.Len(KindBackend), one.byAddr.Len(), one.byPool.Len())
	}
}

// history is a view with one of everything.
func history(t testing.TB) *View {
	t.Helper()
	v := NewView()
	for i, c := range slices.Concat(goldenCommands(t), bbbCommands(t), jobCommands(t)) {
		v, _ = Apply(v, uint64(i+1), 1, c)
	}
	return v
}

// FuzzApply: no operation an operator can send makes Apply panic or replicas differ.
func FuzzApply(f *testing.F) {
	for _, c := range goldenCommands(f) {
		for _, op := range c.Ops {
			f.Add(string(op.Verb), string(op.Kind), op.ID, []byte(op.Value), op.IfMatch, op.Force, c.RequestID)
		}
	}
	f.Add("patch", "backend", "node23", []byte(`{"address":"http://other/","weight":null,"load_factor":1e3}`), uint64(0), false, "")
	f.Add("patch", "pool", "bbb", []byte(`{"health":{"interval":"1s","statuses":"200-299,401"},"tls":{"ca":"x"}}`), uint64(0), false, "req-2")
	f.Add("delete", "pool", "bbb", []byte(nil), uint64(0), true, "")
	f.Fuzz(func(t *testing.T, verb, kind, id string, value []byte, ifMatch uint64, force bool, requestID string) {
		c := Command{Type: TypeTxn, RequestID: requestID, At: at, Ops: []Op{{
			Verb: Verb(verb), Kind: Kind(kind), ID: id, Value: value, IfMatch: ifMatch, Force: force,
		}}}
		if len(value) > 0 && !json.Valid(value) {
			_, _ = Apply(history(t), 99, 1, c) // no log holds this, but it must not panic either
			return
		}
		b, err := Encode(c)
		if err != nil {
			t.Fatal(err)
		}
		decoded, err := Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		check(t, decoded, decoded)
		v, res := Apply(history(t), 99, 1, decoded)
		if res.Refusal != nil && (res.Refusal.Code == "" || res.Refusal.Message == "") {
			t.Fatalf("a refusal that says nothing: %+v", res.Refusal)
		}
		// Whatever is stored is valid and stays itself when it is read and written back.
		for _, k := range Kinds() {
			for o := range v.All(k) {
				spec := o.Spec()
				if errs := spec.Validate(); len(errs) > 0 {
					t.Fatalf("%s/%s is stored and not valid: %v", k, o.ObjectID(), errs)
				}
				raw, err := json.Marshal(spec)
				if err != nil {
					t.Fatal(err)
				}
				_, res := Apply(v, 100, 1, Command{Type: TypeTxn, Ops: []Op{{Verb: VerbPut, Kind: k, ID: o.ObjectID(), Value: raw}}})
				if res.Refusal != nil || res.Ops[0].Effect != EffectUnchanged {
					t.Fatalf("%s/%s written back as read: %+v", k, o.ObjectID(), res)
				}
			}
		}
	})
}

// FuzzReadSnapshot: no bytes make it panic, and what it reads it can write again.
func FuzzReadSnapshot(f *testing.F) {
	for _, name := range []string{"testdata/v1/snapshot.jsonl", "testdata/v2/snapshot.jsonl", "testdata/v3/bbb-snapshot.jsonl"} {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(b[:len(b)/2])
	}
	var empty bytes.Buffer
	if err := WriteSnapshot(&empty, NewView()); err != nil {
		f.Fatal(err)
	}
	f.Add(empty.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := ReadSnapshot(bytes.NewReader(b))
		if err != nil {
			if !errors.Is(err, ErrSnapshot) || v != nil {
				t.Fatalf("view %v, error %v, want none and an ErrSnapshot", v != nil, err)
			}
			return
		}
		if Hash(restored(t, v)) != Hash(v) {
			t.Fatal("writing and reading again changes the hash")
		}
	})
}

// FuzzParseAddress: what is accepted is stable, and an address and its key mean the same server.
func FuzzParseAddress(f *testing.F) {
	for _, s := range []string{"h:1", "http://h", "https://H:443/a/b/", "[::1]:80", "http://[fe80::1%25eth0]:1/", "http://u@h", "h:0", "http://h/../x", "http://a.example./", "http://h/%2e%2e/", "http://h/a/."} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ParseAddress(s)
		if err != nil {
			if err.Error() == "" || addressKey(s) != "" {
				t.Fatalf("refused without a reason, or with a key")
			}
			return
		}
		if a.Scheme != "http" && a.Scheme != "https" || a.Host == "" || a.Port == 0 {
			t.Fatalf("%q: %+v", s, a)
		}
		key := addressKey(s)
		b, err := ParseAddress(key)
		if err != nil {
			t.Fatalf("%q: its key %q is no address: %v", s, key, err)
		}
		if a != b || addressKey(key) != key {
			t.Fatalf("%q is %+v, its key %q is %+v", s, a, key, b)
		}
	})
}
