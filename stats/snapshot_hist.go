package stats

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"
)

// ErrBadHist is wrapped by every error that decoding a HistSnapshot returns.
var ErrBadHist = errors.New("malformed histogram")

// histVersion is the first byte of the binary form. Bucket indexes have a meaning only with it: another
// bucket layout needs another number.
const histVersion = 1

// Bucket is one non-empty bucket of a histogram.
type Bucket struct {
	Index uint16 // position in the layout of histVersion
	Count uint64 // never 0
}

// HistSnapshot is a plain copy of a Hist: the non-empty buckets in rising order and the exact sum of all
// values in nanoseconds. It is a value: methods never change it, and results share no memory with it.
type HistSnapshot struct {
	Sum     uint64
	Buckets []Bucket
}

// Count is the number of values recorded.
func (s HistSnapshot) Count() uint64 {
	var n uint64
	for _, b := range s.Buckets {
		n += b.Count
	}
	return n
}

// Mean is the mean of all values, 0 for none.
func (s HistSnapshot) Mean() time.Duration {
	n := s.Count()
	if n == 0 {
		return 0
	}
	return time.Duration(s.Sum / n)
}

// Merge adds two histograms. It is commutative and associative, with the zero value as its identity.
func (s HistSnapshot) Merge(o HistSnapshot) HistSnapshot {
	m := HistSnapshot{Sum: s.Sum + o.Sum}
	a, b := s.Buckets, o.Buckets
	if len(a)+len(b) == 0 {
		return m
	}
	m.Buckets = make([]Bucket, 0, max(len(a), len(b)))
	for len(a) > 0 && len(b) > 0 {
		switch {
		case a[0].Index < b[0].Index:
			m.Buckets, a = append(m.Buckets, a[0]), a[1:]
		case a[0].Index > b[0].Index:
			m.Buckets, b = append(m.Buckets, b[0]), b[1:]
		default:
			m.Buckets = append(m.Buckets, Bucket{Index: a[0].Index, Count: a[0].Count + b[0].Count})
			a, b = a[1:], b[1:]
		}
	}
	m.Buckets = append(m.Buckets, a...)
	m.Buckets = append(m.Buckets, b...)
	return m
}

// Quantile gives the value below or at which the share q (0 to 1) of all values lies, as the middle of its
// bucket: at most 0.78 % off. An empty histogram gives 0.
func (s HistSnapshot) Quantile(q float64) time.Duration {
	n := s.Count()
	if n == 0 {
		return 0
	}
	// The nearest-rank definition: the smallest value with at least q·n values at or below it.
	rank := uint64(1)
	if q > 0 {
		rank = uint64(min(math.Ceil(q*float64(n)), float64(n)))
		rank = min(max(rank, 1), n)
	}
	var seen uint64
	for _, b := range s.Buckets {
		if seen += b.Count; seen >= rank {
			lo, hi := bounds(int(b.Index))
			return time.Duration(lo + (hi-lo)/2)
		}
	}
	return 0
}

// Cumulative counts for each bound how many values lie at or below it, as a Prometheus histogram wants
// it; bounds must rise. A bucket counts as below a bound if its middle is.
func (s HistSnapshot) Cumulative(upper []time.Duration) []uint64 {
	out := make([]uint64, len(upper))
	var n uint64
	i := 0
	for k, u := range upper {
		for i < len(s.Buckets) {
			lo, hi := bounds(int(s.Buckets[i].Index))
			if time.Duration(lo+(hi-lo)/2) > u {
				break
			}
			n += s.Buckets[i].Count
			i++
		}
		out[k] = n
	}
	return out
}

// MarshalBinary encodes the histogram: version byte, then uvarints: sum, number of buckets, and for each
// bucket the distance from the index before and the count.
func (s HistSnapshot) MarshalBinary() ([]byte, error) {
	out := make([]byte, 0, 1+2*binary.MaxVarintLen64+4*len(s.Buckets))
	out = append(out, histVersion)
	out = binary.AppendUvarint(out, s.Sum)
	out = binary.AppendUvarint(out, uint64(len(s.Buckets)))
	last := uint64(0)
	for _, b := range s.Buckets {
		out = binary.AppendUvarint(out, uint64(b.Index)-last)
		out = binary.AppendUvarint(out, b.Count)
		last = uint64(b.Index)
	}
	return out, nil
}

// UnmarshalBinary decodes what MarshalBinary wrote. Anything else is an error that wraps ErrBadHist.
func (s *HistSnapshot) UnmarshalBinary(data []byte) error {
	if len(data) == 0 || data[0] != histVersion {
		return fmt.Errorf("%w: unknown version", ErrBadHist)
	}
	data = data[1:]
	next := func() (uint64, bool) {
		v, n := binary.Uvarint(data)
		if n <= 0 {
			return 0, false
		}
		data = data[n:]
		return v, true
	}
	sum, ok := next()
	n, ok2 := next()
	if !ok || !ok2 || n > buckets {
		return fmt.Errorf("%w: bad header", ErrBadHist)
	}
	var list []Bucket
	last := uint64(0)
	for i := range n {
		d, ok := next()
		c, ok2 := next()
		if !ok || !ok2 || d > buckets || i > 0 && d == 0 || last+d >= buckets || c == 0 {
			return fmt.Errorf("%w: bad bucket %d", ErrBadHist, i)
		}
		last += d
		list = append(list, Bucket{Index: uint16(last), Count: c})
	}
	if len(data) > 0 {
		return fmt.Errorf("%w: %d bytes too many", ErrBadHist, len(data))
	}
	*s = HistSnapshot{Sum: sum, Buckets: list}
	return nil
}

// histJSON is the JSON form: pairs keep it about as small as the binary form and still readable.
type histJSON struct {
	Version int         `json:"version"`
	Sum     uint64      `json:"sum_ns"`
	Buckets [][2]uint64 `json:"buckets"`
}

// MarshalJSON encodes the histogram as {"version":1,"sum_ns":…,"buckets":[[index,count],…]}.
func (s HistSnapshot) MarshalJSON() ([]byte, error) {
	j := histJSON{Version: histVersion, Sum: s.Sum, Buckets: make([][2]uint64, len(s.Buckets))}
	for i, b := range s.Buckets {
		j.Buckets[i] = [2]uint64{uint64(b.Index), b.Count}
	}
	return json.Marshal(j)
}

// UnmarshalJSON decodes what MarshalJSON wrote; malformed input is an error.
func (s *HistSnapshot) UnmarshalJSON(data []byte) error {
	var j histJSON
	if err := json.Unmarshal(data, &j); err != nil {
		return fmt.Errorf("%w: %w", ErrBadHist, err)
	}
	if j.Version != histVersion {
		return fmt.Errorf("%w: unknown version %d", ErrBadHist, j.Version)
	}
	var list []Bucket
	for i, p := range j.Buckets {
		if p[0] >= buckets || p[1] == 0 || i > 0 && p[0] <= j.Buckets[i-1][0] {
			return fmt.Errorf("%w: bad bucket %d", ErrBadHist, i)
		}
		list = append(list, Bucket{Index: uint16(p[0]), Count: p[1]})
	}
	*s = HistSnapshot{Sum: j.Sum, Buckets: list}
	return nil
}
