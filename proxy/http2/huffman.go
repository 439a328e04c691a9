package http2

import "math/bits"

// huffFast is how many bits the first table of the decoder looks at. Longer codes belong to rare bytes.
const huffFast = 11

const (
	huffEOS = 256
	huffMax = 30 // bits of the longest code
)

// huffman is the code of RFC 7541 appendix B. It is canonical, so the lengths of its codes say all.
type huffman struct {
	fast  [1 << huffFast]uint16 // symbol<<4 | length, for codes of up to huffFast bits
	first [huffMax + 1]uint32   // first code of each length
	count [huffMax + 1]uint32   // how many there are
	index [huffMax + 1]uint16   // where they begin in perm
	perm  [len(huffLen)]uint16  // symbols in the order of their codes
}

// huffLen are the lengths of the codes of all bytes and of EOS. Read only.
var huffLen = [257]uint8{
	13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
	6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
	13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
	15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
	20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
	22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
	26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
	20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
	30,
}

// huff is made from huffLen; nothing writes to it.
var huff = func() *huffman {
	h := &huffman{}
	for _, n := range huffLen {
		h.count[n]++
	}
	code, at := uint32(0), uint16(0)
	for n := 1; n <= huffMax; n++ {
		h.first[n], h.index[n] = code, at
		for s, k := range huffLen {
			if int(k) != n {
				continue
			}
			h.perm[at] = uint16(s)
			at++
			if n <= huffFast {
				for i := range uint32(1) << (huffFast - n) {
					h.fast[code<<(huffFast-n)|i] = uint16(s)<<4 | uint16(n)
				}
			}
			code++
		}
		code <<= 1
	}
	return h
}()

// appendDecoded appends what the Huffman-coded string b stands for; false: it is not such a string, or its padding
// is not as RFC 7541 §5.2 wants it.
func appendDecoded(dst, b []byte) ([]byte, bool) {
	var acc uint64 // the next n bits of b, from the top
	n, i := 0, 0
	for {
		for n <= 56 && i < len(b) {
			acc |= uint64(b[i]) << (56 - n)
			n += 8
			i++
		}
		e := huff.fast[acc>>(64-huffFast)]
		if k := int(e & 15); k != 0 && k <= n {
			dst = append(dst, byte(e>>4))
			acc <<= k
			n -= k
			continue
		}
		if n < 8 && i == len(b) {
			return dst, bits.LeadingZeros64(^acc) >= n // the padding is ones
		}
		s, k := huff.long(acc)
		if k > n || s == huffEOS {
			return dst, false
		}
		dst = append(dst, byte(s))
		acc <<= k
		n -= k
	}
}

// long finds the symbol at the top of acc whose code is longer than huffFast, and the code's length.
func (h *huffman) long(acc uint64) (symbol, length int) {
	for k := huffFast + 1; k <= huffMax; k++ {
		if c := uint32(acc >> (64 - k)); c >= h.first[k] && c-h.first[k] < h.count[k] {
			return int(h.perm[h.index[k]+uint16(c-h.first[k])]), k
		}
	}
	return huffEOS, huffMax
}
