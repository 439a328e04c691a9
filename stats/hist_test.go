package stats

import (
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

func TestBuckets_coverTheRangeWithoutGaps(t *testing.T) {
	t.Parallel()
	want := uint64(0)
	for i := range buckets {
		lo, hi := bounds(i)
		if lo != want || hi <= lo {
			t.Fatalf("bounds(%d) = [%d, %d), want a lower end of %d", i, lo, hi, want)
		}
		if got := bucketOf(lo); got != i {
			t.Fatalf("bucketOf(%d) = %d, want %d", lo, got, i)
		}
		if got := bucketOf(hi - 1); got != i {
			t.Fatalf("bucketOf(%d) = %d, want %d", hi-1, got, i)
		}
		want = hi
	}
	if want != 1<<maxExp {
		t.Errorf("last bucket ends at %d, want %d", want, uint64(1)<<maxExp)
	}
}

func TestHist_relativeErrorBelowOnePercent(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		d := time.Duration(rapid.Int64Range(int64(time.Microsecond), int64(time.Hour)).Draw(t, "d"))
		var h Hist
		h.Record(d)
		got := h.Snapshot().Quantile(rapid.Float64Range(0, 1).Draw(t, "q"))
		if e := math.Abs(float64(got-d)) / float64(d); e > 0.01 {
			t.Fatalf("Quantile after Record(%v) = %v, off by %.4f", d, got, e)
		}
	})
}

func TestHist_extremes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		in       time.Duration
		min, max time.Duration
	}{
		{-time.Second, 0, 8},
		{0, 0, 8},
		{7, 0, 8},
		{math.MaxInt64, 73 * time.Minute, 74 * time.Minute},
	} {
		var h Hist
		h.Record(c.in)
		if got := h.Snapshot().Quantile(1); got < c.min || got > c.max {
			t.Errorf("Quantile(1) after Record(%d) = %v, want %v..%v", c.in, got, c.min, c.max)
		}
	}
	var h Hist
	s := h.Snapshot()
	if s.Quantile(0.5) != 0 || s.Mean() != 0 || s.Count() != 0 {
		t.Errorf("empty histogram = %v, %v, %d, want zeros", s.Quantile(0.5), s.Mean(), s.Count())
	}
}

// HdrHistogram with four digits is the reference; ours may differ from it by 1 %.
func TestHist_agreesWithHdrHistogram(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(1, 2))
	for name, draw := range map[string]func() float64{
		"lognormal":   func() float64 { return 2e6 * math.Exp(rnd.NormFloat64()) },
		"exponential": func() float64 { return 1000 + 5e5*rnd.ExpFloat64() },
		"bimodal": func() float64 {
			if rnd.IntN(10) == 0 {
				return 3e9 + 1e8*rnd.Float64()
			}
			return 1e5 + 1e4*rnd.Float64()
		},
		"uniform": func() float64 { return 1000 + 3e12*rnd.Float64() },
	} {
		var h Hist
		ref := hdrhistogram.New(1, int64(time.Hour), 4)
		for range 50_000 {
			v := int64(min(draw(), 3.5e12))
			h.Record(time.Duration(v))
			if err := ref.RecordValue(v); err != nil {
				t.Fatal(err)
			}
		}
		s := h.Snapshot()
		for _, q := range []float64{0.01, 0.1, 0.5, 0.9, 0.95, 0.99, 0.999, 0.9999, 1} {
			got, want := float64(s.Quantile(q)), float64(ref.ValueAtQuantile(q*100))
			if e := math.Abs(got-want) / want; e > 0.01 {
				t.Errorf("%s: Quantile(%v) = %.0f, want %.0f: off by %.4f", name, q, got, want, e)
			}
		}
		if got, want := float64(s.Mean()), ref.Mean(); math.Abs(got-want)/want > 0.001 {
			t.Errorf("%s: Mean = %.0f, want %.0f", name, got, want)
		}
	}
}

func TestHist_concurrentRecordsAllCount(t *testing.T) {
	t.Parallel()
	var h Hist
	var wg sync.WaitGroup
	const workers, each = 8, 5000
	for w := range workers {
		wg.Go(func() {
			for i := range each {
				h.Record(time.Duration(i*1000*(w+1)) + 1)
				if i%1000 == 0 {
					h.Snapshot()
				}
			}
		})
	}
	wg.Wait()
	s := h.Snapshot()
	if got := s.Count(); got != workers*each {
		t.Errorf("Count = %d, want %d", got, workers*each)
	}
	if want := uint64(workers*each) + 1000*each*(each-1)/2*workers*(workers+1)/2; s.Sum != want {
		t.Errorf("Sum = %d, want %d", s.Sum, want)
	}
}

var drawHist = rapid.Custom(func(t *rapid.T) HistSnapshot {
	var h Hist
	for _, v := range rapid.SliceOfN(rapid.Int64Range(0, int64(2*time.Hour)), 0, 20).Draw(t, "values") {
		h.Record(time.Duration(v))
	}
	return h.Snapshot()
})

