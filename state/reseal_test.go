package state

import (
	"bytes"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const (
	pemOnly = `"certificate":"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"`
	oldKey1 = "lb1.0000000a.AAAA"
	oldKey2 = "lb1.0000000a.BBBB"
	newKey1 = "lb1.0000000b.CCCCC"
	newKey2 = "lb1.0000000b.DDDDD"
)

func secretsOf(v *View) (all []string) {
	for s := range v.Secrets() {
		all = append(all, s.Sealed)
	}
	return all
}

// A secret that was sealed anew takes the old one's place wherever it is, and nothing else changes.
func TestReseal_everywhere(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	l.must(parse(t, `put certificate site {`+pemOnly+`,"private_key":"`+oldKey1+`"}`))
	l.must(parse(t, `patch certificate site {"private_key":"`+oldKey2+`"}`))
	l.do(Command{Type: TypeTxn, ConfirmWithin: Duration(time.Hour), Ops: parseAll(t, `put certificate gone {`+pemOnly+`,"private_key":"lb1.0000000a.EEEE"}`)})
	l.must(parse(t, `put certificate other {`+pemOnly+`,"private_key":"lb1.0000000a.FFFF"}`))
	if got, want := secretsOf(l.view), []string{"lb1.0000000a.EEEE", "lb1.0000000a.FFFF", oldKey2, oldKey1}; !slices.Equal(got, want) {
		t.Fatalf("Secrets() = %q, want %q", got, want)
	}
	before := l.view
	if res := l.do(Command{Type: TypeReseal, Reseal: []Reseal{{oldKey1, newKey1}, {oldKey2, newKey2}, {"lb1.0000000a.EEEE", "lb1.0000000b.EEEE"}, {"lb1.0000000a.none", "lb1.0000000b.none"}}}); res.Refusal != nil {
		t.Fatal(res.Refusal)
	}
	if got, want := secretsOf(l.view), []string{"lb1.0000000b.EEEE", "lb1.0000000a.FFFF", newKey2, newKey1}; !slices.Equal(got, want) {
		t.Errorf("afterwards Secrets() = %q, want %q", got, want)
	}
	was, _ := before.Certificate("site")
	is, _ := l.view.Certificate("site")
	if was.Stamp != is.Stamp || l.view.ConfigGen != before.ConfigGen || len(slices.Collect(l.view.ChangesAfter(0))) != len(slices.Collect(before.ChangesAfter(0))) {
		t.Errorf("stamps went from %+v to %+v, the history has another length, or the configuration counts as changed", was.Stamp, is.Stamp)
	}
	size := 0
	for c := range l.view.ChangesAfter(0) {
		size += c.size
	}
	if size != l.view.historySize {
		t.Errorf("the history is counted as %d bytes, has %d", l.view.historySize, size)
	}
	// What waits for its confirmation is undone as ever.
	for p := range l.view.Pendings() {
		if res := l.do(Command{Type: TypeTxn, Settle: &Settlement{Index: p.Index, Revert: true}}); res.Refusal != nil {
			t.Errorf("the change that waits cannot be undone: %v", res.Refusal)
		}
	}
	if _, ok := l.view.Certificate("gone"); ok {
		t.Error("the change was not undone")
	}
	if Hash(restored(t, l.view)) != Hash(l.view) {
		t.Error("a snapshot of it reads as something else")
	}
}

// What an operator has changed meanwhile is not lost.
func TestReseal_comparesAndSets(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	l.must(parse(t, `put certificate site {`+pemOnly+`,"private_key":"`+oldKey1+`"}`))
	l.must(parse(t, `patch certificate site {"private_key":"`+oldKey2+`"}`))
	l.do(Command{Type: TypeReseal, Reseal: []Reseal{{oldKey1, newKey1}}})
	if c, _ := l.view.Certificate("site"); c.PrivateKey != oldKey2 {
		t.Errorf("the key is %q, want %q", c.PrivateKey, oldKey2)
	}
	for _, bad := range []Reseal{{oldKey2, ""}, {"", newKey1}, {oldKey2, `x","y":"`}, {oldKey2, string(bytes.Repeat([]byte{'a'}, maxSealed+1))}} {
		before := Hash(l.view)
		if res := l.do(Command{Type: TypeReseal, Reseal: []Reseal{{oldKey2, newKey2}, bad}}); res.Refusal == nil || res.Refusal.Op != 1 {
			t.Errorf("%.40q: %+v, want a refusal", bad, res.Refusal)
		}
		if l.view.Index--; Hash(l.view) != before { // but for the index
			t.Errorf("%.40q was refused and changed something", bad)
		}
		l.view.Index++
	}
}

// Every kind that says it seals something can be resealed.
func TestReseal_everyKind(t *testing.T) {
	t.Parallel()
	if len(sealingKinds()) == 0 {
		t.Fatal("no kind seals anything")
	}
	examples := map[Kind]string{KindCertificate: `{` + pemOnly + `}`}
	for _, k := range sealingKinds() {
		l := newLog(t)
		spec, errs := decodeSpec(k, "x", []byte(examples[k]), &Certificate{CertificateSpec: CertificateSpec{PrivateKey: oldKey1}})
		if len(errs) > 0 {
			t.Fatalf("%s: give an example here: %v", k, errs)
		}
		var want []Reseal
		for i, f := range spec.(Sealer).Sealed() {
			*f.Text = oldKey1 + string(rune('a'+i))
			want = append(want, Reseal{*f.Text, newKey1 + string(rune('a'+i))})
		}
		l.must(Op{Verb: VerbPut, Kind: k, ID: "x", Value: specJSON(objectOf(spec))})
		l.do(Command{Type: TypeReseal, Reseal: want})
		for i, got := range secretsOf(l.view) {
			if got != want[i].To {
				t.Errorf("%s: %q, want %q", k, got, want[i].To)
			}
		}
	}
}

type specOnly struct {
	Object
	s Spec
}

func (o specOnly) Spec() Spec { return o.s }

func objectOf(s Spec) Object { return specOnly{s: s} }

func TestGolden_reseal(t *testing.T) {
	t.Parallel()
	c := Command{Type: TypeReseal, Actor: "lbnode@n1", At: at, Reseal: []Reseal{{oldKey1, newKey1}, {oldKey2, newKey2}}}
	b, err := Encode(c)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "v3/reseal-command.bin", b)
	stored, err := os.ReadFile("testdata/v3/reseal-command.bin")
	if err != nil {
		t.Fatal(err)
	}
	back, err := Decode(stored)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(c, back); d != "" {
		t.Error(d)
	}
}
