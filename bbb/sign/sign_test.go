package sign

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSum(t *testing.T) {
	t.Parallel()
	// The example of BigBlueButton's own documentation, and the same text under the other hashes.
	const query = "name=Test+Meeting&meetingID=abc123&attendeePW=111222&moderatorPW=333444"
	const secret = "639259d4-9dd8-4b25-bf01-95f9567eaf4b"
	if got, want := SHA1.Sum("create", query, secret), "1fcbb0c4fc1f039f73aa6d697d2db9ba7f803f17"; got != want {
		t.Errorf("SHA1.Sum = %q, want %q", got, want)
	}
	for a := SHA1; a <= SHA512; a++ {
		if got := OfLength(len(a.Sum("create", query, secret))); got != a {
			t.Errorf("OfLength(len(%v.Sum)) = %v", a, got)
		}
	}
	if got := Algorithm(0).Sum("create", query, secret); got != "" {
		t.Errorf("Algorithm(0).Sum = %q, want none", got)
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	secrets := []string{"new", "", "old"}
	signed := func(a Algorithm, call, query, secret string) string {
		return "checksum=" + a.Sum(call, query, secret)
	}
	for name, c := range map[string]struct {
		r      Request
		want   Params
		secret int
		err    error
	}{
		"sha1":            {r: Request{"join", "a=1&" + signed(SHA1, "join", "a=1", "new"), ""}, want: Params{{"a", "1"}}},
		"sha256":          {r: Request{"join", "a=1&" + signed(SHA256, "join", "a=1", "new"), ""}, want: Params{{"a", "1"}}},
		"sha384":          {r: Request{"join", "a=1&" + signed(SHA384, "join", "a=1", "new"), ""}, want: Params{{"a", "1"}}},
		"sha512":          {r: Request{"join", "a=1&" + signed(SHA512, "join", "a=1", "new"), ""}, want: Params{{"a", "1"}}},
		"upper case":      {r: Request{"join", "checksum=" + strings.ToUpper(SHA1.Sum("join", "", "new")), ""}, want: Params{}},
		"older secret":    {r: Request{"join", signed(SHA1, "join", "", "old"), ""}, want: Params{}, secret: 2},
		"checksum first":  {r: Request{"join", signed(SHA1, "join", "a=1&b=2", "new") + "&a=1&b=2", ""}, want: Params{{"a", "1"}, {"b", "2"}}},
		"checksum inside": {r: Request{"join", "a=1&" + signed(SHA1, "join", "a=1&b=2", "new") + "&b=2", ""}, want: Params{{"a", "1"}, {"b", "2"}}},
		"as encoded by the client": {
			r:    Request{"join", "a=x%20y+z%2f&" + signed(SHA1, "join", "a=x%20y+z%2f", "new"), ""},
			want: Params{{"a", "x y z/"}},
		},
		"first of two":       {r: Request{"join", "a=1&a=2&" + signed(SHA1, "join", "a=1&a=2", "new"), ""}, want: Params{{"a", "1"}}},
		"form":               {r: Request{"create", "", "a=1&" + signed(SHA1, "create", "", "new")}, want: Params{{"a", "1"}}},
		"form and query":     {r: Request{"create", "q=1", "a=1&" + signed(SHA1, "create", "q=1", "new")}, want: Params{{"q", "1"}, {"a", "1"}}},
		"form, sum in query": {r: Request{"create", signed(SHA1, "create", "", "new"), "a=1"}, want: Params{{"a", "1"}}},
		"slash in the call":  {r: Request{"hooks/create", signed(SHA256, "hooks/create", "", "new"), ""}, want: Params{}},
		"case of names":      {r: Request{"join", "A=1&a=2&" + signed(SHA1, "join", "A=1&a=2", "new"), ""}, want: Params{{"A", "1"}, {"a", "2"}}},

		"none":              {r: Request{"join", "a=1", ""}, err: ErrMissing},
		"empty":             {r: Request{"join", "a=1&checksum=", ""}, err: ErrMissing},
		"name in caps":      {r: Request{"join", "Checksum=" + SHA1.Sum("join", "", "new"), ""}, err: ErrMissing},
		"other call":        {r: Request{"end", signed(SHA1, "join", "", "new"), ""}, err: ErrMismatch},
		"case of the call":  {r: Request{"Join", signed(SHA1, "join", "", "new"), ""}, err: ErrMismatch},
		"other secret":      {r: Request{"join", signed(SHA1, "join", "", "newer"), ""}, err: ErrMismatch},
		"empty secret":      {r: Request{"join", signed(SHA1, "join", "", ""), ""}, err: ErrMismatch},
		"other query":       {r: Request{"join", "a=2&" + signed(SHA1, "join", "a=1", "new"), ""}, err: ErrMismatch},
		"body is not it":    {r: Request{"create", "", "a=1&" + signed(SHA1, "create", "a=1", "new")}, err: ErrMismatch},
		"odd length":        {r: Request{"join", "checksum=abc", ""}, err: ErrMismatch},
		"not hexadecimal":   {r: Request{"join", "checksum=" + strings.Repeat("z", 40), ""}, err: ErrMismatch},
		"both places":       {r: Request{"create", "a=1", "a=1&" + signed(SHA1, "create", "a=1", "new")}, err: ErrTwice},
		"sum in both":       {r: Request{"create", signed(SHA1, "create", "", "new"), signed(SHA1, "create", "", "new")}, err: ErrTwice},
		"two sums":          {r: Request{"join", signed(SHA1, "join", "", "new") + "&checksum=x", ""}, err: ErrTwice},
		"two sums in form":  {r: Request{"join", "", signed(SHA1, "join", "", "new") + "&checksum=x"}, err: ErrTwice},
		"bad escape":        {r: Request{"join", "a=%zz&" + signed(SHA1, "join", "a=%zz", "new"), ""}, err: ErrMalformed},
		"bad escape, name":  {r: Request{"join", "%=1", ""}, err: ErrMalformed},
		"bad escape, form":  {r: Request{"join", "", "a=%"}, err: ErrMalformed},
		"escaped sum, same": {r: Request{"join", "%63hecksum=" + SHA1.Sum("join", "", "new"), ""}, err: ErrMismatch},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, secret, err := Check(c.r, secrets)
			if !errors.Is(err, c.err) {
				t.Fatalf("Check(%+v) = %v, want %v", c.r, err, c.err)
			}
			if err == nil && (!cmp.Equal(got, c.want) || secret != c.secret) {
				t.Errorf("Check(%+v) = %v, %d, want %v, %d", c.r, got, secret, c.want, c.secret)
			}
			for _, s := range secrets {
				if err != nil && s != "" && strings.Contains(err.Error(), SHA1.Sum(c.r.Call, c.r.Query, s)) {
					t.Errorf("Check(%+v): the error tells the checksum", c.r)
				}
			}
		})
	}
}