func TestHistSnapshot_mergeLaws(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := drawHist.Draw(t, "a"), drawHist.Draw(t, "b"), drawHist.Draw(t, "c")
		if d := cmp.Diff(a.Merge(b), b.Merge(a)); d != "" {
			t.Fatalf("not commutative:\n%s", d)
		}
		if d := cmp.Diff(a.Merge(b).Merge(c), a.Merge(b.Merge(c))); d != "" {
			t.Fatalf("not associative:\n%s", d)
		}
		if d := cmp.Diff(a.Merge(HistSnapshot{}), a); d != "" {
			t.Fatalf("zero is not the identity:\n%s", d)
		}
	})
}

func TestHistSnapshot_mergeIsRecordingTogether(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		gen := rapid.SliceOfN(rapid.Int64Range(0, int64(2*time.Hour)), 0, 30)
		var a, b, both Hist
		for _, v := range gen.Draw(t, "a") {
			a.Record(time.Duration(v))
			both.Record(time.Duration(v))
		}
		for _, v := range gen.Draw(t, "b") {
			b.Record(time.Duration(v))
			both.Record(time.Duration(v))
		}
		if d := cmp.Diff(both.Snapshot(), a.Snapshot().Merge(b.Snapshot())); d != "" {
			t.Fatalf("merged differs from recorded together (-together +merged):\n%s", d)
		}
	})
}

func TestHistSnapshot_encodingsKeepEverything(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := drawHist.Draw(t, "s")
		bin, err := s.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		var fromBin, fromJSON HistSnapshot
		if err := fromBin.UnmarshalBinary(bin); err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, &fromJSON); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(s, fromBin, cmpopts.EquateEmpty()); d != "" {
			t.Fatalf("binary round trip:\n%s", d)
		}
		if d := cmp.Diff(s, fromJSON, cmpopts.EquateEmpty()); d != "" {
			t.Fatalf("JSON round trip:\n%s", d)
		}
	})
}

func TestHistSnapshot_decodeRefusesMalformed(t *testing.T) {
	t.Parallel()
	for _, in := range []string{
		"", "\x00", "\x02\x00\x00", "\x01", "\x01\x05", "\x01\x05\x01", "\x01\x05\x01\x03", "\x01\x05\x01\x03\x00",
		"\x01\x05\x02\x03\x01\x00\x01", "\x01\x05\x01\x80\x11\x01", "\x01\x05\x01\x03\x01\x00", "\x01\x05\xff\xff\x7f",
	} {
		var s HistSnapshot
		if err := s.UnmarshalBinary([]byte(in)); !errors.Is(err, ErrBadHist) {
			t.Errorf("UnmarshalBinary(%q) = %v, want ErrBadHist", in, err)
		}
	}
	for _, in := range []string{
		`{}`, `[]`, `{"version":2,"buckets":[]}`, `{"version":1,"buckets":[[1,0]]}`, `{"version":1,"buckets":[[5,1],[5,1]]}`,
		`{"version":1,"buckets":[[2176,1]]}`,
	} {
		var s HistSnapshot
		if err := json.Unmarshal([]byte(in), &s); !errors.Is(err, ErrBadHist) {
			t.Errorf("Unmarshal(%s) = %v, want ErrBadHist", in, err)
		}
	}
}

func FuzzHistSnapshot_UnmarshalBinary(f *testing.F) {
	var h Hist
	for _, d := range []time.Duration{1, time.Microsecond, time.Millisecond, time.Hour} {
		h.Record(d)
	}
	seed, _ := h.Snapshot().MarshalBinary()
	f.Add(seed)
	f.Add([]byte("\x01\x00\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var s, again HistSnapshot
		if s.UnmarshalBinary(data) != nil {
			return
		}
		if !slices.IsSortedFunc(s.Buckets, func(a, b Bucket) int { return int(a.Index) - int(b.Index) }) {
			t.Fatalf("buckets out of order: %v", s.Buckets)
		}
		s.Quantile(0.5)
		s.Cumulative([]time.Duration{time.Second})
		out, err := s.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		if err := again.UnmarshalBinary(out); err != nil {
			t.Fatalf("decode of the own encoding: %v", err)
		}
		if d := cmp.Diff(s, again); d != "" {
			t.Fatal(d)
		}
	})
}

func TestHistSnapshot_Cumulative(t *testing.T) {
	t.Parallel()
	var h Hist
	for _, ms := range []int{1, 2, 3, 20, 20, 900, 5000} {
		h.Record(time.Duration(ms) * time.Millisecond)
	}
	got := h.Snapshot().Cumulative([]time.Duration{500 * time.Microsecond, 2500 * time.Microsecond, 25 * time.Millisecond, time.Second, time.Minute})
	if d := cmp.Diff([]uint64{0, 2, 5, 6, 7}, got); d != "" {
		t.Errorf("Cumulative (-want +got):\n%s", d)
	}
}

func BenchmarkHist_Record(b *testing.B) {
	var h Hist
	d := time.Microsecond
	b.ReportAllocs()
	for b.Loop() {
		h.Record(d)
		d = (d*5/4)&(1<<32-1) + 700
	}
}

func BenchmarkHist_Snapshot(b *testing.B) {
	var h Hist
	for i := range 10_000 {
		h.Record(time.Duration(i) * 3 * time.Microsecond)
	}
	b.ReportAllocs()
	for b.Loop() {
		h.Snapshot()
	}
}
