package linear

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// at is a call from one moment to another, in any unit.
func at(from, to int, op Op) Op {
	op.Call, op.Return = time.Duration(from), time.Duration(to)
	if op.Outcome == "" {
		op.Outcome = Done
	}
	if op.Register == "" {
		op.Register = "x"
	}
	return op
}

func TestCheck(t *testing.T) {
	t.Parallel()
	w := func(v int) Op { return Op{Kind: Write, New: v} }
	r := func(v int) Op { return Op{Kind: Read, Got: v} }
	cas := func(old, v int, ok bool) Op { return Op{Kind: CAS, Old: old, New: v, OK: ok} }
	unknown := func(op Op) Op { op.Outcome = Unknown; return op }
	other := func(op Op) Op { op.Register = "y"; return op }
	for _, tc := range []struct {
		name string
		ops  []Op
		want bool
	}{
		{"nothing", nil, true},
		{"write, then read", []Op{at(0, 1, w(1)), at(2, 3, r(1))}, true},
		{"a stale read", []Op{at(0, 1, w(1)), at(2, 3, w(2)), at(4, 5, r(1))}, false},
		{"a read beside the write", []Op{at(0, 1, w(1)), at(2, 6, w(2)), at(3, 4, r(1)), at(4, 5, r(2))}, true},
		{"back in time", []Op{at(0, 1, w(1)), at(2, 9, w(2)), at(3, 4, r(2)), at(5, 6, r(1))}, false},
		{"a lost write", []Op{at(0, 1, w(1)), at(2, 3, r(0))}, false},
		{"two winners", []Op{at(0, 1, w(1)), at(2, 5, cas(1, 2, true)), at(2, 5, cas(1, 3, true))}, false},
		{"one winner", []Op{at(0, 1, w(1)), at(2, 5, cas(1, 2, true)), at(2, 5, cas(1, 3, false)), at(6, 7, r(2))}, true},
		{"refused without reason", []Op{at(0, 1, w(1)), at(2, 3, cas(1, 2, false))}, false},
		{"unknown, and had its effect", []Op{at(0, 1, w(1)), at(2, 3, unknown(w(2))), at(4, 5, r(2))}, true},
		{"unknown, and had it late", []Op{at(0, 1, w(1)), at(2, 3, unknown(w(2))), at(4, 5, r(1)), at(6, 7, r(2))}, true},
		{"unknown, and never had it", []Op{at(0, 1, w(1)), at(2, 3, unknown(cas(1, 2, false))), at(4, 5, r(1))}, true},
		{"had its effect twice", []Op{at(0, 1, unknown(w(1))), at(2, 3, r(1)), at(4, 5, w(2)), at(6, 7, r(1))}, false},
		{"an unanswered read", []Op{at(0, 1, w(1)), at(2, 3, unknown(r(7)))}, true},
		{"another register", []Op{at(0, 1, w(1)), at(2, 3, other(r(0))), at(2, 3, r(1))}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			h := New()
			for _, op := range tc.ops {
				h.Add(op)
			}
			file := filepath.Join(t.TempDir(), "history.html")
			err := h.Check(time.Minute, file)
			if tc.want && err != nil || !tc.want && !errors.Is(err, ErrNotLinearizable) {
				t.Fatalf("Check = %v, want linearizable: %v", err, tc.want)
			}
			if drawn, _ := os.ReadFile(file); !tc.want && !strings.Contains(string(drawn), "<html") {
				t.Errorf("the history was not drawn: %d bytes", len(drawn))
			}
		})
	}
}

// register is a store that may show values of before, as a follower does that is read without asking the leader.
type register struct {
	mu    sync.Mutex
	lags  bool
	value int
	old   int
	rng   *rand.Rand
}

func (r *register) read() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lags && r.rng.IntN(10) == 0 {
		return r.old
	}
	return r.value
}

func (r *register) write(v int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.old, r.value = r.value, v
}

