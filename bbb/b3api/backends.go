package b3api

import (
	"cmp"
	"crypto/hmac"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/lbnode/lbnode/state"
)

// newPool is the pool that a first backend is given.
const newPool = "bbb"

// tries is how often a change begins anew because another one came in between.
const tries = 8

// servers are the backends that the caller may see, by host.
func (c *call) servers(v *state.View) []*state.Backend {
	var out []*state.Backend
	for b := range v.Backends() {
		if isServer(v, b) && (!c.who.agent() || b.BBB.AgentRef != "" && b.BBB.AgentRef == c.who.ref) {
			out = append(out, b)
		}
	}
	slices.SortStableFunc(out, func(a, b *state.Backend) int { return cmp.Compare(hostURL(a.Address), hostURL(b.Address)) })
	return out
}

// byHost finds the backends that a host means: those that are written like that, or else the only one that it can mean.
func byHost(all []*state.Backend, host string) []*state.Backend {
	exact, loose := []*state.Backend{}, []*state.Backend{}
	for _, b := range all {
		if hostURL(b.Address) == host {
			exact = append(exact, b)
		}
		if canonical(b.Address) == canonical(host) {
			loose = append(loose, b)
		}
	}
	if len(exact) == 0 && len(loose) == 1 {
		return loose
	}
	return exact
}

func (c *call) listBackends() (any, error) {
	v, q := c.view(), c.r.URL.Query()
	all := c.servers(v)
	if q.Has("host") {
		all = byHost(all, q.Get("host"))
	}
	out := []backend{}
	for _, b := range all {
		host := hostURL(b.Address)
		if strings.Contains(host, q.Get("host__like")) && strings.Contains(strings.ToLower(host), strings.ToLower(q.Get("host__ilike"))) {
			out = append(out, c.backend(v, b))
		}
	}
	return out, nil
}

// stored finds the backend that the path names, if the caller may see it.
func (c *call) stored(v *state.View) (*state.Backend, error) {
	for _, b := range c.servers(v) {
		if b.ID == c.r.PathValue("id") {
			return b, nil
		}
	}
	return nil, errNotFound
}

func (c *call) showBackend() (any, error) {
	v := c.view()
	b, err := c.stored(v)
	if err != nil {
		return nil, err
	}
	return c.backend(v, b), nil
}

func (c *call) createBackend() (any, error) {
	in := backend{AdminState: string(state.AdminReady), LoadFactor: 1}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	in.AdminState = cmp.Or(in.AdminState, string(state.AdminReady))
	in.LoadFactor = cmp.Or(in.LoadFactor, 1)
	in.BBB.Host = strings.TrimSpace(in.BBB.Host)
	if err := in.check(); err != nil {
		return nil, err
	}
	v := c.view()
	if b := c.adoptable(v, in.BBB); b != nil {
		spec := b.BackendSpec
		spec.BBB.AgentRef, spec.LoadFactor = c.who.ref, in.LoadFactor
		o, err := op(state.VerbPut, &spec, b.ModifyIndex)
		if err != nil {
			return nil, err
		}
		if err := c.txn(o); err != nil {
			return nil, err
		}
		return c.shownBackend(b.ID)
	}
	if err := taken(v, in.BBB.Host, ""); err != nil {
		return nil, err
	}
	ops, pool, err := serverPool(v)
	if err != nil {
		return nil, err
	}
	spec := state.BackendSpec{
		ID: c.s.cfg.NewID(), Address: in.BBB.Host, Pool: pool, Weight: 1, Tags: in.Settings.Tags, LoadFactor: in.LoadFactor,
		AdminState: state.AdminState(in.AdminState), BBB: state.BackendBBB{Secrets: []string{in.BBB.Secret}},
	}
	if c.who.agent() {
		spec.BBB.AgentRef = c.who.ref
	}
	o, err := op(state.VerbCreate, &spec, 0)
	if err != nil {
		return nil, err
	}
	if err := c.txn(append(ops, o)...); err != nil {
		return nil, err
	}
	return c.shownBackend(spec.ID)
}

