package state

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"reflect"
	"slices"
	"time"
)

// Bounds of the history: by position and size, so that every node forgets alike.
const (
	maxHistory      = 1000
	maxHistoryBytes = 8 << 20
	maxTruncated    = 1000 // objects that a change which is too large still names
)

// Change is one entry of the history: what one log entry changed of what operators say. Verdicts are none.
type Change struct {
	Index     uint64         `json:"index"`
	At        time.Time      `json:"at"`
	Actor     string         `json:"actor,omitempty"`
	RequestID string         `json:"request_id,omitempty"`
	Note      string         `json:"note,omitempty"` // as in [Command]
	Summary   string         `json:"summary"`
	Truncated bool           `json:"truncated,omitempty"` // too large: objects lack Before and After, and some may be missing
	Objects   []ObjectChange `json:"objects"`             // in the order of kind and id

	size int
}

// ObjectChange is what a change did to one object. Before and After are specs as JSON; nil = not there. They
// hold secrets.
type ObjectChange struct {
	Kind   Kind            `json:"kind"`
	ID     string          `json:"id"`
	Effect Effect          `json:"effect"`
	Before json.RawMessage `json:"before,omitempty"`
	After  json.RawMessage `json:"after,omitempty"`
}

// Change returns the entry of the history at a log index.
func (v *View) Change(index uint64) (*Change, bool) {
	return v.history.Get(indexKey(index))
}

// HistoryBase is the index after which the history is complete: changes up to it have been forgotten.
func (v *View) HistoryBase() uint64 { return v.historyBase }

// ChangesBefore goes through the history from the newest entry below an index; 0 = from the newest.
func (v *View) ChangesBefore(index uint64) iter.Seq[*Change] {
	return func(yield func(*Change) bool) {
		it := v.history.Root().ReverseIterator()
		if index != 0 {
			it.SeekReverseLowerBound(indexKey(index - 1))
		}
		for _, c, ok := it.Previous(); ok; _, c, ok = it.Previous() {
			if !yield(c) {
				return
			}
		}
	}
}

// ChangesAfter goes through the history from the oldest entry above an index.
func (v *View) ChangesAfter(index uint64) iter.Seq[*Change] {
	return func(yield func(*Change) bool) {
		if index == 1<<64-1 {
			return
		}
		it := v.history.Root().Iterator()
		it.SeekLowerBound(indexKey(index + 1))
		for _, c, ok := it.Next(); ok; _, c, ok = it.Next() {
			if !yield(c) {
				return
			}
		}
	}
}

// ResultOf returns what came of the command with a request id, as far as it is remembered.
func (v *View) ResultOf(requestID string) (Result, bool) {
	k, ok := v.results.Get([]byte(requestID))
	if !ok {
		return Result{}, false
	}
	return k.Result, true
}

// Compose puts changes that follow each other together: what they did as one. Objects that end as they began
// are left out; the others come in the order of kind and id. A truncated change cannot be put together.
func Compose(changes iter.Seq[*Change]) (objects []ObjectChange, truncated *Change) {
	all := map[ref]ObjectChange{}
	for c := range changes {
		if c.Truncated {
			return nil, c
		}
		for _, o := range c.Objects {
			if first, ok := all[ref{o.Kind, o.ID}]; ok {
				o.Before = first.Before
			}
			all[ref{o.Kind, o.ID}] = o
		}
	}
	for _, r := range slices.SortedFunc(maps.Keys(all), ref.compare) {
		o := all[r]
		if o.Effect = effectOf(o.Before, o.After); o.Effect != EffectUnchanged {
			objects = append(objects, o)
		}
	}
	return objects, nil
}

func effectOf(before, after json.RawMessage) Effect {
	switch {
	case bytes.Equal(before, after):
		return EffectUnchanged
	case before == nil:
		return EffectCreated
	case after == nil:
		return EffectDeleted
	}
	return EffectUpdated
}

// ref names an object.
type ref struct {
	kind Kind
	id   string
}

func (r ref) compare(o ref) int {
	if a, b := slices.Index(Kinds(), r.kind), slices.Index(Kinds(), o.kind); a != b {
		return a - b
	}
	return bytes.Compare([]byte(r.id), []byte(o.id))
}

func indexKey(index uint64) []byte { return binary.BigEndian.AppendUint64(nil, index) }

// journal notes what a command touches.
type journal struct {
	before map[ref]Object // nil = was not there
}

func (j *journal) touch(t *txn, k Kind, id string) {
	r := ref{k, id}
	if _, ok := j.before[r]; ok {
		return
	}
	if j.before == nil {
		j.before = map[ref]Object{}
	}
	j.before[r] = t.get(k, id)
}

