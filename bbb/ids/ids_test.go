package ids

import (
	"testing"
	"unicode/utf8"
)

func TestEncode(t *testing.T) {
	t.Parallel()
	// As b3scale writes it.
	const want = "WyJncmVlbmxpZ2h0IiwicjEiLCJiM3NjbCJd"
	if got := Encode("greenlight", "r1"); got != want {
		t.Errorf("Encode = %q, want %q", got, want)
	}
	for _, s := range []string{"", "r1", "WyJhIl0=", "WyJhIiwiYiIsImMiXQ==", "bnVsbA==", want + "=", "e30="} {
		if k, id, ok := Decode(s); ok {
			t.Errorf("Decode(%q) = %q, %q, want nothing", s, k, id)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add("greenlight", "r1", "WyJncmVlbmxpZ2h0IiwicjEiLCJiM3NjbCJd")
	f.Add("", "<&>\"", "WyI=")
	f.Fuzz(func(t *testing.T, key, id, any string) {
		Decode(any)
		k, i, ok := Decode(Encode(key, id))
		if utf8.ValidString(key) && utf8.ValidString(id) && (!ok || k != key || i != id) {
			t.Fatalf("Decode(Encode(%q, %q)) = %q, %q, %v", key, id, k, i, ok)
		}
	})
}
