// Package seal keeps secrets unreadable wherever they are written down: in backups, and in the replicated state
// for what every node must be able to read. A [Box] holds the cluster keys; it is made by package node, and by
// commands that read files offline. It never stores, logs or sends a key.
//
// A sealed secret is text, `lb1.KEYID.BASE64`: which key sealed it, and a random nonce with the AES-256-GCM
// ciphertext in the URL alphabet. The AES key and the key id are derived (HKDF-SHA256) from the cluster key, so
// that nothing sealed helps to find what the key is used for elsewhere. The purpose, e.g. "backup frontend users
// secret", is authenticated: a secret that is moved to another place does not open there. The length of what is
// sealed can be seen; that it is the same as another cannot.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Errors of Open.
var (
	// ErrMalformed says that the text is not what Seal wrote.
	ErrMalformed = errors.New("not a sealed secret")
	// ErrUnknownKey says that none of the box's keys sealed it. The error names the key by its id.
	ErrUnknownKey = errors.New("sealed with a key that is not at hand")
	// ErrDamaged says that the text was changed, or sealed for another purpose.
	ErrDamaged = errors.New("sealed secret is damaged, or belongs elsewhere")
)

// KeySize is the length of a cluster key in bytes.
const KeySize = 32

const (
	prefix = "lb1."
	idLen  = 8 // of a key id in hex digits
)

// Box seals with its first key and opens with all. It may be used by any number of goroutines; it never changes,
// so a change of keys is another Box.
type Box struct {
	keys []derived
}

type derived struct {
	id   string
	aead cipher.AEAD
}

// New returns a box with at least one key of [KeySize] bytes. The first one seals, all of them open. The keys
// are not kept.
func New(keys ...[]byte) (*Box, error) {
	if len(keys) == 0 {
		return nil, errors.New("seal: no key")
	}
	b := &Box{}
	for i, k := range keys {
		if len(k) != KeySize {
			return nil, fmt.Errorf("seal: key %d has %d bytes, want %d", i+1, len(k), KeySize)
		}
		d, err := derive(k)
		if err != nil {
			return nil, fmt.Errorf("seal: key %d: %w", i+1, err)
		}
		b.keys = append(b.keys, d)
	}
	return b, nil
}

func derive(key []byte) (derived, error) {
	id, err := hkdf.Key(sha256.New, key, nil, "lbnode/1 seal key id", idLen/2)
	if err != nil {
		return derived{}, err
	}
	secret, err := hkdf.Key(sha256.New, key, nil, "lbnode/1 seal aes-256-gcm", 32)
	if err != nil {
		return derived{}, err
	}
	block, err := aes.NewCipher(secret)
	if err != nil {
		return derived{}, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	return derived{id: hex.EncodeToString(id), aead: aead}, err
}

// KeyID is the id of the key that seals: 8 hex digits that tell nothing else about it.
func (b *Box) KeyID() string { return b.keys[0].id }

// Opens says whether the box has the key with an id.
func (b *Box) Opens(keyID string) bool {
	return slices.ContainsFunc(b.keys, func(d derived) bool { return d.id == keyID })
}

// Seal makes a plaintext unreadable without the key. The same plaintext gives another text each time. It fails
// only for what no cipher takes, above 64 GiB.
func (b *Box) Seal(purpose string, plaintext []byte) (string, error) {
	if uint64(len(plaintext)) > 1<<36-32 {
		return "", fmt.Errorf("seal: %d bytes are too many", len(plaintext))
	}
	k := b.keys[0]
	return prefix + k.id + "." + base64.RawURLEncoding.EncodeToString(k.aead.Seal(nil, nil, plaintext, aad(k.id, purpose))), nil
}

// Open returns what was sealed for the same purpose. The error wraps [ErrMalformed], [ErrUnknownKey] or
// [ErrDamaged] and holds nothing of the secret.
func (b *Box) Open(purpose, sealed string) ([]byte, error) {
	id, body, err := parse(sealed)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(b.keys, func(d derived) bool { return d.id == id })
	if i < 0 {
		return nil, fmt.Errorf("%w: key %s", ErrUnknownKey, id)
	}
	plain, err := b.keys[i].aead.Open(nil, nil, body, aad(id, purpose))
	if err != nil {
		return nil, ErrDamaged
	}
	return plain, nil
}

// KeyOf returns the id of the key that sealed a text.
func KeyOf(sealed string) (string, error) {
	id, _, err := parse(sealed)
	return id, err
}

// Is says whether a text looks like a sealed secret.
func Is(s string) bool { _, _, err := parse(s); return err == nil }

func parse(sealed string) (keyID string, body []byte, err error) {
	rest, ok := strings.CutPrefix(sealed, prefix)
	id, text, dot := strings.Cut(rest, ".")
	if !ok || !dot || len(id) != idLen || strings.Trim(id, "0123456789abcdef") != "" {
		return "", nil, ErrMalformed
	}
	body, err = base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || strings.ContainsAny(text, "\r\n") || len(body) < 12+16 { // nonce and tag
		return "", nil, ErrMalformed
	}
	return id, body, nil
}

// aad binds the format, the key and the purpose to the ciphertext.
func aad(keyID, purpose string) []byte { return []byte(prefix + keyID + "." + purpose) }

// CertificateKey is the purpose for which the private key of a certificate is sealed in the replicated state.
func CertificateKey(id string) string { return "certificate " + id + " private_key" }
