package sign

import (
	"crypto/sha1" //nolint:gosec // BigBlueButton's default; the client chooses
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/hex"
	"strings"
)

// Algorithm is a hash function that BigBlueButton knows. The zero value is none.
type Algorithm uint8

// The algorithms, weakest first.
const (
	SHA1 Algorithm = iota + 1
	SHA256
	SHA384
	SHA512
)

// OfLength is the algorithm whose checksums have n hexadecimal digits; 0 if there is none.
func OfLength(n int) Algorithm {
	switch n {
	case 2 * sha1.Size:
		return SHA1
	case 2 * sha256.Size:
		return SHA256
	case 2 * sha512.Size384:
		return SHA384
	case 2 * sha512.Size:
		return SHA512
	}
	return 0
}

// String is the name as bbb-web's supportedChecksumAlgorithms has it.
func (a Algorithm) String() string {
	switch a {
	case SHA1:
		return "sha1"
	case SHA256:
		return "sha256"
	case SHA384:
		return "sha384"
	case SHA512:
		return "sha512"
	}
	return "none"
}

// Sum is the checksum of a call with a raw query without checksum: lower-case hexadecimal digits, "" for no algorithm.
func (a Algorithm) Sum(call, query, secret string) string {
	return a.hex(call + query + secret)
}

func (a Algorithm) hex(text string) string {
	switch a {
	case SHA1:
		h := sha1.Sum([]byte(text)) //nolint:gosec // see the import
		return hex.EncodeToString(h[:])
	case SHA256:
		h := sha256.Sum256([]byte(text))
		return hex.EncodeToString(h[:])
	case SHA384:
		h := sha512.Sum384([]byte(text))
		return hex.EncodeToString(h[:])
	case SHA512:
		h := sha512.Sum512([]byte(text))
		return hex.EncodeToString(h[:])
	}
	return ""
}

// Match is the index of the secret that a checksum was made with, -1 if it was made with none of them. Empty secrets
// match nothing. The time it takes does not tell which one it was, or how near a checksum came.
func Match(checksum, call, query string, secrets []string) int {
	a := OfLength(len(checksum))
	if a == 0 {
		return -1
	}
	got, found := []byte(strings.ToLower(checksum)), -1
	for i, s := range secrets {
		same := subtle.ConstantTimeCompare(got, []byte(a.Sum(call, query, s)))
		if s != "" && same == 1 && found < 0 {
			found = i
		}
	}
	return found
}
