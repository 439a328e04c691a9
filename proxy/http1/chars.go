package http1

import (
	"encoding/binary"
	"math/bits"
	"unsafe"
)

// Classes of bytes, one bit each.
const (
	isToken      = 1 << iota // tchar: RFC 9110 §5.6.2
	isUnderscore             // '_', which is a tchar too
	isHost                   // what we take in a registered name
	isHex
	isDigit
	isAlpha
)

// class is a constant table: nothing writes to it.
var class = func() (t [256]uint8) {
	for c := range t {
		switch {
		case c >= '0' && c <= '9':
			t[c] = isToken | isHost | isHex | isDigit
		case c >= 'a' && c <= 'f', c >= 'A' && c <= 'F':
			t[c] = isToken | isHost | isHex | isAlpha
		case c >= 'g' && c <= 'z', c >= 'G' && c <= 'Z':
			t[c] = isToken | isHost | isAlpha
		}
	}
	for _, c := range []byte("!#$%&'*+-.^_`|~") {
		t[c] |= isToken
	}
	for _, c := range []byte("-._~") {
		t[c] |= isHost
	}
	t['_'] |= isUnderscore
	return t
}()

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// The next two look at eight bytes at a time. In m, the high bit of each byte that matches is set. A borrow
// can set it for a byte above a match as well, so only the lowest bit that is set means anything.

// scanValue gives the index of the first control character (HTAB too) at or after i, or len(b).
func scanValue(b []byte, i int) int {
	for ; i+8 <= len(b); i += 8 {
		x := binary.LittleEndian.Uint64(b[i:])
		del := x ^ 0x7f*ones
		if m := ((x - 0x20*ones) &^ x & highs) | ((del - ones) &^ del & highs); m != 0 {
			return i + bits.TrailingZeros64(m)/8
		}
	}
	for ; i < len(b); i++ {
		if c := b[i]; c < 0x20 || c == 0x7f {
			return i
		}
	}
	return i
}

// scanTarget gives the index of the first byte at or after i that cannot be in a request target, or len(b):
// controls, space, '#', and all beyond ASCII.
func scanTarget(b []byte, i int) int {
	for ; i+8 <= len(b); i += 8 {
		x := binary.LittleEndian.Uint64(b[i:])
		del, hash := x^0x7f*ones, x^'#'*ones
		m := ((x - 0x21*ones) &^ x & highs) | x&highs | ((del - ones) &^ del & highs) | ((hash - ones) &^ hash & highs)
		if m != 0 {
			return i + bits.TrailingZeros64(m)/8
		}
	}
	for ; i < len(b); i++ {
		if c := b[i]; c < 0x21 || c >= 0x7f || c == '#' {
			return i
		}
	}
	return i
}

// equalFold compares b, which must hold no control characters, with a string of lower-case letters, digits
// and dashes. For those, setting bit 5 maps nothing but the upper-case letter to the lower-case one, so words
// of eight and four bytes can be compared at once; the last word overlaps the one before.
func equalFold(b []byte, lower string) bool {
	n := len(lower)
	switch {
	case len(b) != n:
		return false
	case n >= 8:
		for i := 0; i < n-8; i += 8 {
			if binary.LittleEndian.Uint64(b[i:])|0x20*ones != word(lower[i:]) {
				return false
			}
		}
		return binary.LittleEndian.Uint64(b[n-8:])|0x20*ones == word(lower[n-8:])
	case n >= 4:
		return half(b)|0x20202020 == halfString(lower) && half(b[n-4:])|0x20202020 == halfString(lower[n-4:])
	}
	for i := range n {
		if b[i]|0x20 != lower[i] {
			return false
		}
	}
	return true
}

func half(b []byte) uint32 { return binary.LittleEndian.Uint32(b) }

func halfString(s string) uint32 {
	_ = s[3]
	return uint32(s[0]) | uint32(s[1])<<8 | uint32(s[2])<<16 | uint32(s[3])<<24
}

func word(s string) uint64 {
	_ = s[7]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

// equalFoldBytes compares two byte strings, ASCII case aside.
func equalFoldBytes(a, b []byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i, c := range a {
		d := b[i]
		if c-'A' < 26 {
			c |= 0x20
		}
		if d-'A' < 26 {
			d |= 0x20
		}
		if c != d {
			return false
		}
	}
	return true
}

// trim cuts optional white space, SP and HTAB, from both ends.
func trim(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}

func isTokenBytes(b []byte) bool {
	for _, c := range b {
		if class[c]&isToken == 0 {
			return false
		}
	}
	return len(b) > 0
}

// text is what the validators take.
type text interface{ ~string | ~[]byte }

// bytesOf looks at s as bytes without a copy; they must not be written to.
func bytesOf[T text](s T) []byte {
	if len(s) == 0 {
		return nil
	}
	// Both kinds begin with a pointer to their bytes.
	return unsafe.Slice(*(**byte)(unsafe.Pointer(&s)), len(s))
}

// ValidName tells whether s is a field name: a token (RFC 9110 §5.1).
func ValidName[T text](s T) bool { return isTokenBytes(bytesOf(s)) }

// ValidMethod tells whether s is a method: a token of at most 32 bytes (RFC 9110 §9.1).
func ValidMethod[T text](s T) bool { return len(s) <= maxMethod && isTokenBytes(bytesOf(s)) }

// ValidValue tells whether s is a field value as it stands on the wire: no control character but HTAB, no
// white space at its ends (RFC 9110 §5.5). It is the guard against header injection.
func ValidValue[T text](s T) bool {
	b := bytesOf(s)
	if len(trim(b)) != len(b) {
		return false
	}
	for i := scanValue(b, 0); i < len(b); i = scanValue(b, i+1) {
		if b[i] != '\t' {
			return false
		}
	}
	return true
}
