package upstream

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
)

// tokenSize is how much of the MAC stands in a sticky cookie: 128 bits cannot be guessed.
const tokenSize = 16

// Tokens are what a sticky cookie may say to mean this backend, one for each of Config.StickyKeys; new cookies
// say the first. A token is the MAC of the backend's id: it cannot be made without a key, tells nothing about the
// backend, and is the same on every node.
func (u *Upstream) Tokens() []string {
	u.tokenOnce.Do(func() {
		for _, key := range u.set.cfg.StickyKeys {
			m := hmac.New(sha256.New, key)
			m.Write([]byte(u.id))
			u.tokens = append(u.tokens, base64.RawURLEncoding.EncodeToString(m.Sum(nil)[:tokenSize]))
		}
	})
	return u.tokens
}