// TestCheck_store runs clients on a store that is right and on one that is not: the second is found out.
func TestCheck_store(t *testing.T) {
	t.Parallel()
	for _, lags := range []bool{false, true} {
		h, reg := New(), &register{lags: lags, rng: rand.New(rand.NewPCG(1, 2))}
		var wg sync.WaitGroup
		for client := range 4 {
			wg.Go(func() {
				for i := range 100 {
					op := Op{Client: client, Register: "x", Kind: Read, Outcome: Done, Call: h.Now()}
					if i%3 == 0 {
						op.Kind, op.New = Write, 1+client+4*i
						reg.write(op.New)
					} else {
						op.Got = reg.read()
					}
					op.Return = h.Now()
					h.Add(op)
				}
			})
		}
		wg.Wait()
		err := h.Check(time.Minute, filepath.Join(t.TempDir(), "history.html"))
		if found := errors.Is(err, ErrNotLinearizable); found != lags || err != nil && !found {
			t.Errorf("a store that lags: %v; Check = %v", lags, err)
		}
		if all, unknown := h.Count(); all != 400 || unknown != 0 {
			t.Errorf("Count = %d, %d", all, unknown)
		}
	}
}

// TestCheck_leader: a deposed leader may show what was when it was deposed, nobody else anything old.
func TestCheck_leader(t *testing.T) {
	t.Parallel()
	w := func(v int) Op { return Op{Kind: Write, New: v} }
	r := func(v int) Op { return Op{Kind: Read, Got: v, Level: Leader} }
	linearizable := func(v int) Op { return Op{Kind: Read, Got: v} }
	for _, tc := range []struct {
		name    string
		settled []time.Duration
		ops     []Op
		want    bool
	}{
		{"new", []time.Duration{35}, []Op{at(0, 10, w(1)), at(20, 30, w(2)), at(40, 50, r(2))}, true},
		{"old in quiet times", []time.Duration{35}, []Op{at(0, 10, w(1)), at(20, 30, w(2)), at(40, 50, r(1))}, false},
		{"old at the moment that was settled", []time.Duration{40}, []Op{at(0, 10, w(1)), at(20, 30, w(2)), at(40, 50, r(1))}, false},
		{"as old as the change of leaders", []time.Duration{15}, []Op{at(0, 10, w(1)), at(20, 30, w(2)), at(40, 50, r(1))}, true},
		{"settled while the newer write is under way", []time.Duration{25}, []Op{at(0, 10, w(1)), at(20, 30, w(2)), at(40, 50, r(1))}, true},
		{"older than the change of leaders", []time.Duration{15, 100}, []Op{at(0, 5, w(1)), at(6, 10, w(2)), at(20, 30, w(3)), at(40, 50, r(1))}, false},
		{"settled only later", []time.Duration{100}, []Op{at(0, 10, w(1)), at(20, 30, w(2)), at(40, 50, r(1))}, true},
		{"never settled", nil, []Op{at(1, 10, w(1)), at(20, 30, w(2)), at(40, 50, r(1))}, true},
		{"never settled, and never there", nil, []Op{at(1, 10, w(1)), at(40, 50, r(7))}, false},
		{"from the future", []time.Duration{15}, []Op{at(0, 10, w(1)), at(20, 30, r(2)), at(40, 50, w(2))}, false},
		{"a linearizable read has no such excuse", []time.Duration{15}, []Op{at(0, 10, w(1)), at(20, 30, w(2)), at(40, 50, linearizable(1))}, false},
		{"in the order of the times", []time.Duration{35, 15}, []Op{at(0, 10, w(1)), at(20, 30, w(2)), at(40, 50, r(1))}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			h := New()
			for _, at := range tc.settled {
				h.Settled(at)
			}
			for _, op := range tc.ops {
				h.Add(op)
			}
			err := h.Check(time.Minute, filepath.Join(t.TempDir(), "history.html"))
			if tc.want && err != nil || !tc.want && !errors.Is(err, ErrNotLinearizable) {
				t.Fatalf("Check = %v, want an order: %v", err, tc.want)
			}
		})
	}
}
