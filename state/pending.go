package state

import (
	"fmt"
	"iter"
	"reflect"
	"slices"
	"strings"
	"time"
)

// maxPending bounds the changes that wait for a confirmation at the same time: they hold what was before.
const maxPending = 32

// noOp is the Op of a refusal that is about no operation.
const noOp = -1

// Pending is a change that waits for somebody to confirm it. Whoever leads the cluster compares Deadline with
// its own clock and then commits a [Settlement] that undoes the change. It keeps the change itself, which the
// history may have forgotten by then.
type Pending struct {
	Index    uint64    `json:"index"` // log index of the change
	Deadline time.Time `json:"deadline"`
	Change   *Change   `json:"change"`
}

// Settlement ends the wait for a confirmation. It is refused with [CodeNotFound] when the change does not wait
// any more, so that of several settlements one has its effect.
type Settlement struct {
	Index  uint64 `json:"index"`
	Revert bool   `json:"revert,omitempty"` // undo the change; otherwise it stays
}

// Pending returns the change at a log index if it waits for a confirmation.
func (v *View) Pending(index uint64) (*Pending, bool) { return v.pending.Get(indexKey(index)) }

// Pendings goes through the changes that wait for a confirmation, in the order of their indexes.
func (v *View) Pendings() iter.Seq[*Pending] {
	return func(yield func(*Pending) bool) {
		it := v.pending.Root().Iterator()
		for _, p, ok := it.Next(); ok; _, p, ok = it.Next() {
			if !yield(p) {
				return
			}
		}
	}
}

// loadPending puts what a snapshot holds in place.
func (v *View) loadPending(p *Pending) error {
	if p.Change == nil {
		return fmt.Errorf("pending change %d has no content", p.Index)
	}
	if err := p.Change.loaded(); err != nil {
		return err
	}
	v.pending, _, _ = v.pending.Insert(indexKey(p.Index), p)
	return nil
}

// await makes a change wait for its confirmation, if the command says so. What could not be undone later is
// refused now; that is about the command as a whole, not about one of its operations.
func (a *applier) await(c Command, change *Change) *Refusal {
	if c.ConfirmWithin == 0 || change == nil {
		return nil
	}
	refusal := a.pend(c, change)
	if refusal != nil {
		refusal.Op = noOp
	}
	return refusal
}

func (a *applier) pend(c Command, change *Change) *Refusal {
	deadline := c.At.Add(time.Duration(c.ConfirmWithin)).UTC()
	switch {
	case c.ConfirmWithin < 0 || deadline.Year() < 0 || deadline.Year() > 9999: // which JSON cannot say
		return &Refusal{Code: CodeInvalid, Message: fmt.Sprintf("confirm_within must be positive and of this age, got %s", c.ConfirmWithin)}
	case change.Truncated:
		return &Refusal{Code: CodeInvalid, Message: "the change is too large to be undone: make it without confirm_within, or in parts"}
	case a.t.v.pending.Len() >= maxPending:
		return &Refusal{Code: CodeInUse, Message: fmt.Sprintf("%d changes wait for confirmation already: confirm some of them first", maxPending)}
	}
	// Were it undone after the other one had changed the same object, it would bring back what nobody confirmed.
	for other := range a.t.v.Pendings() {
		if shared := sharedRefs(change, other.Change); len(shared) > 0 {
			return &Refusal{
				Code: CodeInUse, Refs: shared,
				Message: fmt.Sprintf("change %d, which waits for confirmation, is about %s too: confirm it first", other.Index, nameSome(shared)),
			}
		}
	}
	p := &Pending{Index: a.index, Deadline: deadline, Change: change}
	a.t.v.pending, _, _ = a.t.v.pending.Insert(indexKey(a.index), p)
	return nil
}

// sharedRefs lists the objects that two changes are about, as kind/id.
func sharedRefs(a, b *Change) []string {
	about := map[ref]bool{}
	for _, o := range b.Objects {
		about[ref{o.Kind, o.ID}] = true
	}
	var out []string
	for _, o := range a.Objects {
		if about[ref{o.Kind, o.ID}] {
			out = append(out, string(o.Kind)+"/"+o.ID)
		}
	}
	return out
}

// settle ends a wait and returns what the history says of it.
func (a *applier) settle(s Settlement, c Command) (string, *Refusal) {
	note := c.Note
	p, ok := a.t.v.Pending(s.Index)
	if !ok {
		return "", &Refusal{Code: CodeNotFound, Op: noOp, Message: fmt.Sprintf("change %d does not wait for a confirmation: it was confirmed or undone, or never had to be", s.Index)}
	}
	if len(c.Scope) > 0 && p.Change.Actor != c.Actor {
		return "", &Refusal{Code: CodeForbidden, Message: fmt.Sprintf("the token is bound to pools and may settle only its own changes; %d is one of %s", s.Index, p.Change.Actor)}
	}
	a.t.v.pending, _, _ = a.t.v.pending.Delete(indexKey(s.Index))
	switch {
	case s.Revert:
		return a.revert(p), nil
	case note == "":
		note = fmt.Sprintf("confirmed change %d", p.Index)
	}
	return note, nil
}

