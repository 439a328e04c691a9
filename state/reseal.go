package state

import (
	"bytes"
	"encoding/json"
	"iter"
	"slices"
	"strings"
)

// TypeReseal is the type of commands that put secrets which were sealed anew in the place of what they were:
// [Command.Reseal]. Nothing that an operator said changes by it: modify indexes stay, and the history has no entry
// of it.
const TypeReseal CommandType = 6

// Reseal is one secret that was sealed with another key. It is compare-and-set: wherever the state has exactly From,
// in an object, in the history or in a change that waits for its confirmation, it has To afterwards. What was changed
// meanwhile stays as it is.
type Reseal struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// Sealer is a [Spec] with secrets that are sealed before they enter the log.
type Sealer interface {
	Spec
	// Sealed names the fields that hold sealed secrets, empty or not, and points to them.
	Sealed() []SealedField
}

// SealedField is a field with a sealed secret.
type SealedField struct {
	Field string // as in JSON
	Text  *string
}

// Sealed implements [Sealer].
func (s *CertificateSpec) Sealed() []SealedField {
	return []SealedField{{"private_key", &s.PrivateKey}}
}

// Secret is a sealed secret somewhere in the state.
type Secret struct {
	Kind   Kind
	ID     string
	Field  string
	Sealed string
	Past   uint64 // index of the change in the history that has it; 0 = the object itself
}

// Secrets goes through all sealed secrets: those of the objects, and then those that only the history has, or a
// change that waits for its confirmation. A text comes once.
func (v *View) Secrets() iter.Seq[Secret] {
	return func(yield func(Secret) bool) {
		seen := map[string]bool{}
		each := func(s Spec, past uint64) bool {
			sealer, ok := s.(Sealer)
			if !ok {
				return true
			}
			for _, f := range sealer.Sealed() {
				if *f.Text == "" || seen[*f.Text] {
					continue
				}
				seen[*f.Text] = true
				if !yield(Secret{Kind: s.Kind(), ID: s.ObjectID(), Field: f.Field, Sealed: *f.Text, Past: past}) {
					return false
				}
			}
			return true
		}
		for _, k := range sealingKinds() {
			for o := range v.All(k) {
				if !each(o.Spec(), 0) {
					return
				}
			}
		}
		for c := range v.pastChanges() {
			for _, o := range c.Objects {
				for _, raw := range []json.RawMessage{o.Before, o.After} {
					if s := sealerIn(o.Kind, raw); s != nil && !each(s, c.Index) {
						return
					}
				}
			}
		}
	}
}

// sealingKinds are the kinds of objects that have sealed secrets.
func sealingKinds() []Kind {
	return slices.DeleteFunc(Kinds(), func(k Kind) bool { _, ok := NewSpec(k).(Sealer); return !ok })
}

// sealerIn reads what the history has of an object; nil if it has no sealed secrets.
func sealerIn(k Kind, raw json.RawMessage) Sealer {
	s, ok := NewSpec(k).(Sealer)
	if !ok || raw == nil || json.Unmarshal(raw, s) != nil {
		return nil
	}
	return s
}

// pastChanges goes through the changes of the history and those that wait for their confirmation, which the history
// may have forgotten.
func (v *View) pastChanges() iter.Seq[*Change] {
	return func(yield func(*Change) bool) {
		for c := range v.ChangesAfter(0) {
			if !yield(c) {
				return
			}
		}
		for p := range v.Pendings() {
			if !yield(p.Change) {
				return
			}
		}
	}
}

func (a *applier) reseal(list []Reseal) *Refusal {
	to := make(map[string]string, len(list))
	for i, r := range list {
		if !sealedText(r.From) || !sealedText(r.To) {
			return &Refusal{Code: CodeInvalid, Op: i, Message: "this is no sealed secret"}
		}
		to[r.From] = r.To
	}
	for _, k := range sealingKinds() {
		for _, o := range a.resealed(k, to) {
			a.t.put(o)
		}
	}
	v := a.t.v
	for c := range a.t.v.ChangesAfter(0) {
		if next := c.resealed(to); next != c {
			v.historySize += next.size - c.size
			v.history, _, _ = v.history.Insert(indexKey(c.Index), next)
		}
	}
	for p := range a.t.v.Pendings() {
		if next := p.Change.resealed(to); next != p.Change {
			v.pending, _, _ = v.pending.Insert(indexKey(p.Index), &Pending{Index: p.Index, Deadline: p.Deadline, Change: next})
		}
	}
	return nil
}

// sealedText says whether a text may stand for a sealed secret: as it is, it is its own JSON.
func sealedText(s string) bool {
	return s != "" && len(s) <= maxSealed && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '.' && r != '-' && r != '_'
	})
}

// resealed lists the objects of a kind that have one of the texts, with the others in their place.
func (a *applier) resealed(k Kind, to map[string]string) []Object {
	var out []Object
	a.t.tree(k).Root().Walk(func(_ []byte, o Object) bool {
		spec, changed := o.Spec(), false
		for _, f := range spec.(Sealer).Sealed() {
			if next, ok := to[*f.Text]; ok {
				*f.Text, changed = next, true
			}
		}
		if changed {
			out = append(out, withSpec(o, spec))
		}
		return false
	})
	return out
}

// withSpec is a stored object of a kind that seals, with another spec and the stamps it had.
func withSpec(o Object, s Spec) Object {
	if c, ok := s.(*CertificateSpec); ok {
		return &Certificate{CertificateSpec: *c, Stamp: o.Stamps()}
	}
	return o // a kind that becomes a Sealer belongs here too: TestReseal_everyKind fails without
}

// resealed is the change with other texts in the place of those it has, or the change itself if it has none.
func (c *Change) resealed(to map[string]string) *Change {
	next := *c
	for i, o := range c.Objects {
		before, after := resealedIn(o.Kind, o.Before, to), resealedIn(o.Kind, o.After, to)
		if bytes.Equal(before, o.Before) && bytes.Equal(after, o.After) {
			continue
		}
		if &next.Objects[0] == &c.Objects[0] {
			next.Objects = slices.Clone(c.Objects)
		}
		next.Objects[i].Before, next.Objects[i].After = before, after
	}
	if len(c.Objects) == 0 || &next.Objects[0] == &c.Objects[0] {
		return c
	}
	next.measure()
	return &next
}

func resealedIn(k Kind, raw json.RawMessage, to map[string]string) json.RawMessage {
	s := sealerIn(k, raw)
	if s == nil {
		return raw
	}
	for _, f := range s.Sealed() {
		if next, ok := to[*f.Text]; ok { // as text, so that all else stays as it was written
			raw = bytes.ReplaceAll(raw, []byte(`"`+*f.Text+`"`), []byte(`"`+next+`"`))
		}
	}
	return raw
}
