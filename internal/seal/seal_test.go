package seal

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

func key(b byte) []byte { return bytes.Repeat([]byte{b}, KeySize) }

func box(t testing.TB, keys ...[]byte) *Box {
	t.Helper()
	b, err := New(keys...)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func sealed(t testing.TB, b *Box, purpose, plain string) string {
	t.Helper()
	s, err := b.Seal(purpose, []byte(plain))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestBox_opensWhatItSealed(t *testing.T) {
	t.Parallel()
	b := box(t, key(1))
	for _, plain := range []string{"", "s", strings.Repeat("long", 1<<14), "\x00\xff"} {
		s := sealed(t, b, "p", plain)
		if len(plain) > 1 && strings.Contains(s, plain) {
			t.Errorf("Seal(%.10q) = %.40q, which shows it", plain, s)
		}
		got, err := b.Open("p", s)
		if err != nil || string(got) != plain {
			t.Errorf("Open(Seal(%.10q)) = %.10q, %v", plain, got, err)
		}
		if s == sealed(t, b, "p", plain) {
			t.Errorf("Seal(%.10q) gave the same text twice", plain)
		}
		if id, err := KeyOf(s); err != nil || id != b.KeyID() || !Is(s) {
			t.Errorf("KeyOf(%.40q) = %q, %v, want %q", s, id, err, b.KeyID())
		}
	}
}

// A rotation: the new key seals, what the old one sealed still opens until it is taken away.
func TestBox_rotation(t *testing.T) {
	t.Parallel()
	old, both, fresh := box(t, key(1)), box(t, key(2), key(1)), box(t, key(2))
	s := sealed(t, old, "p", "secret")
	if got, err := both.Open("p", s); err != nil || string(got) != "secret" {
		t.Errorf("Open with both keys = %q, %v", got, err)
	}
	if _, err := fresh.Open("p", s); !errors.Is(err, ErrUnknownKey) || !strings.Contains(err.Error(), old.KeyID()) {
		t.Errorf("Open without the old key = %v, want ErrUnknownKey that names %s", err, old.KeyID())
	}
	if both.KeyID() != fresh.KeyID() || !both.Opens(old.KeyID()) || fresh.Opens(old.KeyID()) {
		t.Error("the first key does not seal, or Opens does not say what opens")
	}
	if _, err := fresh.Open("p", sealed(t, both, "p", "secret")); err != nil {
		t.Errorf("what both sealed does not open with the new key: %v", err)
	}
}

func TestOpen_refuses(t *testing.T) {
	t.Parallel()
	b := box(t, key(1))
	good := sealed(t, b, "frontend a secret", "8 bytes!")
	flipped := []byte(good)
	// Another letter of the alphabet: flipping a bit of one can lead out of it.
	if at := len(flipped) - 9; flipped[at] == 'A' {
		flipped[at] = 'B'
	} else {
		flipped[at] = 'A'
	}
	for name, tc := range map[string]struct {
		purpose, text string
		want          error
	}{
		"another purpose": {"frontend b secret", good, ErrDamaged},
		"flipped bits":    {"frontend a secret", string(flipped), ErrDamaged},
		"cut short":       {"frontend a secret", good[:len(good)-4], ErrDamaged},
		"empty":           {"p", "", ErrMalformed},
		"plain text":      {"p", "hunter2", ErrMalformed},
		"another format":  {"p", "lb2" + good[3:], ErrMalformed},
		"no body":         {"p", good[:strings.LastIndexByte(good, '.')], ErrMalformed},
		"too short":       {"p", good[:20], ErrMalformed},
		"a line break":    {"p", good + "\n", ErrMalformed},
		"odd key id":      {"p", strings.Replace(good, b.KeyID(), "XXXXXXXX", 1), ErrMalformed},
		"unknown key id":  {"p", strings.Replace(good, b.KeyID(), "00000000", 1), ErrUnknownKey},
	} {
		if got, err := b.Open(tc.purpose, tc.text); !errors.Is(err, tc.want) || got != nil {
			t.Errorf("%s: Open = %q, %v, want %v", name, got, err, tc.want)
		}
	}
}

func TestNew_refusesKeys(t *testing.T) {
	t.Parallel()
	for _, keys := range [][][]byte{nil, {nil}, {key(1)[1:]}, {key(1), key(2)[:1]}} {
		if _, err := New(keys...); err == nil {
			t.Errorf("New took keys of lengths %v", keys)
		}
	}
}

// golden is "the secret", sealed for "golden" with key(7) by the first version.
const golden = "lb1.52f1ea58.N2-60uWiE6BNeVRr9DVs6HdSzJX5SOMdM1Oe9riUSYr5xMZVsxQ"

// The format is part of backups: text sealed by this version opens in every later one.
func TestOpen_golden(t *testing.T) {
	t.Parallel()
	got, err := box(t, key(7)).Open("golden", golden)
	if err != nil || string(got) != "the secret" {
		t.Errorf("Open = %q, %v", got, err)
	}
}

func FuzzOpen(f *testing.F) {
	b := box(f, key(7))
	f.Add("golden", golden)
	f.Add("q", golden)
	f.Add("p", "lb1.00000000.AAAA")
	f.Add("", "")
	f.Fuzz(func(t *testing.T, purpose, text string) {
		plain, err := b.Open(purpose, text)
		if err == nil && (purpose != "golden" || text != golden || string(plain) != "the secret") {
			t.Fatalf("Open(%q, %q) = %q: a forgery", purpose, text, plain)
		}
		if err != nil && !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrUnknownKey) && !errors.Is(err, ErrDamaged) {
			t.Fatalf("Open(%q, %q) = %v", purpose, text, err)
		}
	})
}