// change is what was touched and is different now, or nil.
func (j *journal) change(t *txn, index uint64, c Command) *Change {
	out := &Change{Index: index, At: c.At, Actor: c.Actor, RequestID: c.RequestID, Note: c.Note, Objects: []ObjectChange{}}
	for _, r := range slices.SortedFunc(maps.Keys(j.before), ref.compare) {
		before, after := j.before[r], t.get(r.kind, r.id)
		if before == nil && after == nil || before != nil && after != nil && reflect.DeepEqual(before.Spec(), after.Spec()) {
			continue
		}
		o := ObjectChange{Kind: r.kind, ID: r.id, Before: specJSON(before), After: specJSON(after)}
		o.Effect = effectOf(o.Before, o.After)
		out.Objects = append(out.Objects, o)
	}
	if len(out.Objects) == 0 && c.Settle == nil { // who confirmed a change is worth knowing
		return nil
	}
	out.Summary = summarize(out.Note, out.Objects)
	out.measure()
	if out.size > maxHistoryBytes {
		out.truncate()
	}
	return out
}

func specJSON(o Object) json.RawMessage {
	if o == nil {
		return nil
	}
	b, err := json.Marshal(o.Spec())
	if err != nil { // specs are plain structs: nothing in them can fail
		return json.RawMessage(`{}`)
	}
	return b
}

// measure counts what an entry holds, in bytes.
func (c *Change) measure() {
	const fixed = 256
	c.size = fixed + len(c.Actor) + len(c.RequestID) + len(c.Note) + len(c.Summary)
	for _, o := range c.Objects {
		c.size += 64 + len(o.ID) + len(o.Before) + len(o.After)
	}
}

// truncate keeps the names only.
func (c *Change) truncate() {
	c.Truncated = true
	c.Objects = slices.Clone(c.Objects[:min(len(c.Objects), maxTruncated)])
	for i := range c.Objects {
		c.Objects[i].Before, c.Objects[i].After = nil, nil
	}
	c.measure()
}

// summarize says in a line what a change did.
func summarize(note string, objects []ObjectChange) string {
	const most = 3
	s := ""
	for i, o := range objects {
		if i == most {
			s += fmt.Sprintf(" and %d more", len(objects)-most)
			break
		}
		if i > 0 {
			s += ", "
		}
		s += fmt.Sprintf("%s %s %s", o.Effect, o.Kind, o.ID)
		if fields := o.Fields(); i < most && len(objects) == 1 && len(fields) > 0 {
			s += ": " + joinSome(fields)
		}
	}
	switch {
	case note == "":
		return s
	case s == "":
		return note
	}
	return note + ": " + s
}

func joinSome(fields []string) string {
	const most = 5
	s := ""
	for i, f := range fields {
		if i == most {
			return fmt.Sprintf("%s and %d more", s, len(fields)-most)
		}
		if i > 0 {
			s += ", "
		}
		s += f[1:]
	}
	return s
}

// Fields lists the pointers (RFC 6901) of what differs between Before and After, when both are there. Lists
// are compared as a whole.
func (o ObjectChange) Fields() []string {
	var before, after any
	if o.Before == nil || o.After == nil || decodeExact(o.Before, &before) != nil || decodeExact(o.After, &after) != nil {
		return nil
	}
	return differing("", before, after)
}

func differing(at string, a, b any) []string {
	am, aok := a.(map[string]any)
	bm, bok := b.(map[string]any)
	if !aok || !bok {
		if reflect.DeepEqual(a, b) {
			return nil
		}
		return []string{at}
	}
	var out []string
	names := maps.Clone(am)
	maps.Copy(names, bm)
	for _, name := range sortedKeys(names) {
		out = append(out, differing(at+"/"+escapePointer(name), am[name], bm[name])...)
	}
	return out
}

// record adds an entry to the history, and forgets the oldest ones beyond the bounds.
func (v *View) record(c *Change) {
	if c == nil {
		return
	}
	if old, ok := v.Change(c.Index); ok {
		v.historySize -= old.size
	}
	v.history, _, _ = v.history.Insert(indexKey(c.Index), c)
	v.historySize += c.size
	for v.history.Len() > maxHistory || v.historySize > maxHistoryBytes {
		at, oldest, ok := v.history.Root().Minimum()
		if !ok {
			return
		}
		v.history, _, _ = v.history.Delete(at)
		v.historySize -= oldest.size
		v.historyBase = max(v.historyBase, oldest.Index)
	}
}

// loaded makes an entry that was read the same as the one that was written.
func (c *Change) loaded() error {
	for i := range c.Objects {
		for _, raw := range []*json.RawMessage{&c.Objects[i].Before, &c.Objects[i].After} {
			if *raw == nil {
				continue
			}
			b, err := json.Marshal(*raw)
			if err != nil {
				return err
			}
			*raw = b
		}
	}
	c.measure()
	return nil
}
