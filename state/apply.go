package state

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"time"
)

// Apply returns the view after the command at the given log index, and what came of it. A refused command
// moves the index and is remembered for repeats of its request id; it changes nothing else. The old view
// stays as it is. Apply accepts any command that [Decode] accepts and never panics.
func Apply(v *View, index, term uint64, c Command) (*View, Result) {
	fingerprint := fingerprintOf(c)
	if c.RequestID != "" {
		if k, ok := v.results.Get([]byte(c.RequestID)); ok {
			next := *v
			next.Index, next.Term = index, term
			if k.Fingerprint != fingerprint {
				return &next, Result{Index: index, Refusal: &Refusal{
					Code:    CodeReused,
					Message: "this request id was used for a different request; use a new one",
				}}
			}
			return &next, k.Result
		}
	}
	a := applier{t: v.txn(), index: index, at: c.At, scope: c.Scope}
	res := Result{Index: index}
	switch c.Type {
	case TypeInit:
		res.Refusal = a.init(c)
	case TypeTxn:
		if res.Refusal = a.allowed(c); res.Refusal == nil {
			res.Ops, res.Refusal = a.ops(c.Ops)
		}
		if res.Refusal == nil && c.Settle != nil {
			c.Note, res.Refusal = a.settle(*c.Settle, c)
		}
	case TypeStates:
		a.states(c.Changes)
	case TypeRestore:
		if res.Refusal = a.allowed(c); res.Refusal == nil {
			res.Refusal = a.restore(c.Restore)
		}
	case TypeBBB:
		res.BBB, res.Refusal = a.bbb(c.BBB)
	case TypeReseal:
		res.Refusal = a.reseal(c.Reseal)
	}
	var next *View
	var change *Change
	if res.Refusal == nil {
		change = a.journal.change(a.t, index, c)
		res.Refusal = a.await(c, change)
	}
	if change == nil && res.Refusal == nil {
		change = ordered(c, res)
	}
	if res.Refusal != nil {
		res.Ops, res.BBB, change = nil, nil, nil
		same := *v
		next = &same
	} else {
		next = a.t.commit()
		if a.config {
			next.ConfigGen = index
		}
		if a.state {
			next.StateGen = index
		}
	}
	next.Index, next.Term = index, term
	next.remember(c.RequestID, fingerprint, res)
	next.record(change)
	return next, res
}

// fingerprintOf identifies what a command asks for: all of it but who, when and the request id.
func fingerprintOf(c Command) string {
	if c.RequestID == "" {
		return ""
	}
	b, err := json.Marshal(Command{ClusterID: c.ClusterID, Ops: c.Ops, Changes: c.Changes, ConfirmWithin: c.ConfirmWithin, Settle: c.Settle, Restore: c.Restore, BBB: c.BBB, Reseal: c.Reseal})
	if err != nil { // only a raw message that is no JSON can fail, and Decode has read it as JSON
		b = []byte(err.Error())
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:8])
}

// applier applies one command to a transaction.
type applier struct {
	t     *txn
	index uint64
	at    time.Time
	scope []string // of the command

	config, state bool // what changed
	journal       journal
}

func (a *applier) init(c Command) *Refusal {
	switch a.t.v.ClusterID {
	case c.ClusterID:
		return nil
	case "":
		a.t.v.ClusterID = c.ClusterID
		return nil
	}
	return &Refusal{Code: CodeCluster, Message: fmt.Sprintf("this is cluster %s, not %s", a.t.v.ClusterID, c.ClusterID)}
}

func (a *applier) ops(ops []Op) ([]OpResult, *Refusal) {
	out := make([]OpResult, 0, len(ops))
	for i, op := range ops {
		r, refusal := a.op(op)
		if refusal != nil {
			refusal.Op = i
			return nil, refusal
		}
		out = append(out, r)
	}
	return out, nil
}

