package cluster

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
)

// A bbolt file is memory-mapped, so one that was cut short kills the process
// with SIGBUS, and a bad page panics in a goroutine of bbolt's own: neither can
// be turned into an error. checkBolt therefore reads the whole file with plain
// reads before bbolt sees it, and follows every page from the root.

// The layout of a bbolt file, version 2.
const (
	boltMagic      = 0xED0CDAED
	boltVersion    = 2
	boltHeaderSize = 16 // id u64, flags u16, count u16, overflow u32
	boltMetaSize   = 64 // magic, version, page size, flags u32; root, sequence, freelist, high water mark, txid, checksum u64
	boltBranch     = 0x01
	boltLeaf       = 0x02
	boltFreelist   = 0x10
	boltElemSize   = 16
	boltBucketFlag = 0x01
	boltNoFreelist = ^uint64(0)
	boltMaxDepth   = 64
)

type boltMeta struct {
	pageSize             uint32
	root, freelist, high uint64
	txid                 uint64
}

type boltChecker struct {
	f    io.ReaderAt
	meta boltMeta
	seen map[uint64]bool
}

// checkBolt reports the first thing wrong with the file, nil for a missing or
// an empty one.
func checkBolt(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if st.Size() == 0 {
		return nil
	}
	return checkBoltFile(f, st.Size())
}

func checkBoltFile(f io.ReaderAt, size int64) error {
	meta, err := readBoltMeta(f, size)
	if err != nil {
		return err
	}
	if need := int64(meta.high) * int64(meta.pageSize); meta.high > uint64(size) || size < need {
		return fmt.Errorf("the file has %d bytes and its meta page names %d pages of %d: it was cut short", size, meta.high, meta.pageSize)
	}
	c := &boltChecker{f: f, meta: meta, seen: make(map[uint64]bool)}
	if meta.freelist != boltNoFreelist {
		if meta.freelist < 2 || meta.freelist >= meta.high {
			return fmt.Errorf("freelist page %d is outside of the file", meta.freelist)
		}
		if err := c.freelist(meta.freelist); err != nil {
			return err
		}
	}
	return c.tree(meta.root, 0)
}

// readBoltMeta picks the meta page that bbolt would: the newest whole one.
func readBoltMeta(f io.ReaderAt, size int64) (boltMeta, error) {
	var best boltMeta
	found := false
	try := func(off int64) {
		var b [boltHeaderSize + boltMetaSize]byte
		if off+int64(len(b)) > size {
			return
		}
		if _, err := f.ReadAt(b[:], off); err != nil {
			return
		}
		m, ok := parseBoltMeta(b[boltHeaderSize:])
		if ok && (off == 0 || off == int64(m.pageSize)) && (!found || m.txid > best.txid) {
			best, found = m, true
		}
	}
	try(0)
	for off := int64(1024); off <= 64<<10; off *= 2 {
		try(off)
	}
	if !found {
		return best, errors.New("neither meta page is whole")
	}
	return best, nil
}

func parseBoltMeta(b []byte) (boltMeta, bool) {
	ne := binary.NativeEndian
	h := fnv.New64a()
	_, _ = h.Write(b[:56])
	m := boltMeta{
		pageSize: ne.Uint32(b[8:]), root: ne.Uint64(b[16:]), freelist: ne.Uint64(b[32:]),
		high: ne.Uint64(b[40:]), txid: ne.Uint64(b[48:]),
	}
	ok := ne.Uint32(b) == boltMagic && ne.Uint32(b[4:]) == boltVersion && ne.Uint64(b[56:]) == h.Sum64() &&
		m.pageSize >= 1024 && m.pageSize <= 64<<10 && m.high >= 2
	return m, ok
}

