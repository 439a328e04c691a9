// Package linear records what concurrent clients saw of registers, and decides whether that is what one
// register after the other could have shown: linearizability.
//
// A [History] takes one [Op] for each call that a client made; [History.Check] searches an order of them, with
// porcupine, and draws what it found if there is none. Tests of consensus use it, in one process and over real
// ones; nothing else does. It knows nothing of how the registers are kept.
//
// # Reads that take a leader at its word
//
// A read of [Level] Leader is answered by a node that holds itself for the leader and asks nobody. What such a
// node says is all that was acknowledged, as long as no newer leader was elected; once there is one, the old one
// may not know it yet, for up to its lease, or for as long as it was frozen, and shows the registers as they were
// when it was deposed. So the read must show what a register held at some moment between the election and the
// answer, and, if there was none, between call and answer as any other.
//
// When exactly a leader was elected no client sees. But at a moment when every node that runs (and these are a
// majority) is in one and the same term, no newer leader has been elected yet, and no node holds itself for the
// leader of an older term, nor ever will again. [History.Settled] records these moments. A read of level Leader
// is then checked as one that was called at the last of them before its call, or at the beginning if there is none:
// in quiet times that is linearizability but for the distance of two such moments, and across a change of leaders
// the read may be as old as the change, and no older.
package linear

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"
)

// Kind is what a call does to a register.
type Kind string

// The kinds.
const (
	Read  Kind = "read"  // Got is what it saw
	Write Kind = "write" // New is there afterwards, whatever was
	CAS   Kind = "cas"   // New is there afterwards if Old was, which OK says
)

// Level is how new what a Read shows has to be.
type Level string

// The levels.
const (
	Linearizable Level = ""       // what the register held at some moment between call and answer
	Leader       Level = "leader" // the same, but for changes of leaders; see the package comment
)

// Outcome is what the client knows of a call.
type Outcome string

// The outcomes. A call that certainly had no effect is not recorded.
const (
	Done    Outcome = "done"
	Unknown Outcome = "unknown" // it may have had its effect, may have it later, or never
)

// Op is one call. Values are numbers that no two calls write; 0 is a register that was never written.
type Op struct {
	Client       int
	Register     string
	Kind         Kind
	Old, New     int
	Got          int // Read
	Level        Level
	OK           bool // CAS
	Outcome      Outcome
	Call, Return time.Duration // since the history began; Return of an unknown outcome is ignored
}

// History is a list of calls. Its methods may be called concurrently.
type History struct {
	began time.Time

	mu      sync.Mutex
	ops     []Op
	settled []time.Duration // rising
}

// New returns an empty history that begins now.
func New() *History { return &History{began: time.Now()} }

// Now is the time since the history began.
func (h *History) Now() time.Duration { return time.Since(h.began) }

// Add records a call that has ended, or whose outcome the client has given up to learn.
func (h *History) Add(op Op) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, op)
}

// Settled records that every node that runs was found in one and the same term, by questions of which the first
// was asked at the given time since the history began.
func (h *History) Settled(at time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	i, _ := slices.BinarySearch(h.settled, at)
	h.settled = slices.Insert(h.settled, i, at)
}

// earliest is the first moment whose value a call may show.
func (h *History) earliest(op Op) time.Duration {
	if op.Kind != Read || op.Level != Leader {
		return op.Call
	}
	i, _ := slices.BinarySearch(h.settled, op.Call+1)
	if i == 0 {
		return 0
	}
	return h.settled[i-1]
}

// Count is how many calls were recorded, and how many of these have an unknown outcome.
func (h *History) Count() (all, unknown int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, op := range h.ops {
		if op.Outcome == Unknown {
			unknown++
		}
	}
	return len(h.ops), unknown
}

// ErrNotLinearizable says that no order of the calls explains what they saw.
var ErrNotLinearizable = errors.New("not linearizable")

// Check looks for an order, for no longer than limit. If there is none it draws the longest beginnings that have
// one into file, an HTML page, and returns ErrNotLinearizable. Another error means that limit was too short.
func (h *History) Check(limit time.Duration, file string) error {
	h.mu.Lock()
	ops := make([]porcupine.Operation, 0, len(h.ops))
	for _, op := range h.ops {
		// Nobody waits for a read that was not answered, and it changed nothing.
		if op.Kind == Read && op.Outcome == Unknown {
			continue
		}
		o := porcupine.Operation{ClientId: op.Client, Input: op, Output: op, Call: int64(h.earliest(op)), Return: int64(op.Return)}
		if op.Outcome == Unknown {
			o.Return = math.MaxInt64
		}
		ops = append(ops, o)
	}
	h.mu.Unlock()
	m := model()
	switch result, info := porcupine.CheckOperationsVerbose(m, ops, limit); result {
	case porcupine.Ok:
		return nil
	case porcupine.Unknown:
		return fmt.Errorf("no verdict on %d calls within %v", len(ops), limit)
	default:
		if err := porcupine.VisualizePath(m, info, file); err != nil {
			return fmt.Errorf("%w: %d calls; draw them: %w", ErrNotLinearizable, len(ops), err)
		}
		return fmt.Errorf("%w: %d calls, drawn in %s", ErrNotLinearizable, len(ops), file)
	}
}

// model is a register; those of different names have nothing to do with each other.
func model() porcupine.Model {
	return porcupine.Model{
		Partition: func(all []porcupine.Operation) [][]porcupine.Operation {
			var names []string
			by := map[string][]porcupine.Operation{}
			for _, o := range all {
				name := o.Input.(Op).Register
				if by[name] == nil {
					names = append(names, name)
				}
				by[name] = append(by[name], o)
			}
			parts := make([][]porcupine.Operation, len(names))
			for i, name := range names {
				parts[i] = by[name]
			}
			return parts
		},
		Init: func() any { return 0 },
		Step: func(state, in, _ any) (bool, any) { return step(state.(int), in.(Op)) },
		DescribeOperation: func(in, _ any) string {
			return in.(Op).String()
		},
		DescribeState: func(state any) string { return fmt.Sprint(state) },
	}
}

// step says whether the call can have met a register that holds value, and what it holds then.
func step(value int, op Op) (possible bool, next int) {
	switch op.Kind {
	case Read:
		return op.Got == value, value
	case Write:
		return true, op.New
	case CAS:
		switch {
		case op.Outcome == Unknown && value != op.Old:
			return true, value
		case op.Outcome == Unknown || op.OK:
			return value == op.Old, op.New
		}
		return value != op.Old, value
	}
	return false, value
}

// String is the call as it is drawn.
func (op Op) String() string {
	unsure := ""
	if op.Outcome == Unknown {
		unsure = "?"
	}
	switch op.Kind {
	case Read:
		if op.Level == Leader {
			unsure = " by the leader"
		}
		return fmt.Sprintf("%s = %d%s", op.Register, op.Got, unsure)
	case Write:
		return fmt.Sprintf("%s := %d%s", op.Register, op.New, unsure)
	case CAS:
		if op.Outcome == Done && !op.OK {
			unsure = " refused"
		}
		return fmt.Sprintf("%s: %d → %d%s", op.Register, op.Old, op.New, unsure)
	}
	return string(op.Kind)
}
