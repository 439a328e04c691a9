package transport

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseKeys(t *testing.T) {
	t.Parallel()
	a, b, c, d, e := testKey(1), testKey(2), testKey(3), testKey(4), testKey(5)
	tests := map[string]struct {
		in      string
		want    []Key
		wantErr string
	}{
		"one":            {in: a.String(), want: []Key{a}},
		"comments":       {in: "# made by lbnode keygen\n\n  " + a.String() + "  \r\n#old\n" + b.String() + "\n", want: []Key{a, b}},
		"byte order":     {in: "\xef\xbb\xbf" + a.String(), want: []Key{a}},
		"four":           {in: strings.Join([]string{a.String(), b.String(), c.String(), d.String()}, "\n"), want: []Key{a, b, c, d}},
		"five":           {in: strings.Join([]string{a.String(), b.String(), c.String(), d.String(), e.String()}, "\n"), wantErr: "line 5: more than 4"},
		"empty":          {in: "", wantErr: "lbnode keygen"},
		"only a comment": {in: "# nothing\n", wantErr: "no key"},
		"not base64":     {in: "# x\nhunter2!\n", wantErr: "line 2: not standard base64 (`lbnode keygen`"},
		"short":          {in: "c2hvcnQ=", wantErr: "line 1: 5 bytes, want 32"},
		"twice":          {in: a.String() + "\n" + a.String(), wantErr: "line 2: the same key twice"},
		"all zero":       {in: Key{}.String(), wantErr: "all zero"},
		"sloppy bits":    {in: a.String()[:42] + "F=", wantErr: "not standard base64"},
		"huge":           {in: strings.Repeat("#\n", 40_000), wantErr: "right file"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := ParseKeys([]byte(tt.in))
			if tt.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wantErr) {
					t.Fatalf("ParseKeys = %v, want an error with %q", err, tt.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatalf("ParseKeys = %v", err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("ParseKeys (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseKeys_errorsHideTheKey(t *testing.T) {
	t.Parallel()
	secret := "c2VjcmV0IHNlY3JldCBzZWNyZXQ"
	_, err := ParseKeys([]byte(secret))
	if err == nil || strings.Contains(err.Error(), "c2Vj") {
		t.Errorf("ParseKeys = %v, want an error that does not show the line", err)
	}
}

func TestKey(t *testing.T) {
	t.Parallel()
	a, b := NewKey(), NewKey()
	if a == b {
		t.Error("NewKey made the same key twice")
	}
	if bytes.Equal(a.Gossip(), a[:]) || bytes.Equal(a.Gossip(), b.Gossip()) || len(a.Gossip()) != 32 {
		t.Error("Gossip keys must be 32 bytes, differ by key, and not be the key")
	}
	if a.Fingerprint() == b.Fingerprint() || len(a.Fingerprint()) != 8 {
		t.Errorf("Fingerprint = %q and %q", a.Fingerprint(), b.Fingerprint())
	}
	var buf bytes.Buffer
	slog.New(slog.NewTextHandler(&buf, nil)).Info("x", "key", a, "keys", fmt.Sprint(len([]Key{a})))
	if strings.Contains(buf.String(), a.String()) || !strings.Contains(buf.String(), a.Fingerprint()) {
		t.Errorf("logged %q, want the fingerprint and not the key", buf.String())
	}
}

// The derivations are part of the protocol: nodes of different versions must
// agree on them.
func TestKey_derivationsAreFrozen(t *testing.T) {
	t.Parallel()
	k := testKey(7)
	if got, want := fmt.Sprintf("%x", k.Gossip()), "b0d443059361edcd96465442f37d8677f78d5d80b12930545f210d1f3f12c5ab"; got != want {
		t.Errorf("Gossip = %s, want %s", got, want)
	}
	if got, want := fmt.Sprintf("%x", k.Sticky()), "05e23c73172a1c97aa2a6a43c016c69085c80b01b822f0b969c475af4d2a2895"; got != want {
		t.Errorf("Sticky = %s, want %s", got, want)
	}
	if got, want := k.Fingerprint(), "773de7cd"; got != want {
		t.Errorf("Fingerprint = %s, want %s", got, want)
	}
	if got, want := fmt.Sprintf("%x", k.authority().Seed()), "bd8ae6295623bfe9573cb6091a66f32da752f300a5b7ef2796668d1bfb1ca688"; got != want {
		t.Errorf("authority seed = %s, want %s", got, want)
	}
	if got, want := LabKey().Fingerprint(), "bc3f776e"; got != want {
		t.Errorf("LabKey fingerprint = %s, want %s", got, want)
	}
}

func FuzzParseKeys(f *testing.F) {
	f.Add([]byte(testKey(1).String() + "\n# c\n" + testKey(2).String()))
	f.Add([]byte("\xef\xbb\xbf\r\n\r\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		ks, err := ParseKeys(data)
		if err != nil {
			return
		}
		if len(ks) == 0 || len(ks) > MaxKeys {
			t.Fatalf("ParseKeys accepted %d keys", len(ks))
		}
		var again strings.Builder
		for _, k := range ks {
			again.WriteString(k.String() + "\n")
		}
		got, err := ParseKeys([]byte(again.String()))
		if err != nil || !cmp.Equal(ks, got) {
			t.Fatalf("ParseKeys(String) = %v, %v, want %v", got, err, ks)
		}
	})
}
