package sign

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// Param is one parameter of a call, decoded.
type Param struct{ Name, Value string }

// Params are the parameters of a call in the order in which they came, each name once, without the checksum.
type Params []Param

// Get is the value of a parameter, "" if it is not there.
func (p Params) Get(name string) string {
	v, _ := p.Lookup(name)
	return v
}

// Lookup is the value of a parameter and whether it is there at all.
func (p Params) Lookup(name string) (string, bool) {
	for _, q := range p {
		if q.Name == name {
			return q.Value, true
		}
	}
	return "", false
}

// With is p with a parameter set: in its place if it is there, at the end if not. p stays as it is.
func (p Params) With(name, value string) Params {
	out := slices.Clone(p)
	for i := range out {
		if out[i].Name == name {
			out[i].Value = value
			return out
		}
	}
	return append(out, Param{name, value})
}

// Without is p without some parameters. p stays as it is.
func (p Params) Without(names ...string) Params {
	out := make(Params, 0, len(p))
	for _, q := range p {
		if !slices.Contains(names, q.Name) {
			out = append(out, q)
		}
	}
	return out
}

// Encode is the query of the parameters, in their order.
func (p Params) Encode() string {
	var b strings.Builder
	for i, q := range p {
		if i > 0 {
			b.WriteByte('&')
		}
		b.WriteString(url.QueryEscape(q.Name))
		b.WriteByte('=')
		b.WriteString(url.QueryEscape(q.Value))
	}
	return b.String()
}

// Query is the signed query of a call, with its checksum at the end.
func Query(call string, p Params, secret string, a Algorithm) string {
	q := p.Encode()
	sum := "checksum=" + a.Sum(call, q, secret)
	if q == "" {
		return sum
	}
	return q + "&" + sum
}

// Parse reads a raw query or the body of a form. Of a parameter that is there twice the first value counts, as it
// does for BigBlueButton; the checksum is kept. The error wraps ErrMalformed.
func Parse(raw string) (Params, error) {
	var out Params
	seen := map[string]bool{}
	for pair := range strings.SplitSeq(raw, "&") {
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		n, err := url.QueryUnescape(name)
		if err != nil {
			return nil, fmt.Errorf("%w: a name is not encoded well", ErrMalformed)
		}
		v, err := url.QueryUnescape(value)
		if err != nil {
			return nil, fmt.Errorf("%w: the value of %q is not encoded well", ErrMalformed, n)
		}
		if !seen[n] {
			seen[n] = true
			out = append(out, Param{n, v})
		}
	}
	return out, nil
}
