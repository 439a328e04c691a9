package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"slices"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/internal/strictjson"
	"github.com/lbnode/lbnode/state"
)

// resource is a collection of objects with the usual verbs.
type resource struct {
	kind     state.Kind
	path     string
	readOnly []string // fields of answers that no operator writes
	filters  []string // further parameters of lists
	// filter checks those and returns what a list goes through.
	filter func(v *state.View, p params) (iter.Seq[state.Object], error)
}

// resourceOf is the collection of a kind.
func resourceOf(k state.Kind) resource {
	stamps := []string{"create_index", "modify_index"}
	switch k {
	case state.KindBackend:
		return resource{kind: k, path: "/backends", filter: filterBackends,
			filters: []string{paramPool, paramTag, paramAdminState, paramNodeState},
			readOnly: append(stamps, "node_state", "draining", "drained", "verdict", "verdict_text", "admin_since", "state_since", "routable",
				"reasons", "latency_ms", "in_flight", "meetings", "attendees", "state_index", "admin_index", "gen")}
	case state.KindRoute:
		return resource{kind: k, path: "/routes", readOnly: stamps, filter: filterRoutes, filters: []string{paramPool}}
	case state.KindFrontend:
		return resource{kind: k, path: "/frontends", readOnly: append(stamps, "secret_set"), filter: noFilter(k)}
	case state.KindPool:
	}
	return resource{kind: k, path: "/" + string(k) + "s", readOnly: stamps, filter: noFilter(k)}
}

func noFilter(k state.Kind) func(*state.View, params) (iter.Seq[state.Object], error) {
	return func(v *state.View, _ params) (iter.Seq[state.Object], error) { return v.All(k), nil }
}

func filterRoutes(v *state.View, p params) (iter.Seq[state.Object], error) {
	pool := p.get(paramPool)
	return func(yield func(state.Object) bool) {
		for r := range v.Routes() {
			if (pool == "" || r.BackendPool == pool) && !yield(r) {
				return
			}
		}
	}, nil
}

func filterBackends(v *state.View, p params) (iter.Seq[state.Object], error) {
	err := errors.Join(
		oneOf(p, paramAdminState, state.AdminInit, state.AdminReady, state.AdminStopped, state.AdminDecommissioned),
		oneOf(p, paramNodeState, state.NodeInit, state.NodeReady, state.NodeStopped, state.NodeError, state.NodeDecommissioned))
	if err != nil {
		return nil, err
	}
	admin, node, tags := p.get(paramAdminState), p.get(paramNodeState), p[paramTag]
	return func(yield func(state.Object) bool) {
		for b := range backendsOf(v, p.get(paramPool)) {
			lacks := slices.ContainsFunc(tags, func(t string) bool { return !slices.Contains(b.Tags, t) })
			if lacks || admin != "" && string(b.AdminState) != admin || node != "" && string(b.NodeState()) != node {
				continue
			}
			if !yield(b) {
				return
			}
		}
	}, nil
}

// backendsOf goes through the backends of a pool, or all for "", by id.
func backendsOf(v *state.View, pool string) iter.Seq[*state.Backend] {
	if pool == "" {
		return v.Backends()
	}
	return v.PoolBackends(pool)
}

func (res resource) list(c *call) (answer, error) {
	v := c.s.cfg.Store.View()
	seq, err := res.filter(v, c.params)
	if err != nil {
		return answer{}, err
	}
	objects, header, err := page(c, seq, state.Object.ObjectID)
	if err != nil {
		return answer{}, err
	}
	conv := c.s.converter(v)
	out := make([]any, len(objects))
	for i, o := range objects {
		out[i] = conv.object(o)
	}
	return answer{body: out, view: v, header: header}, nil
}

func (res resource) get(c *call) (answer, error) {
	v := c.s.cfg.Store.View()
	id, old, err := res.resolve(c, v)
	if err != nil {
		return answer{}, err
	}
	if old == nil {
		return answer{}, res.missing(id)
	}
	return c.object(v, old), nil
}

func (res resource) missing(id string) error {
	return &failure{status: http.StatusNotFound, code: api.CodeNotFound, detail: fmt.Sprintf("there is no %s %q", res.kind, id)}
}

// object answers with one object and its ETag.
func (c *call) object(v *state.View, o state.Object) answer {
	return answer{body: c.s.converter(v).object(o), view: v, header: http.Header{"Etag": {api.ETag(o.Stamps().ModifyIndex)}}}
}

// resolve finds the object that the path names, by id or, for a backend, by address. An id that this node
// does not know is returned with a nil object: the leader may know it. An address that nobody has is an error.
func (res resource) resolve(c *call, v *state.View) (string, state.Object, error) {
	ref, err := c.pathID()
	if err != nil {
		return "", nil, err
	}
	if old := v.Get(res.kind, ref); old != nil {
		return ref, old, nil
	}
	_, notAddress := state.ParseAddress(ref)
	if res.kind == state.KindBackend && notAddress == nil {
		b, err := byAddress(v, ref)
		if err != nil {
			return "", nil, err
		}
		if b == nil {
			return "", nil, res.missing(ref)
		}
		return b.ID, b, nil
	}
	if state.CheckID(ref) != "" && c.r.Method != http.MethodPut { // PUT says what is wrong with the id
		return "", nil, res.missing(ref)
	}
	return ref, nil, nil
}

// byAddress finds the one backend at an address, or nil.
func byAddress(v *state.View, address string) (*state.Backend, error) {
	found := v.FindBackends(address)
	if len(found) == 0 {
		return nil, nil
	}
	if len(found) == 1 {
		return found[0], nil
	}
	f := &failure{status: http.StatusConflict, code: api.CodeAmbiguous}
	for _, b := range found {
		f.refs = append(f.refs, string(state.KindBackend)+"/"+b.ID)
	}
	f.detail = fmt.Sprintf("%d backends have the address %q; use the id of one of them: %s", len(found), address, nameSome(found))
	return nil, f
}

func nameSome(found []*state.Backend) string {
	const most = 5
	s := ""
	for i, b := range found {
		if i == most {
			return fmt.Sprintf("%s and %d more", s, len(found)-most)
		}
		if i > 0 {
			s += ", "
		}
		s += b.ID
	}
	return s
}

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
		return answer{}, &failure{status: http.StatusPreconditionFailed, code: api.CodeMismatch,
			detail: fmt.Sprintf("%s %q exists, and If-None-Match: * asked for a new one", res.kind, id)}
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
		return answer{}, &failure{status: http.StatusNotFound, code: api.CodeNotFound,
			detail: fmt.Sprintf("the change of %s %q was made at index %d, and the object has been deleted since", res.kind, op.ID, r.ModifyIndex)}
	}
	a := c.object(v, o)
	if r.Effect == state.EffectCreated {
		a.status = http.StatusCreated
		a.header.Set("Location", c.base()+res.path+"/"+op.ID)
	}
	return a, nil
}

// do proposes one operation and waits until this node shows its effect.
func (c *call) do(op state.Op) (state.OpResult, error) {
	ctx, cancel := context.WithTimeout(c.r.Context(), c.s.cfg.WriteTimeout)
	defer cancel()
	res, err := c.s.cfg.Store.Do(ctx, state.Command{Type: state.TypeTxn, RequestID: c.requestID(), Actor: c.actor(), At: c.now(), Ops: []state.Op{op}})
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
		return res.commitRaw(c, op, map[string]json.RawMessage{"admin_state": quote(string(to))})
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
	return a == b || len(a) > len(b) && bytes.HasPrefix([]byte(a), []byte(b)) && a[len(b)] == '/'
}
