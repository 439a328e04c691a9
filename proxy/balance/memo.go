package balance

import (
	"math/bits"
	"sync/atomic"
)

const (
	// memoFrom is the smallest group whose homes are remembered; below it working one out costs as little.
	memoFrom = 17
	// memoBits bounds the memory of a group's memo to 8 MiB, touched only as far as keys come.
	memoBits = 20
)

// memo remembers the homes of keys, which follow from the key and a picker's members alone, so that a key that comes
// again costs one look. It is direct-mapped and forgets by being overwritten. A word holds a member's index plus one in
// its lowest bits and the rest of the key above; the bits of the key that those displace are in the place of the
// word, so a hit is never another key's.
type memo struct {
	words []atomic.Uint64 // none = nothing is remembered
	low   uint64          // mask of the bits that hold the index
}

func newMemo(members int) memo {
	if members < memoFrom {
		return memo{}
	}
	index := bits.Len(uint(members))
	size := max(index, min(bits.Len(uint(64*members)), memoBits))
	return memo{words: make([]atomic.Uint64, 1<<size), low: 1<<index - 1}
}

// get returns the home of a key, or -1.
func (m *memo) get(key uint64) int {
	if len(m.words) == 0 {
		return -1
	}
	w := m.words[key&uint64(len(m.words)-1)].Load()
	if (w^key)&^m.low != 0 {
		return -1
	}
	return int(w&m.low) - 1 // an empty word is -1
}

func (m *memo) put(key uint64, home int) {
	if len(m.words) > 0 {
		m.words[key&uint64(len(m.words)-1)].Store(key&^m.low | uint64(home+1))
	}
}
