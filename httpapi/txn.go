package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/internal/strictjson"
	"github.com/lbnode/lbnode/state"
)

// runTxn does POST /txn: one log entry, all or nothing.
func runTxn(c *call) (answer, error) {
	within, err := c.confirmWithin()
	if err != nil {
		return answer{}, err
	}
	body, err := c.readBody()
	if err != nil {
		return answer{}, err
	}
	var in api.TxnInput
	if _, err := strictjson.Decode(body, &in, strictjson.Options{}); err != nil {
		return answer{}, err
	}
	if len(in.Ops) == 0 || len(in.Ops) > api.MaxOps {
		return answer{}, strictjson.Errors{{Pointer: "/ops", Message: fmt.Sprintf("must have 1 to %d operations, got %d", api.MaxOps, len(in.Ops))}}
	}
	v := c.s.cfg.Store.View()
	b := batch{confirmWithin: within}
	var errs strictjson.Errors
	for i, op := range in.Ops {
		errs = append(errs, b.add(v, op, fmt.Sprintf("/ops/%d", i))...)
	}
	if len(errs) > 0 {
		return answer{}, errs
	}
	res, err := c.propose(&b, "")
	if err != nil {
		return answer{}, err
	}
	return answer{body: api.TxnResult{Index: res.Index, Ops: opsAnswer(res.Ops), ConfirmBy: c.confirmBy(res.Index)}}, nil
}

func opsAnswer(ops []state.OpResult) []api.OpResult {
	out := make([]api.OpResult, len(ops))
	for i, r := range ops {
		out[i] = api.OpResult{Kind: string(r.Kind), ID: r.ID, Effect: string(r.Effect), ModifyIndex: r.ModifyIndex}
	}
	return out
}

// batch is the operations of one command with what errors about them must be told with.
type batch struct {
	ops   []state.Op
	at    []string // pointer of the operation in the body, by operation
	value []string // pointer of its value
	lists []lists  // of its value, as written

	confirmWithin time.Duration     // 0 = the change stays
	settle        *state.Settlement // nil = none
}

// add checks one operation of a transaction as far as it can be checked without the objects. at is its pointer.
func (b *batch) add(v *state.View, in api.TxnOp, at string) strictjson.Errors {
	var errs strictjson.Errors
	bad := func(field, format string, args ...any) {
		errs = append(errs, strictjson.Error{Pointer: at + field, Message: fmt.Sprintf(format, args...)})
	}
	op := state.Op{Verb: state.Verb(in.Op), Kind: state.Kind(in.Kind), ID: in.ID, IfMatch: in.IfMatch, Force: in.Force}
	hasValue := op.Verb == state.VerbCreate || op.Verb == state.VerbPut || op.Verb == state.VerbPatch
	if !hasValue && op.Verb != state.VerbDelete {
		bad("/op", "must be one of create, put, patch, delete, got %q", in.Op)
	}
	if !slices.Contains(configKinds(), op.Kind) {
		bad("/kind", "must be one of backend, pool, route, frontend, settings, got %q", in.Kind)
	}
	if in.Force && op.Verb != state.VerbDelete {
		bad("/force", "goes with delete only")
	}
	switch {
	case hasValue && in.Value == nil:
		bad("/value", "must be there")
	case !hasValue && in.Value != nil:
		bad("/value", "does not go with %s", in.Op)
	}
	if len(errs) > 0 {
		return errs
	}
	if op.Kind == state.KindBackend && v.Get(op.Kind, op.ID) == nil {
		found, err := byAddress(v, op.ID)
		var ambiguous *failure
		switch {
		case errors.As(err, &ambiguous):
			bad("/id", "%s", ambiguous.detail)
		case found != nil:
			op.ID = found.ID
		}
	}
	if msg := state.CheckID(op.ID); msg != "" && len(errs) == 0 {
		bad("/id", "%s", msg)
	}
	res := resourceOf(op.Kind)
	var l lists
	var found strictjson.Errors
	switch op.Verb {
	case state.VerbCreate, state.VerbPut:
		op.Value, l, found = res.whole(in.Value, op.ID)
	case state.VerbPatch:
		op.Value, l, found = res.part(in.Value)
	case state.VerbDelete:
	}
	for _, e := range found {
		bad("/value"+e.Pointer, "%s", e.Message)
	}
	b.push(op, at, at+"/value", l)
	return errs
}

