package upstream

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
)

// tokenSize is how much of the MAC stands in a sticky cookie: 128 bits cannot be guessed.
const tokenSize = 16

// stickyKeys are the keys of one time, at least one; the first makes new cookies.
type stickyKeys struct{ keys [][]byte }

// tokens are those of a backend, by the keys of one time.
type tokens struct {
	by   *stickyKeys
	list []string
}

// SetStickyKeys makes other keys those of sticky cookies, see Config.StickyKeys. What finds backends by their tokens
// has to be made anew, see StickyGen.
func (s *Set) SetStickyKeys(keys [][]byte) {
	if len(keys) == 0 {
		keys = [][]byte{nil}
	}
	s.sticky.Store(&stickyKeys{keys})
	s.stickyGen.Add(1)
}

// StickyGen changes with the keys of sticky cookies.
func (s *Set) StickyGen() uint64 { return s.stickyGen.Load() }

// Tokens are what a sticky cookie may say to mean this backend, one for each key; new cookies say the first. A token
// is the MAC of the backend's id: it cannot be made without a key, tells nothing about the backend, and is the same
// on every node.
func (u *Upstream) Tokens() []string {
	by := u.set.sticky.Load()
	if t := u.tokens.Load(); t != nil && t.by == by {
		return t.list
	}
	t := &tokens{by: by}
	for _, key := range by.keys {
		m := hmac.New(sha256.New, key)
		m.Write([]byte(u.id))
		t.list = append(t.list, base64.RawURLEncoding.EncodeToString(m.Sum(nil)[:tokenSize]))
	}
	u.tokens.Store(t)
	return t.list
}
