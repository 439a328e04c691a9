//go:build linux

package engine

import "math/bits"

const (
	readSize   = 256 << 10 // the loop's read buffer: one read takes what a socket holds
	headroom   = 64 << 10  // in front of it: a head is rewritten next to its body
	tailroom   = 16        // behind it: the end of a chunk
	minClass   = 9         // 512 bytes: most heads
	maxClass   = 20        // 1 MiB
	classBytes = 4 << 20   // kept of each class
)

// bufPool is a loop's buffers that hold what cannot be passed on at once, by powers of two.
type bufPool [maxClass - minClass + 1][][]byte

// get gives an empty buffer of at least n bytes.
func (p *bufPool) get(n int) []byte {
	class := max(bits.Len(uint(max(n, 1)-1)), minClass)
	if class > maxClass {
		return make([]byte, 0, n)
	}
	if list := p[class-minClass]; len(list) > 0 {
		b := list[len(list)-1]
		p[class-minClass] = list[:len(list)-1]
		return b
	}
	return make([]byte, 0, 1<<class)
}

// put takes a buffer back. Those of odd sizes are left to the garbage collector.
func (p *bufPool) put(b []byte) {
	class := bits.Len(uint(cap(b))) - 1
	if class < minClass || class > maxClass || cap(b) != 1<<class {
		return
	}
	if list := &p[class-minClass]; len(*list)<<class < classBytes {
		*list = append(*list, b[:0])
	}
}
