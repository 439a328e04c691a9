package route

import (
	"strings"

	"github.com/cespare/xxhash/v2"

	"github.com/lbnode/lbnode/proxy/balance"
	"github.com/lbnode/lbnode/state"
)

// Key is the hash of the part of a request that ties it to a backend, 0 if the algorithm uses none. It is
// equal on all nodes. A request that lacks the part is tied by its client address.
func (t *Target) Key(r *Request) uint64 {
	if !balance.UsesKey(t.Algorithm) {
		return 0
	}
	if t.Algorithm == state.ConsistentHash {
		if v, ok := t.part(r); ok {
			return xxhash.Sum64String(v)
		}
	}
	a := r.Client.As16()
	return xxhash.Sum64(a[:])
}

func (t *Target) part(r *Request) (string, bool) {
	switch t.Hash.Source {
	case state.HashPath:
		return r.Path, true
	case state.HashHeader:
		if r.Header != nil {
			if v := r.Header.Values(t.Hash.Name); len(v) > 0 {
				return v[0], true
			}
		}
	case state.HashCookie:
		if r.Header != nil {
			return cookie(r.Header.Values("Cookie"), t.Hash.Name)
		}
	case state.HashQuery:
		for rest := r.Query; rest != ""; {
			var pair string
			pair, rest, _ = strings.Cut(rest, "&")
			if name, value, _ := strings.Cut(pair, "="); unescape(name) == t.Hash.Name {
				return unescape(value), true
			}
		}
	}
	return "", false
}

// cookie finds a cookie's value (RFC 6265 §4.2.1).
func cookie(lines []string, name string) (string, bool) {
	for _, line := range lines {
		for line != "" {
			var pair string
			pair, line, _ = strings.Cut(line, ";")
			if n, v, ok := strings.Cut(strings.TrimLeft(pair, " "), "="); ok && n == name {
				return strings.Trim(v, `"`), true
			}
		}
	}
	return "", false
}
