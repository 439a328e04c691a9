package transport

import (
	"bytes"
	"errors"
	"testing"
)

func TestAuthorityCert_isAFunctionOfTheKey(t *testing.T) {
	t.Parallel()
	a, err := authorityCert(testKey(1))
	if err != nil {
		t.Fatal(err)
	}
	again, err := authorityCert(testKey(1))
	if err != nil {
		t.Fatal(err)
	}
	other, err := authorityCert(testKey(2))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a.Raw, again.Raw) {
		t.Error("the same key gives two different authorities")
	}
	if bytes.Equal(a.RawSubject, other.RawSubject) {
		t.Error("two keys give authorities of one name")
	}
}

func TestCredentials_verify(t *testing.T) {
	t.Parallel()
	a, b, c := testKey(1), testKey(2), testKey(3)
	creds := func(ks ...Key) *credentials {
		t.Helper()
		c, err := newCredentials(ks, "n1")
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	tests := map[string]struct {
		ours, theirs []Key
		want         Key
		wantErr      error
	}{
		"same":            {[]Key{a}, []Key{a}, a, nil},
		"other":           {[]Key{a}, []Key{b}, Key{}, ErrWrongKey},
		"installed":       {[]Key{a, b}, []Key{b}, b, nil},
		"first one signs": {[]Key{a}, []Key{b, a}, Key{}, ErrWrongKey},
		"rotation":        {[]Key{a, b}, []Key{b, a}, b, nil},
		"both lab":        {nil, nil, LabKey(), nil},
		"lab and secret":  {nil, []Key{c}, Key{}, ErrWrongKey},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := creds(tt.ours...).verify(creds(tt.theirs...).leaves[0].Leaf)
			if got != tt.want || !errors.Is(err, tt.wantErr) {
				t.Errorf("verify = %v, %v, want %v, %v", got.Fingerprint(), err, tt.want.Fingerprint(), tt.wantErr)
			}
		})
	}
	// An authority's own certificate is no leaf: nobody holds it as an identity.
	if _, err := newCredentials([]Key{a, b, c, testKey(4), testKey(5)}, "n1"); err == nil {
		t.Error("newCredentials took five keys")
	}
}