// page reads page id with its overflow pages and returns its flags and body.
func (c *boltChecker) page(id uint64) (flags, count uint16, body []byte, err error) {
	if id < 2 || id >= c.meta.high {
		return 0, 0, nil, fmt.Errorf("page %d is outside of the file", id)
	}
	if c.seen[id] {
		return 0, 0, nil, fmt.Errorf("page %d is used twice", id)
	}
	size := int64(c.meta.pageSize)
	var head [boltHeaderSize]byte
	if _, err := c.f.ReadAt(head[:], int64(id)*size); err != nil {
		return 0, 0, nil, fmt.Errorf("read page %d: %w", id, err)
	}
	ne := binary.NativeEndian
	overflow := uint64(ne.Uint32(head[12:]))
	if got := ne.Uint64(head[:]); got != id {
		return 0, 0, nil, fmt.Errorf("page %d says that it is page %d", id, got)
	}
	if id+overflow >= c.meta.high {
		return 0, 0, nil, fmt.Errorf("page %d goes on for %d pages, beyond the end", id, overflow)
	}
	for i := id; i <= id+overflow; i++ {
		if c.seen[i] {
			return 0, 0, nil, fmt.Errorf("page %d is used twice", i)
		}
		c.seen[i] = true
	}
	buf := make([]byte, int64(overflow+1)*size)
	if _, err := c.f.ReadAt(buf, int64(id)*size); err != nil {
		return 0, 0, nil, fmt.Errorf("read page %d: %w", id, err)
	}
	return ne.Uint16(head[8:]), ne.Uint16(head[10:]), buf[boltHeaderSize:], nil
}

func (c *boltChecker) freelist(id uint64) error {
	flags, _, _, err := c.page(id)
	if err == nil && flags != boltFreelist {
		err = fmt.Errorf("page %d has type %#x, want a freelist", id, flags)
	}
	return err
}

func (c *boltChecker) tree(id uint64, depth int) error {
	if depth > boltMaxDepth {
		return fmt.Errorf("page %d is more than %d levels deep", id, boltMaxDepth)
	}
	flags, count, body, err := c.page(id)
	if err != nil {
		return err
	}
	if err := c.elements(flags, count, body, depth); err != nil {
		return fmt.Errorf("page %d: %w", id, err)
	}
	return nil
}

// elements checks the keys of a page and goes down into what they point to.
func (c *boltChecker) elements(flags, count uint16, body []byte, depth int) error {
	if flags != boltBranch && flags != boltLeaf {
		return fmt.Errorf("type %#x is neither branch nor leaf", flags)
	}
	if flags == boltBranch && count == 0 {
		return errors.New("branch without children")
	}
	var prev []byte
	for i := range int(count) {
		key, value, elemFlags, err := boltElement(flags, body, i)
		if err != nil {
			return fmt.Errorf("element %d: %w", i, err)
		}
		if prev != nil && bytes.Compare(prev, key) >= 0 {
			return fmt.Errorf("element %d: keys are out of order", i)
		}
		prev = key
		switch {
		case flags == boltBranch:
			err = c.tree(binary.NativeEndian.Uint64(value), depth+1)
		case elemFlags&boltBucketFlag != 0:
			err = c.bucket(value, depth)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// bucket checks a nested bucket, which is a page of its own or, when small,
// lies whole inside the value.
func (c *boltChecker) bucket(value []byte, depth int) error {
	if len(value) < 16 {
		return errors.New("bucket header is cut short")
	}
	if root := binary.NativeEndian.Uint64(value); root != 0 {
		return c.tree(root, depth+1)
	}
	inline := value[16:]
	if len(inline) < boltHeaderSize {
		return errors.New("inline bucket is cut short")
	}
	ne := binary.NativeEndian
	if err := c.elements(ne.Uint16(inline[8:]), ne.Uint16(inline[10:]), inline[boltHeaderSize:], boltMaxDepth); err != nil {
		return fmt.Errorf("inline bucket: %w", err)
	}
	return nil
}

// boltElement returns the key of element i and its value, which in a branch is
// the 8 bytes of the child's page id.
func boltElement(flags uint16, body []byte, i int) (key, value []byte, elemFlags uint32, err error) {
	at := i * boltElemSize
	if at+boltElemSize > len(body) {
		return nil, nil, 0, errors.New("beyond the page")
	}
	e, ne := body[at:], binary.NativeEndian
	var pos, ksize, vsize uint64
	if flags == boltBranch {
		pos, ksize, value = uint64(ne.Uint32(e)), uint64(ne.Uint32(e[4:])), e[8:16]
	} else {
		elemFlags = ne.Uint32(e)
		pos, ksize, vsize = uint64(ne.Uint32(e[4:])), uint64(ne.Uint32(e[8:])), uint64(ne.Uint32(e[12:]))
	}
	if ksize == 0 {
		return nil, nil, 0, errors.New("empty key")
	}
	if pos < boltElemSize || pos+ksize+vsize > uint64(len(e)) {
		return nil, nil, 0, errors.New("data beyond the page")
	}
	key = e[pos : pos+ksize]
	if flags == boltLeaf {
		value = e[pos+ksize : pos+ksize+vsize]
	}
	return key, value, elemFlags, nil
}
