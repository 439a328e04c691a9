package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/internal/strictjson"
	"github.com/lbnode/lbnode/state"
)

// create does POST. Without an id it takes over the object that says the same, or makes a new id.
func (res resource) create(c *call) (answer, error) {
	if _, err := c.precondition(nil); err != nil {
		return answer{}, err
	}
	spec, doc, err := res.decode(c, "")
	if err != nil {
		return answer{}, err
	}
	id := spec.ObjectID()
	if doc["id"] == nil {
		id = c.chooseID(spec)
	}
	return res.commit(c, state.Op{Verb: state.VerbCreate, ID: id}, doc)
}

// put does PUT: create or replace.
func (res resource) put(c *call) (answer, error) {
	id, old, err := res.resolve(c, c.s.cfg.Store.View())
	if err != nil {
		return answer{}, err
	}
	pre, err := c.precondition(old)
	if err != nil {
		return answer{}, err
	}
	_, doc, err := res.decode(c, id)
	if err != nil {
		return answer{}, err
	}
	op := state.Op{Verb: state.VerbPut, ID: id, IfMatch: pre.index}
	if pre.create {
		op.Verb = state.VerbCreate
	}
	a, err := res.commit(c, op, doc)
	if pre.create && (isRefused(err, state.CodeExists) || err == nil && a.status != http.StatusCreated) {
		return answer{}, &failure{
			status: http.StatusPreconditionFailed, code: api.CodeMismatch,
			detail: fmt.Sprintf("%s %q exists, and If-None-Match: * asked for a new one", res.kind, id),
		}
	}
	return a, err
}

// patch does PATCH (RFC 7396). Whether the merged object is valid only the leader can say.
func (res resource) patch(c *call) (answer, error) {
	id, old, err := res.resolve(c, c.s.cfg.Store.View())
	if err != nil {
		return answer{}, err
	}
	pre, err := c.precondition(old)
	if err != nil {
		return answer{}, err
	}
	body, err := c.readBody()
	if err != nil {
		return answer{}, err
	}
	spec := state.NewSpec(res.kind)
	doc, err := strictjson.Decode(body, spec, strictjson.Options{Null: true, ReadOnly: res.readOnly})
	if err != nil {
		return answer{}, err
	}
	lists := listsOf(spec)
	a, err := res.commitRaw(c, state.Op{Verb: state.VerbPatch, ID: id, IfMatch: pre.index}, doc)
	var refusal *state.Refusal
	if errors.As(err, &refusal) {
		fixed := *refusal
		fixed.Errors = lists.repoint(spec, refusal.Errors)
		err = &fixed
	}
	return a, err
}

// remove does DELETE. A backend is first decommissioned, unless forced.
func (res resource) remove(c *call) (answer, error) {
	force, err := c.params.flag(paramForce)
	if err != nil {
		return answer{}, err
	}
	id, old, err := res.resolve(c, c.s.cfg.Store.View())
	if err != nil {
		return answer{}, err
	}
	pre, err := c.precondition(old)
	if err != nil {
		return answer{}, err
	}
	if err := c.noBody(); err != nil {
		return answer{}, err
	}
	op := state.Op{Verb: state.VerbDelete, Kind: res.kind, ID: id, IfMatch: pre.index, Force: force}
	if err := c.deleteValue(&op); err != nil {
		return answer{}, err
	}
	r, err := c.do(op)
	if err != nil {
		return answer{}, err
	}
	v := c.s.cfg.Store.View()
	// A decommissioned backend on which nothing runs is soon gone, perhaps by now.
	if b := v.Get(res.kind, id); r.Effect != state.EffectDeleted && b != nil {
		a := c.object(v, b)
		a.status = http.StatusAccepted
		return a, nil
	}
	return answer{status: http.StatusNoContent, view: v}, nil
}

// decode reads a whole object: everything that is wrong with it is reported at once. id is that of the path,
// or "".
func (res resource) decode(c *call, id string) (state.Spec, map[string]json.RawMessage, error) {
	body, err := c.readBody()
	if err != nil {
		return nil, nil, err
	}
	spec := state.NewSpec(res.kind)
	doc, err := strictjson.Decode(body, spec, strictjson.Options{Ignored: res.readOnly})
	var errs strictjson.Errors
	if err != nil && !errors.As(err, &errs) {
		return nil, nil, err
	}
	if doc == nil {
		return nil, nil, err
	}
	idWrong := slices.ContainsFunc(errs, func(e strictjson.Error) bool { return e.Pointer == "/id" })
	switch {
	case id != "" && doc["id"] != nil && !idWrong && spec.ObjectID() != id:
		errs = append(errs, strictjson.Error{Pointer: "/id", Message: fmt.Sprintf("must be %q as in the path, or left out", id)})
	case id != "":
		setID(spec, id)
		doc["id"] = quote(id)
	case doc["id"] == nil && res.kind != state.KindPool: // an id comes later; a pool without a name is of no use
		setID(spec, "x")
	}
	lists := listsOf(spec)
	spec.Normalize()
	errs = addInvalid(errs, lists.repoint(spec, spec.Validate()))
	if len(errs) > 0 {
		return nil, nil, errs
	}
	return spec, doc, nil
}