func (a *applier) op(op Op) (OpResult, *Refusal) {
	res := OpResult{Kind: op.Kind, ID: op.ID}
	if NewSpec(op.Kind) == nil {
		return res, &Refusal{Code: CodeInvalid, Message: fmt.Sprintf("unknown kind %q", op.Kind)}
	}
	old := a.t.get(op.Kind, op.ID)
	base := old
	if old == nil && op.Kind == KindSettings && op.Verb == VerbPatch {
		base = defaultSettings() // they are there before they are written
	}
	if base == nil && (op.Verb == VerbPatch || op.Verb == VerbDelete || op.IfMatch != 0) {
		return res, &Refusal{Code: CodeNotFound, Message: fmt.Sprintf("there is no %s %q", op.Kind, op.ID)}
	}
	if op.IfMatch != 0 && base.Stamps().ModifyIndex != op.IfMatch {
		return res, &Refusal{Code: CodeMismatch, Message: fmt.Sprintf("%s %q has modify_index %d, not %d: read it again",
			op.Kind, op.ID, base.Stamps().ModifyIndex, op.IfMatch)}
	}
	if op.Verb == VerbDelete {
		if refusal := a.outOfScope(op, old, nil); refusal != nil {
			return res, refusal
		}
		return a.delete(op, old)
	}
	spec, refusal := wanted(op, base)
	if refusal != nil {
		return res, refusal
	}
	if refusal := a.outOfScope(op, old, spec); refusal != nil {
		return res, refusal
	}
	switch {
	case old == nil:
		res.Effect = EffectCreated
	case reflect.DeepEqual(old.Spec(), spec):
		res.Effect, res.ModifyIndex = EffectUnchanged, old.Stamps().ModifyIndex
		return res, nil
	case op.Verb == VerbCreate:
		return res, &Refusal{Code: CodeExists, Message: fmt.Sprintf("%s %q exists and is different; use PUT or PATCH to change it", op.Kind, op.ID)}
	default:
		res.Effect = EffectUpdated
	}
	for _, refusal := range []*Refusal{a.unique(spec), a.needCertificate(spec), a.keepAdmin(old, spec, false)} {
		if refusal != nil {
			return res, refusal
		}
	}
	a.store(spec, old)
	res.ModifyIndex = a.index
	return res, nil
}

// wanted is the object that an operation asks for.
func wanted(op Op, old Object) (Spec, *Refusal) {
	raw, base := op.Value, old
	if op.Verb == VerbPatch {
		base = nil // the merged document is whole, and null means the default
		merged, err := mergePatch(old.Spec(), op.Value)
		if err != nil {
			return nil, &Refusal{Code: CodeInvalid, Message: "the patch cannot be merged", Errors: []FieldError{{Message: err.Error()}}}
		}
		raw = merged
	} else if op.Verb != VerbPut && op.Verb != VerbCreate {
		return nil, &Refusal{Code: CodeInvalid, Message: fmt.Sprintf("unknown verb %q", op.Verb)}
	}
	spec, errs := decodeSpec(op.Kind, op.ID, raw, base)
	if len(errs) == 0 && spec.ObjectID() != op.ID {
		errs = []FieldError{{Pointer: "/id", Message: fmt.Sprintf("must be %q, or left out; an id cannot be changed", op.ID)}}
	}
	if len(errs) > 0 {
		return nil, &Refusal{Code: CodeInvalid, Message: fmt.Sprintf("%s %q is not valid", op.Kind, op.ID), Errors: errs}
	}
	return spec, nil
}