func TestParams(t *testing.T) {
	t.Parallel()
	p := Params{{"a", "1"}, {"b", "ä &"}}
	if got, want := p.With("a", "2").With("c", "3"), (Params{{"a", "2"}, {"b", "ä &"}, {"c", "3"}}); !cmp.Equal(got, want) {
		t.Errorf("With: %v, want %v", got, want)
	}
	if got, want := p.Without("a", "x"), (Params{{"b", "ä &"}}); !cmp.Equal(got, want) {
		t.Errorf("Without: %v, want %v", got, want)
	}
	if got, want := p.Encode(), "a=1&b=%C3%A4+%26"; got != want {
		t.Errorf("Encode: %q, want %q", got, want)
	}
	if p[0].Value != "1" {
		t.Error("With or Without changed the original")
	}
}

func FuzzCheck(f *testing.F) {
	f.Add("create", "a=1&checksum=x", "b=2")
	f.Add("", "&&=&checksum", "checksum=1&")
	f.Add("join", "a=%zz", "%")
	f.Fuzz(func(t *testing.T, call, query, form string) {
		if _, _, err := Check(Request{call, query, form}, []string{"secret", ""}); err == nil {
			t.Fatalf("Check(%q, %q, %q) passed", call, query, form)
		}
		p, _, err := Request{call, query, form}.Params()
		if err != nil {
			return
		}
		p = p.Without("checksum")
		// What we sign passes, with the same parameters.
		for a := SHA1; a <= SHA512; a++ {
			got, i, err := Check(Request{call, Query(call, p, "secret", a), ""}, []string{"x", "secret"})
			if err != nil || i != 1 || len(got) != len(p) {
				t.Fatalf("Check of our own query: %v, %d, %v, want %v", got, i, err, p)
			}
			for i := range p {
				if got[i] != p[i] {
					t.Fatalf("parameter %d = %v, want %v", i, got[i], p[i])
				}
			}
		}
	})
}