func quote(s string) json.RawMessage {
	b, _ := json.Marshal(s) // a string always encodes
	return b
}

func setID(spec state.Spec, id string) {
	switch s := spec.(type) {
	case *state.BackendSpec:
		s.ID = id
	case *state.PoolSpec:
		s.ID = id
	case *state.RouteSpec:
		s.ID = id
	case *state.FrontendSpec:
		s.ID = id
	case *state.SettingsSpec:
		s.ID = id
	case *state.TokenSpec:
		s.ID = id
	case *state.CertificateSpec:
		s.ID = id
	}
}

// commit proposes an operation with a whole object.
func (res resource) commit(c *call, op state.Op, doc map[string]json.RawMessage) (answer, error) {
	doc["id"] = quote(op.ID)
	return res.commitRaw(c, op, doc)
}

func (res resource) commitRaw(c *call, op state.Op, doc map[string]json.RawMessage) (answer, error) {
	value, err := json.Marshal(doc)
	if err != nil {
		return answer{}, fmt.Errorf("encode %s %q: %w", res.kind, op.ID, err)
	}
	op.Kind, op.Value = res.kind, value
	r, err := c.do(op)
	if err != nil {
		return answer{}, err
	}
	v := c.s.cfg.Store.View()
	o := v.Get(res.kind, op.ID)
	if o == nil {
		return answer{}, &failure{
			status: http.StatusNotFound, code: api.CodeNotFound,
			detail: fmt.Sprintf("the change of %s %q was made at index %d, and the object has been deleted since", res.kind, op.ID, r.ModifyIndex),
		}
	}
	a := c.written(v, o, r)
	if r.Effect == state.EffectCreated && res.kind != state.KindSettings { // which were there with their defaults
		a.status = http.StatusCreated
		a.header.Set("Location", c.base()+res.path+"/"+op.ID)
	}
	return a, nil
}

// written answers with the object as it is now and the ETag of what this change made of it: somebody else may have
// changed it since, and an If-Match that was not meant for that must fail.
func (c *call) written(v *state.View, o state.Object, r state.OpResult) answer {
	a := c.object(v, o)
	if r.ModifyIndex > 0 {
		a.header.Set("ETag", api.ETag(r.ModifyIndex))
	}
	return a
}

// do proposes one operation and waits until this node shows its effect.
func (c *call) do(op state.Op) (state.OpResult, error) {
	ctx, cancel := context.WithTimeout(c.r.Context(), c.s.cfg.WriteTimeout)
	defer cancel()
	res, err := c.s.cfg.Store.Do(ctx, c.command([]state.Op{op}))
	switch {
	case err != nil:
		return state.OpResult{}, fmt.Errorf("%s %s %q: %w", op.Verb, op.Kind, op.ID, err)
	case res.Refusal != nil:
		return state.OpResult{}, res.Refusal
	case len(res.Ops) != 1:
		return state.OpResult{}, fmt.Errorf("%s %s %q: got %d results for one operation", op.Verb, op.Kind, op.ID, len(res.Ops))
	}
	return res.Ops[0], nil
}

func (c *call) requestID() string { return c.w.Header().Get(api.HeaderRequestID) }

// setAdmin does enable and disable.
func setAdmin(to state.AdminState) func(*call) (answer, error) {
	return func(c *call) (answer, error) {
		res := resourceOf(state.KindBackend)
		id, old, err := res.resolve(c, c.s.cfg.Store.View())
		if err != nil {
			return answer{}, err
		}
		if err := c.noBody(); err != nil {
			return answer{}, err
		}
		op := state.Op{Verb: state.VerbPatch, ID: id}
		if len(c.r.Header.Values("If-Match")) > 0 {
			if op.IfMatch, err = matchIndex(c.r.Header.Get("If-Match"), old); err != nil {
				return answer{}, err
			}
		}
		doc := map[string]json.RawMessage{"admin_state": quote(string(to))}
		if patch, err := c.drainPatch(); err != nil {
			return answer{}, err
		} else if patch != nil {
			doc["drain"] = patch
		}
		return res.commitRaw(c, op, doc)
	}
}

// addInvalid adds what validation found where decoding found nothing: a field of the wrong type is not also
// missing.
func addInvalid(errs strictjson.Errors, found []state.FieldError) strictjson.Errors {
	decoded := errs
	for _, f := range found {
		known := slices.ContainsFunc(decoded, func(e strictjson.Error) bool { return within(e.Pointer, f.Pointer) || within(f.Pointer, e.Pointer) })
		if !known {
			errs = append(errs, strictjson.Error(f))
		}
	}
	return errs
}

// within says that the pointer a is b or below it.
func within(a, b string) bool {
	return a == b || strings.HasPrefix(a, b+"/")
}