// unique refuses a frontend whose host or key another frontend has: a request could not tell them apart.
func (a *applier) unique(spec Spec) *Refusal {
	f, ok := spec.(*FrontendSpec)
	if !ok {
		return nil
	}
	var refusal *Refusal
	a.t.tree(KindFrontend).Root().Walk(func(_ []byte, o Object) bool {
		other := o.(*Frontend)
		if other.ID == f.ID {
			return false
		}
		var errs []FieldError
		for i, h := range f.Hosts {
			if contains(other.Hosts, h) {
				errs = append(errs, FieldError{fmt.Sprintf("/hosts/%d", i), fmt.Sprintf("%q belongs to frontend %q", h, other.ID)})
			}
		}
		if f.Key != "" && f.Key == other.Key {
			errs = append(errs, FieldError{"/key", fmt.Sprintf("belongs to frontend %q", other.ID)})
		}
		if len(errs) > 0 {
			refusal = &Refusal{Code: CodeInUse, Message: "another frontend has the same host or key", Errors: errs, Refs: []string{"frontend/" + other.ID}}
		}
		return refusal != nil
	})
	return refusal
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

// store puts a valid spec in place, keeping what belongs to the stored object.
func (a *applier) store(spec Spec, old Object) {
	stamp := Stamp{CreateIndex: a.index, ModifyIndex: a.index}
	if old != nil {
		stamp.CreateIndex = old.Stamps().CreateIndex
	}
	a.config = true
	a.journal.touch(a.t, spec.Kind(), spec.ObjectID())
	switch s := spec.(type) {
	case *BackendSpec:
		a.needPool(s.Pool)
		prev, _ := old.(*Backend)
		a.t.put(&Backend{BackendSpec: *s, Stamp: stamp, BackendStatus: a.status(prev, s)})
	case *PoolSpec:
		a.t.put(&Pool{PoolSpec: *s, Stamp: stamp})
	case *RouteSpec:
		for _, id := range s.Pools() {
			a.needPool(id)
		}
		a.t.put(&Route{RouteSpec: *s, Stamp: stamp})
	case *FrontendSpec:
		a.t.put(&Frontend{FrontendSpec: *s, Stamp: stamp})
	case *TokenSpec:
		a.t.put(&Token{TokenSpec: *s, Stamp: stamp})
	case *CertificateSpec:
		a.t.put(&Certificate{CertificateSpec: *s, Stamp: stamp})
	case *SettingsSpec:
		a.t.put(&Settings{SettingsSpec: *s, Stamp: stamp})
	}
}

// needPool makes a pool with default settings when a backend or route names one that does not exist, so
// that registering a backend is one call.
func (a *applier) needPool(id string) {
	if a.t.get(KindPool, id) != nil {
		return
	}
	p := &Pool{PoolSpec: PoolSpec{ID: id}, Stamp: Stamp{CreateIndex: a.index, ModifyIndex: a.index}}
	p.Normalize()
	a.journal.touch(a.t, KindPool, id)
	a.t.put(p)
}

// status carries over what is known about a backend, and forgets what a change of address, pool or admin
// state makes untrue.
func (a *applier) status(prev *Backend, s *BackendSpec) BackendStatus {
	if prev == nil {
		return BackendStatus{Gen: a.index, AdminIndex: a.index, AdminSince: a.at, Verdict: VerdictUnknown, StateSince: a.at, StateIndex: a.index}
	}
	st := prev.BackendStatus
	if prev.Address != s.Address || prev.Pool != s.Pool {
		st.Gen, st.Verdict, st.VerdictText = a.index, VerdictUnknown, ""
		st.StateSince, st.StateIndex = a.at, a.index
	}
	if prev.AdminState != s.AdminState {
		st.AdminIndex, st.AdminSince = a.index, a.at
		if st.Drained {
			st.Drained, st.StateSince, st.StateIndex = false, a.at, a.index
		}
	}
	return st
}

func (a *applier) delete(op Op, old Object) (OpResult, *Refusal) {
	res := OpResult{Kind: op.Kind, ID: op.ID, Effect: EffectDeleted, ModifyIndex: a.index}
	switch {
	case op.Kind == KindBackend && !op.Force:
		return a.decommission(old.(*Backend), op.Value)
	case op.Kind == KindToken:
		if refusal := a.keepAdmin(old, nil, op.Force); refusal != nil {
			return res, refusal
		}
	case op.Kind == KindCertificate:
		if refs := a.certificateRefs(op.ID); len(refs) > 0 { // even with force: their backends would refuse the pools
			return res, &Refusal{
				Code: CodeInUse, Refs: refs,
				Message: fmt.Sprintf("certificate %q is shown to the backends of %s; change them first", op.ID, nameSome(refs)),
			}
		}
	case op.Kind == KindFrontend && !op.Force:
		for m := range a.t.v.MeetingsOf(op.ID) {
			return res, &Refusal{
				Code:    CodeInUse,
				Message: fmt.Sprintf("frontend %q has meetings, such as %q: end them first, or force, and they go on until their people leave", op.ID, m.ID),
			}
		}
		for r := range a.t.v.RecordingsOf(op.ID, "") {
			return res, &Refusal{
				Code:    CodeInUse,
				Message: fmt.Sprintf("frontend %q has recordings, such as %q: delete them first, or force, and they are deleted with it", op.ID, r.ID),
			}
		}
	case op.Kind == KindPool:
		if refs := a.poolRefs(op.ID); len(refs) > 0 && !op.Force {
			return res, &Refusal{
				Code: CodeInUse, Refs: refs,
				Message: fmt.Sprintf("pool %q is used by %s; change or delete them first, or force", op.ID, nameSome(refs)),
			}
		}
		for _, id := range a.t.poolMembers(op.ID) {
			a.remove(KindBackend, id)
		}
	}
	a.remove(op.Kind, op.ID)
	return res, nil
}

func (a *applier) remove(k Kind, id string) {
	a.journal.touch(a.t, k, id)
	a.t.delete(k, id)
	a.config = true
	switch k {
	case KindBackend:
		a.t.v.bbb.forgetBackend(id)
	case KindFrontend:
		a.t.v.bbb.forgetFrontend(id)
	}
}

func (a *applier) decommission(b *Backend, value json.RawMessage) (OpResult, *Refusal) {
	res := OpResult{Kind: KindBackend, ID: b.ID, Effect: EffectUpdated, ModifyIndex: a.index}
	s, refusal := decommissioned(b, value)
	if refusal != nil {
		return res, refusal
	}
	if s.AdminState == b.AdminState && s.Drain == b.Drain {
		res.Effect, res.ModifyIndex = EffectUnchanged, b.ModifyIndex
		return res, nil
	}
	a.store(s, b)
	return res, nil
}

// poolRefs lists what names a pool, as kind/id.
func (a *applier) poolRefs(pool string) []string {
	var refs []string
	a.t.tree(KindRoute).Root().Walk(func(_ []byte, o Object) bool {
		if r := o.(*Route); slices.Contains(r.Pools(), pool) {
			refs = append(refs, "route/"+r.ID)
		}
		return false
	})
	for _, id := range a.t.poolMembers(pool) {
		refs = append(refs, "backend/"+id)
	}
	return refs
}

func nameSome(refs []string) string {
	const most = 5
	s := ""
	for i, r := range refs {
		if i == most {
			return fmt.Sprintf("%s and %d more", s, len(refs)-most)
		}
		if i > 0 {
			s += ", "
		}
		s += r
	}
	return s
}

func (a *applier) states(changes []StateChange) {
	for _, ch := range changes {
		b, ok := a.t.get(KindBackend, ch.ID).(*Backend)
		if !ok {
			continue
		}
		next, changed := *b, false
		if ch.To != "" && ch.Gen == b.Gen && ch.From == b.Verdict && ch.To != b.Verdict {
			next.Verdict, next.VerdictText, changed = ch.To, ch.Text, true
		}
		if ch.Drained != 0 && ch.Drained == b.AdminIndex && b.Draining() && !a.t.v.HasMeetings(b.ID) {
			next.Drained, changed = true, true
		}
		if !changed {
			continue
		}
		a.state = true
		if next.Drained && next.AdminState == AdminDecommissioned {
			a.remove(KindBackend, b.ID)
			continue
		}
		next.StateSince, next.StateIndex = a.at, a.index
		a.t.put(&next)
	}
}

// mergePatch is RFC 7396 on a spec's JSON form.
func mergePatch(target Spec, patch json.RawMessage) (json.RawMessage, error) {
	cur, err := json.Marshal(target)
	if err != nil {
		return nil, err
	}
	var doc, p any
	if err := decodeExact(cur, &doc); err != nil {
		return nil, err
	}
	if err := decodeExact(patch, &p); err != nil {
		return nil, err
	}
	if _, ok := p.(map[string]any); !ok {
		return nil, fmt.Errorf("a patch must be a JSON object")
	}
	return json.Marshal(merge(doc, p))
}

// decodeExact keeps numbers as written.
func decodeExact(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	return d.Decode(v)
}

func merge(target, patch any) any {
	p, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	t, ok := target.(map[string]any)
	if !ok {
		t = map[string]any{}
	}
	for k, v := range p {
		if v == nil {
			delete(t, k)
		} else {
			t[k] = merge(t[k], v)
		}
	}
	return t
}
