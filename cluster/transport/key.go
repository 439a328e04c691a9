package transport

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
)

// MaxKeys bounds how many keys may be valid at once: two for a rotation, and
// some room for one that was interrupted.
const MaxKeys = 4

// maxKeyFile bounds a key file in bytes, so that a wrong path is noticed early.
const maxKeyFile = 64 << 10

// Key is one cluster key, the secret that all nodes of a cluster share. What
// is used on the wire is derived from it, never the key itself.
type Key [32]byte

// NewKey makes a random key.
func NewKey() Key {
	var k Key
	_, _ = rand.Read(k[:]) // never fails: crypto/rand ends the process instead
	return k
}

// LabKey is the well-known key that stands in when no key was configured. It
// keeps one code path for everybody and protects nothing.
func LabKey() Key {
	return sha256.Sum256([]byte("lbnode: no cluster key configured, loopback lab only"))
}

// ParseKeys reads a key file: one to four lines, each the standard base64 of 32
// bytes; empty lines and lines that start with # are skipped. The first key is
// the primary one. Errors name the line and never show its content.
func ParseKeys(data []byte) ([]Key, error) {
	if len(data) > maxKeyFile {
		return nil, fmt.Errorf("key file: %d bytes, at most %d expected: is this the right file? (`lbnode keygen` makes one)", len(data), maxKeyFile)
	}
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	var keys []Key
	n := 0
	for line := range bytes.Lines(data) {
		n++
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		k, err := parseKey(line)
		if err != nil {
			return nil, fmt.Errorf("key file line %d: %w (`lbnode keygen` makes a valid key)", n, err)
		}
		for _, other := range keys {
			if other == k {
				return nil, fmt.Errorf("key file line %d: the same key twice", n)
			}
		}
		if len(keys) == MaxKeys {
			return nil, fmt.Errorf("key file line %d: more than %d keys", n, MaxKeys)
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil, errors.New("key file: no key in it (`lbnode keygen` makes one)")
	}
	return keys, nil
}

func parseKey(line []byte) (Key, error) {
	var k Key
	raw, err := base64.StdEncoding.Strict().AppendDecode(nil, line)
	if err != nil {
		return k, errors.New("not standard base64")
	}
	if len(raw) != len(k) {
		return k, fmt.Errorf("%d bytes, want %d", len(raw), len(k))
	}
	copy(k[:], raw)
	if k == (Key{}) {
		return k, errors.New("the key is all zero")
	}
	return k, nil
}

// String is the key as it stands in a key file. It is the secret: to show which
// key is meant, use Fingerprint.
func (k Key) String() string { return base64.StdEncoding.EncodeToString(k[:]) }

// LogValue keeps the secret out of logs.
func (k Key) LogValue() slog.Value { return slog.StringValue("key:" + k.Fingerprint()) }

// Fingerprint names the key without revealing it: 8 hex digits.
func (k Key) Fingerprint() string {
	return hex.EncodeToString(k.derive("lbnode/1 fingerprint", 4))
}

// Gossip derives the 32 bytes of the gossip keyring's AES-256 key.
func (k Key) Gossip() []byte { return k.derive("lbnode/1 gossip", 32) }

// Sticky derives the 32 bytes that the cookies of sticky sessions are signed with.
func (k Key) Sticky() []byte { return k.derive("lbnode/1 sticky cookie", 32) }

// authority derives the private key of the cluster's certificate authority.
func (k Key) authority() ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(k.derive("lbnode/1 certificate authority", ed25519.SeedSize))
}

func (k Key) derive(purpose string, n int) []byte {
	out, err := hkdf.Key(sha256.New, k[:], nil, purpose, n)
	if err != nil {
		panic("hkdf: " + err.Error()) // only for lengths over 255 hashes
	}
	return out
}
