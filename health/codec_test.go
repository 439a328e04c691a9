package health

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var ignoreLocal = cmp.Options{cmpopts.IgnoreUnexported(Observation{}), cmpopts.EquateEmpty()}

func sample() []*Observation {
	since := time.Unix(1_700_000_000, 0).UTC()
	return []*Observation{
		{Node: "n1", Backend: "a", Gen: 7, Status: StatusUp, Seq: 1, Since: since, LatencyMS: 1.234},
		{Node: "n1", Backend: "b", Gen: 8, Status: StatusDown, Seq: 2, Rev: 3, Since: since, LastError: "connection refused"},
		{Node: "n1", Backend: "c", Gen: 1 << 60, Status: StatusUnknown, Seq: 5, Since: since, InFlight: 1 << 40, Applied: 1 << 50},
	}
}

func TestMessage_roundTrip(t *testing.T) {
	t.Parallel()
	h := head{inc: 1 << 63, beat: 9, seq: 6, score: 2}
	want := sample()
	msg := []byte{messageFormat}
	for _, f := range cutFrames(kindDelta, "n1", h, span{0, 6}, want, maxDelta) {
		msg = append(msg, f...)
	}
	frames, raw, err := decodeMessage(msg)
	if err != nil {
		t.Fatal(err)
	}
	if len(frames) != 1 || len(raw) != 1 {
		t.Fatalf("%d frames, want 1", len(frames))
	}
	f := frames[0]
	if f.kind != kindDelta || f.node != "n1" || f.head != h || f.cover != (span{0, 6}) {
		t.Errorf("frame is %+v", f)
	}
	for i := range f.obs {
		if d := cmp.Diff(*want[i], f.obs[i], ignoreLocal); d != "" {
			t.Error(d)
		}
	}
}

func TestMessage_framesFitAndCoverWithoutGaps(t *testing.T) {
	t.Parallel()
	node := strings.Repeat("n", maxNodeID)
	var obs []*Observation
	for i := range 500 {
		obs = append(obs, &Observation{
			Backend: strings.Repeat("b", maxBackendID), Gen: 1<<64 - 1, Status: StatusDown, Seq: 1<<63 + uint64(i), Rev: 1<<32 - 1,
			Since: time.Unix(maxSince, 0), LatencyMS: maxLat / 1000, InFlight: maxCount, Applied: 1<<64 - 1,
			LastError: strings.Repeat("e", 200),
		})
	}
	h := head{inc: 1<<64 - 1, beat: 1<<64 - 1, seq: 1<<64 - 1, score: maxCount}
	at, n := uint64(5), 0
	frames := cutFrames(kindDelta, node, h, span{5, 1<<64 - 1}, obs, maxDelta-1)
	for _, f := range frames {
		if len(f) > maxDelta-1 {
			t.Fatalf("a frame has %d bytes", len(f))
		}
		got, _, err := decodeMessage(append([]byte{messageFormat}, f...))
		if err != nil {
			t.Fatal(err)
		}
		if got[0].cover.from != at {
			t.Fatalf("cover begins at %d, want %d", got[0].cover.from, at)
		}
		at = got[0].cover.to
		n += len(got[0].obs)
	}
	if at != 1<<64-1 || n != len(obs) {
		t.Errorf("covered up to %d with %d observations, want all %d", at, n, len(obs))
	}
	if got := cutFrames(kindDelta, node, h, span{3, 3}, nil, maxDelta); len(got) != 1 || len(got[0]) > 250 {
		t.Errorf("a heartbeat takes %d frames", len(got))
	}
}

func TestMessage_damage(t *testing.T) {
	t.Parallel()
	good := []byte{messageFormat}
	for _, f := range cutFrames(kindState, "n1", head{inc: 1, beat: 1, seq: 5}, span{0, 5}, sample(), maxFrame) {
		good = append(good, f...)
	}
	tab := newTable("n2", 1)
	for i := range len(good) {
		if i == 1 {
			continue // a message without frames
		}
		if err := tab.Merge(good[:i]); !errors.Is(err, ErrMessage) {
			t.Errorf("Merge of the first %d of %d bytes = %v, want ErrMessage", i, len(good), err)
		}
	}
	for _, bad := range [][]byte{nil, {}, {0}, {2, 0}, append([]byte{9}, good[1:]...), append(good[:len(good):len(good)], 1)} {
		if err := tab.Merge(bad); !errors.Is(err, ErrMessage) {
			t.Errorf("Merge(%x) = %v, want ErrMessage", bad, err)
		}
	}
	if got := tab.about("a", time.Now()); len(got) != 0 {
		t.Errorf("a message that was refused left %v", got)
	}
	if err := tab.Merge(good); err != nil {
		t.Fatal(err)
	}
}

// FuzzTableMerge: no bytes make a table panic, and whatever it took in it can say again to another table,
// which then says the same.
func FuzzTableMerge(f *testing.F) {
	f.Add([]byte{messageFormat})
	for _, k := range []kind{kindDelta, kindState} {
		msg := []byte{messageFormat}
		for _, fr := range cutFrames(k, "n1", head{inc: 1, beat: 1, seq: 5, score: 1}, span{0, 5}, sample(), maxDelta) {
			msg = append(msg, fr...)
		}
		f.Add(msg)
	}
	f.Add(append([]byte{messageFormat}, cutFrames(kindDelta, "self", head{inc: 1 << 60, beat: 1, seq: 5}, span{2, 4}, sample(), maxDelta)[0]...))
	f.Fuzz(func(t *testing.T, b []byte) {
		tab := newTable("self", 1)
		if err := tab.Merge(b); err != nil {
			if !errors.Is(err, ErrMessage) {
				t.Fatalf("Merge = %v, want an ErrMessage", err)
			}
			return
		}
		first, err := tab.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		other := newTable("other", 1)
		if err := other.Merge(first); err != nil {
			t.Fatalf("a table's own state cannot be read: %v", err)
		}
		if err := tab.Merge(first); err != nil {
			t.Fatal(err)
		}
		again, err := tab.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(first, again); d != "" {
			t.Fatalf("merging its own state changed a table: %s", d)
		}
	})
}
