package http1

import "fmt"

// Limits bounds what a message may take, before anything is stored. All sizes are in bytes.
type Limits struct {
	Line    int // request line or status line, without its CRLF
	Head    int // whole head, from the first byte to the blank line inclusive
	Fields  int // number of fields in a head or in a trailer section
	Trailer int // whole trailer section
	Ext     int // chunk extensions of one chunk; a body may hold 32 times as much
}

// DefaultLimits are the bounds of the product: 8 KiB for the request line, 32 KiB and 100 fields for the head.
func DefaultLimits() Limits {
	return Limits{Line: 8 << 10, Head: 32 << 10, Fields: 100, Trailer: 8 << 10, Ext: 256}
}

// Validate names the first limit that is out of bounds.
func (l Limits) Validate() error {
	for _, c := range []struct {
		name          string
		val, min, max int
	}{
		{"Line", l.Line, 64, 1 << 20},
		{"Head", l.Head, l.Line + 4, 16 << 20},
		{"Fields", l.Fields, 1, 10_000},
		{"Trailer", l.Trailer, 2, 1 << 20},
		{"Ext", l.Ext, 0, 1 << 16},
	} {
		if c.val < c.min || c.val > c.max {
			return fmt.Errorf("http1: limits: %s is %d, want %d to %d", c.name, c.val, c.min, c.max)
		}
	}
	return nil
}