// adoptable is the backend that an operator made and that the agent which calls shows to be its own, by the secret; nil =
// there is none. It stays as it is but for its agent.
func (c *call) adoptable(v *state.View, at backendBBB) *state.Backend {
	if !c.who.agent() || c.who.ref == "" {
		return nil
	}
	for b := range v.Backends() {
		known := hmac.Equal([]byte(b.BBB.Secret()), []byte(at.Secret))
		if isServer(v, b) && b.BBB.AgentRef == "" && canonical(b.Address) == canonical(at.Host) && known {
			return b
		}
	}
	return nil
}

// shownBackend shows a backend that was just changed.
func (c *call) shownBackend(id string) (any, error) {
	v := c.view()
	b, ok := v.Backend(id)
	if !ok {
		return nil, errNotFound
	}
	return c.backend(v, b), nil
}

// taken refuses the host of another backend.
func taken(v *state.View, host, id string) error {
	for b := range v.Backends() {
		if b.ID != id && isServer(v, b) && canonical(b.Address) == canonical(host) {
			return fail(http.StatusConflict, fmt.Sprintf("backend %s has this host", b.ID))
		}
	}
	return nil
}

// serverPool is the pool that a new backend gets into: the first one of BigBlueButton servers, or one that is made by
// the operations that are returned.
func serverPool(v *state.View) (ops []state.Op, pool string, _ error) {
	if p, ok := v.Pool(newPool); ok && p.Health.Type == state.CheckBBB {
		return nil, newPool, nil
	}
	for p := range v.Pools() {
		if p.Health.Type == state.CheckBBB {
			return nil, p.ID, nil
		}
	}
	if _, ok := v.Pool(newPool); ok {
		return nil, "", fail(http.StatusConflict, fmt.Sprintf("pool %q is not one of BigBlueButton servers, and there is no other: set its health check to type bbb", newPool))
	}
	return []state.Op{{Verb: state.VerbCreate, Kind: state.KindPool, ID: newPool, Value: json.RawMessage(`{"health":{"type":"bbb"}}`)}}, newPool, nil
}

func (c *call) patchBackend() (any, error) {
	body, err := c.body(maxBody)
	if err != nil {
		return nil, err
	}
	return retried(func() (any, error) {
		v := c.view()
		b, err := c.stored(v)
		if err != nil {
			return nil, err
		}
		old := c.backend(v, b)
		next := old
		next.Settings.Tags = slices.Clone(old.Settings.Tags)
		if err := decodeOnto(body, &next); err != nil {
			return nil, err
		}
		alias := struct { // b3scaleagent calls bbb so
			BBB *backendBBB `json:"backend"`
		}{&next.BBB}
		if err := decodeOnto(body, &alias); err != nil {
			return nil, err
		}
		if next.BBB.Secret == "" { // not shown, so not to be lost by sending back what was
			next.BBB.Secret = b.BBB.Secret()
		}
		if err := next.check(); err != nil {
			return nil, err
		}
		if err := taken(v, next.BBB.Host, b.ID); err != nil {
			return nil, err
		}
		spec := b.BackendSpec
		next.apply(&spec, old)
		o, err := op(state.VerbPut, &spec, b.ModifyIndex)
		if err != nil {
			return nil, err
		}
		if err := c.txn(o); err != nil {
			return nil, err
		}
		return c.shownBackend(b.ID)
	})
}

// retried begins a change anew if what it was made from has changed meanwhile.
func retried(change func() (any, error)) (out any, err error) {
	for range tries {
		var refusal *state.Refusal
		if out, err = change(); !errors.As(err, &refusal) || refusal.Code != state.CodeMismatch {
			break
		}
	}
	return out, err
}

func (c *call) deleteBackend() (any, error) {
	v := c.view()
	b, err := c.stored(v)
	if err != nil {
		return nil, err
	}
	out := c.backend(v, b)
	force := c.flag("force")
	if err := c.txn(state.Op{Verb: state.VerbDelete, Kind: state.KindBackend, ID: b.ID, Force: force}); err != nil {
		return nil, err
	}
	out.AdminState = string(state.AdminDecommissioned)
	if force {
		out.AdminState = "destroyed"
	}
	return out, nil
}
