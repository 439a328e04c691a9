package sign

import (
	"errors"
	"fmt"
	"strings"
)

// Name of the parameter that carries the checksum.
const Name = "checksum"

// What can be wrong with a request. None of them says what the checksum should have been.
var (
	// ErrMalformed is a query or form that cannot be decoded.
	ErrMalformed = errors.New("malformed parameters")
	// ErrTwice is a parameter in the query and in the body, or a checksum that is there twice.
	ErrTwice = errors.New("parameter given twice")
	// ErrMissing is a request without a checksum.
	ErrMissing = errors.New("no checksum")
	// ErrMismatch is a checksum that was made with none of the secrets, or for another call or query.
	ErrMismatch = errors.New("checksums do not match")
)

// Request is a call as it came in.
type Request struct {
	Call  string // the name of the call as it goes into the checksum, such as `create` or `hooks/create`
	Query string // the raw query of the URL
	Form  string // the body, if it is a form, else ""
}

// Params are the parameters of both places without the checksum, the query's first, and the checksum.
func (r Request) Params() (p Params, checksum string, err error) {
	query, err := Parse(r.Query)
	if err != nil {
		return nil, "", err
	}
	form, err := Parse(r.Form)
	if err != nil {
		return nil, "", err
	}
	seen := make(map[string]bool, len(query))
	for _, q := range query {
		seen[q.Name] = true
	}
	for _, q := range form {
		if seen[q.Name] {
			return nil, "", fmt.Errorf("%w: %q is in the query and in the body", ErrTwice, q.Name)
		}
	}
	all := append(query, form...)
	if _, n := cut(r.Query); n > 1 {
		return nil, "", fmt.Errorf("%w: %q", ErrTwice, Name)
	}
	if _, n := cut(r.Form); n > 1 {
		return nil, "", fmt.Errorf("%w: %q", ErrTwice, Name)
	}
	return all.Without(Name), all.Get(Name), nil
}

// Check is the parameters of a request whose checksum was made with one of the secrets, and the secret's index.
func Check(r Request, secrets []string) (Params, int, error) {
	p, sum, err := r.Params()
	if err != nil {
		return nil, -1, err
	}
	if sum == "" {
		return nil, -1, ErrMissing
	}
	query, _ := cut(r.Query)
	i := Match(sum, r.Call, query, secrets)
	if i < 0 {
		return nil, -1, ErrMismatch
	}
	return p, i, nil
}

// cut takes the checksum out of a raw query, wherever it is, and says how often it was there. All other bytes stay
// as they are.
func cut(raw string) (rest string, n int) {
	for at := 0; at <= len(raw); {
		end := len(raw)
		if k := strings.IndexByte(raw[at:], '&'); k >= 0 {
			end = at + k
		}
		name, _, _ := strings.Cut(raw[at:end], "=")
		if name != Name {
			at = end + 1
			continue
		}
		n++
		switch {
		case end < len(raw):
			raw = raw[:at] + raw[end+1:]
		case at > 0:
			raw = raw[:at-1]
		default:
			raw = ""
		}
		if raw == "" {
			break
		}
	}
	return raw, n
}