// revert makes every object of a pending change again what it was before, but for those that are not as the
// change left them: what somebody has said since is left alone. It restores first, what is named before
// what names it, and then deletes, the other way round; backends drain.
func (a *applier) revert(p *Pending) string {
	r := reverting{applier: a, change: p.Change}
	order := revertedKinds()
	for _, k := range order {
		if k == KindFrontend {
			r.restoreFrontends()
		} else {
			r.restore(k)
		}
	}
	for _, k := range slices.Backward(order) {
		if k != KindFrontend {
			r.each(k, r.remove)
		}
	}
	note := fmt.Sprintf("revert of %d, which was not confirmed by %s", p.Index, p.Deadline.UTC().Format(time.RFC3339))
	if len(r.changed) > 0 {
		note += "; left alone, as changed since: " + strings.Join(r.changed, ", ")
	}
	if len(r.kept) > 0 {
		note += "; kept, as still in use: " + strings.Join(r.kept, ", ")
	}
	return note
}

// revertedKinds lists every kind, those that are named by others before them.
func revertedKinds() []Kind {
	return []Kind{KindSettings, KindCertificate, KindPool, KindBackend, KindRoute, KindFrontend, KindToken}
}

// reverting undoes one change.
type reverting struct {
	*applier
	change  *Change
	changed []string // objects that are not as the change left them
	kept    []string // objects that others need by now
}

func (r *reverting) each(k Kind, f func(ObjectChange, Object)) {
	for _, o := range r.change.Objects {
		if o.Kind != k {
			continue
		}
		cur := r.t.get(o.Kind, o.ID)
		if r.untouched(o, cur) {
			f(o, cur)
		} else if name := string(o.Kind) + "/" + o.ID; !contains(r.changed, name) {
			r.changed = append(r.changed, name)
		}
	}
}

// untouched says that an object is as the change left it, or as this revert does. A backend that the change
// took out may have drained and gone by now; that is still the change's doing.
func (r *reverting) untouched(o ObjectChange, cur Object) bool {
	switch {
	case cur == nil:
		return o.After == nil || o.Kind == KindBackend && decommissions(o)
	case cur.Stamps().ModifyIndex == r.index:
		return true
	}
	return o.After != nil && cur.Stamps().ModifyIndex == r.change.Index
}

func decommissions(o ObjectChange) bool {
	spec, errs := DecodeSpec(o.Kind, o.After, nil)
	b, ok := spec.(*BackendSpec)
	return len(errs) == 0 && ok && b.AdminState == AdminDecommissioned
}

// restore brings back what was there before the change.
func (r *reverting) restore(k Kind) {
	r.each(k, func(o ObjectChange, cur Object) {
		if o.Before != nil && !r.bring(o, cur) {
			r.changed = append(r.changed, string(o.Kind)+"/"+o.ID)
		}
	})
}

// bring puts an object back, and says whether it could.
func (r *reverting) bring(o ObjectChange, cur Object) bool {
	spec, errs := DecodeSpec(o.Kind, o.Before, nil)
	if len(errs) > 0 {
		return false
	}
	if cur != nil && reflect.DeepEqual(cur.Spec(), spec) {
		return true
	}
	for _, refusal := range []*Refusal{r.unique(spec), r.needCertificate(spec), r.keepAdmin(cur, spec, false)} {
		if refusal != nil {
			return false
		}
	}
	r.store(spec, cur)
	return true
}

// restoreFrontends brings frontends back in whatever order their hosts and keys become free; one whose host
// somebody else has by now stays away.
func (r *reverting) restoreFrontends() {
	waiting := map[string]ObjectChange{}
	r.each(KindFrontend, func(o ObjectChange, cur Object) {
		if o.Before == nil && cur != nil { // first, as it may have what the others want back
			r.applier.remove(o.Kind, o.ID)
		} else if o.Before != nil {
			waiting[o.ID] = o
		}
	})
	for progress := true; progress; {
		progress = false
		for _, id := range slices.Backward(sortedKeys(waiting)) {
			if r.bring(waiting[id], r.t.get(KindFrontend, id)) {
				delete(waiting, id)
				progress = true
			}
		}
	}
	for _, id := range sortedKeys(waiting) {
		r.changed = append(r.changed, string(KindFrontend)+"/"+id)
	}
}

// remove takes away what the change created.
func (r *reverting) remove(o ObjectChange, cur Object) {
	if o.Before != nil || cur == nil {
		return
	}
	if _, refusal := r.delete(Op{Verb: VerbDelete, Kind: o.Kind, ID: o.ID}, cur); refusal != nil {
		r.kept = append(r.kept, string(o.Kind)+"/"+o.ID)
	}
}
