// Package auth makes and checks the tokens of the admin API, and slows down who guesses.
//
// A token's text is lbt_ID_SECRET: the id finds the stored token, 43 letters and digits are 256 random bits, and six
// more are a checksum, by which a scanner of source code can tell a token from chance. What is stored is the
// SHA-256 of the text ([Hash]): with so many random bits a slow hash would add nothing. [Matches] compares in
// constant time. [Limiter] bounds how many wrong tokens are answered.
//
// Package httpapi decides what a token may do; this package knows no roles. It never stores or logs anything.
package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"hash/crc32"
	"math/big"
	"strings"
)

// Prefix begins every token.
const Prefix = "lbt_"

const (
	base       = 62
	secretLen  = 43 // 256 bits in base 62
	checkLen   = 6  // 32 bits in base 62
	maxTextLen = len(Prefix) + 63 + 1 + secretLen + checkLen
)

// Mint makes the text of a new token with this id.
func Mint(id string) string {
	var secret [32]byte
	rand.Read(secret[:]) // never fails: crypto/rand ends the process instead
	body := Prefix + id + "_" + digits(new(big.Int).SetBytes(secret[:]), secretLen)
	return body + checksum(body)
}

// digits writes a number in base 62 with leading zeros.
func digits(n *big.Int, width int) string {
	s := n.Text(base)
	return strings.Repeat("0", width-len(s)) + s
}

func checksum(body string) string {
	return digits(new(big.Int).SetUint64(uint64(crc32.ChecksumIEEE([]byte(body)))), checkLen)
}

// Parse returns the id in a token's text. It says false for what is no token, or was mistyped.
func Parse(text string) (id string, ok bool) {
	if len(text) > maxTextLen || len(text) < len(Prefix)+1+1+secretLen+checkLen || !strings.HasPrefix(text, Prefix) {
		return "", false
	}
	body, sum := text[:len(text)-checkLen], text[len(text)-checkLen:]
	cut := len(body) - secretLen - 1
	if body[cut] != '_' || checksum(body) != sum {
		return "", false
	}
	return body[len(Prefix):cut], true
}

// Hash is what is stored of a token: the SHA-256 of its text, in hex.
func Hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// Matches says whether a hash is that of a text. How long it takes does not depend on how near the text is.
func Matches(text, hash string) bool {
	return subtle.ConstantTimeCompare([]byte(Hash(text)), []byte(hash)) == 1
}