func (b *batch) push(op state.Op, at, value string, l lists) {
	b.ops, b.at, b.value, b.lists = append(b.ops, op), append(b.at, at), append(b.value, value), append(b.lists, l)
}

// whole checks a whole object with the id that it must have, and returns it as the log has it.
func (res resource) whole(raw json.RawMessage, id string) (json.RawMessage, lists, strictjson.Errors) {
	spec := state.NewSpec(res.kind)
	doc, err := strictjson.Decode(raw, spec, strictjson.Options{Ignored: res.readOnly})
	var errs strictjson.Errors
	if err != nil && !errors.As(err, &errs) {
		errs = strictjson.Errors{{Message: err.Error()}}
	}
	if doc == nil {
		return nil, nil, errs
	}
	idWrong := slices.ContainsFunc(errs, func(e strictjson.Error) bool { return e.Pointer == "/id" })
	if doc["id"] != nil && !idWrong && spec.ObjectID() != id {
		errs = append(errs, strictjson.Error{Pointer: "/id", Message: fmt.Sprintf("must be %q as in the operation, or left out", id)})
	}
	setID(spec, id)
	doc["id"] = quote(id)
	l := listsOf(spec)
	spec.Normalize()
	errs = addInvalid(errs, l.repoint(spec, spec.Validate()))
	value, err := json.Marshal(doc)
	if err != nil {
		errs = append(errs, strictjson.Error{Message: err.Error()})
	}
	return value, l, errs
}

// part checks a merge patch as far as it can be checked without the object.
func (res resource) part(raw json.RawMessage) (json.RawMessage, lists, strictjson.Errors) {
	spec := state.NewSpec(res.kind)
	doc, err := strictjson.Decode(raw, spec, strictjson.Options{Null: true, ReadOnly: res.readOnly})
	var errs strictjson.Errors
	if err != nil && !errors.As(err, &errs) {
		errs = strictjson.Errors{{Message: err.Error()}}
	}
	if len(errs) > 0 {
		return nil, nil, errs
	}
	value, err := json.Marshal(doc)
	if err != nil {
		errs = append(errs, strictjson.Error{Message: err.Error()})
	}
	return value, listsOf(spec), errs
}

// propose has the operations of a batch done in one command and waits until this node shows their effect.
// note says in the history what they are part of.
func (c *call) propose(b *batch, note string) (state.Result, error) {
	ctx, cancel := context.WithTimeout(c.r.Context(), c.s.cfg.WriteTimeout)
	defer cancel()
	cmd := c.command(b.ops)
	cmd.Note = note
	cmd.ConfirmWithin, cmd.Settle = state.Duration(b.confirmWithin), b.settle
	if b.confirmWithin > 0 {
		cmd.Note = strings.TrimPrefix(note+", to be confirmed by "+cmd.At.Add(b.confirmWithin).Format(time.RFC3339), ", ")
	}
	res, err := c.s.cfg.Store.Do(ctx, cmd)
	if err == nil && res.Refusal != nil {
		err = res.Refusal
	}
	if err != nil {
		return res, b.explain(err)
	}
	return res, nil
}

// explain makes the errors of a refusal point into the body.
func (b *batch) explain(err error) error {
	var refusal *state.Refusal
	if !errors.As(err, &refusal) || refusal.Op < 0 || refusal.Op >= len(b.ops) || refusal.Code == state.CodeReused {
		return err
	}
	i := refusal.Op
	fixed := *refusal
	fixed.Errors = nil
	if spec := state.NewSpec(b.ops[i].Kind); len(refusal.Errors) > 0 && json.Unmarshal(b.ops[i].Value, spec) == nil {
		for _, e := range b.lists[i].repoint(spec, refusal.Errors) {
			fixed.Errors = append(fixed.Errors, state.FieldError{Pointer: b.value[i] + e.Pointer, Message: e.Message})
		}
	}
	if len(fixed.Errors) == 0 {
		fixed.Errors = []state.FieldError{{Pointer: b.at[i], Message: refusal.Message}}
	}
	fixed.Message = fmt.Sprintf("nothing was changed: %s %s %q: %s", b.ops[i].Verb, b.ops[i].Kind, b.ops[i].ID, strings.TrimSpace(refusal.Message))
	return &fixed
}
