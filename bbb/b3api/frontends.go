package b3api

import (
	"strings"

	"github.com/lbnode/lbnode/state"
)

// tenants are the frontends that the caller may see.
func (c *call) tenants(v *state.View) []*state.Frontend {
	own := !c.who.has(scopeAdmin)
	var out []*state.Frontend
	for f := range v.Frontends() {
		if f.Key != "" && (!own || c.who.ref != "" && f.BBB.AccountRef == c.who.ref) {
			out = append(out, f)
		}
	}
	return out
}

func (c *call) listFrontends() (any, error) {
	v, q := c.view(), c.r.URL.Query()
	out := []frontend{}
	for _, f := range c.tenants(v) {
		if (!q.Has("key") || f.Key == q.Get("key")) && (!q.Has("account_ref") || f.BBB.AccountRef == q.Get("account_ref")) && strings.Contains(f.Key, q.Get("key__like")) {
			out = append(out, c.frontend(v, f))
		}
	}
	return out, nil
}

// tenant finds the frontend that the path names, if the caller may see it.
func (c *call) tenant(v *state.View) (*state.Frontend, error) {
	for _, f := range c.tenants(v) {
		if f.ID == c.r.PathValue("id") {
			return f, nil
		}
	}
	return nil, errNotFound
}

func (c *call) showFrontend() (any, error) {
	v := c.view()
	f, err := c.tenant(v)
	if err != nil {
		return nil, err
	}
	return c.frontend(v, f), nil
}

func (c *call) createFrontend() (any, error) {
	var in frontend
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	in.Active = true
	if err := in.check(); err != nil {
		return nil, err
	}
	spec := state.FrontendSpec{ID: c.s.cfg.NewID()}
	in.apply(&spec)
	o, err := op(state.VerbCreate, &spec, 0)
	if err != nil {
		return nil, err
	}
	if err := c.txn(o); err != nil {
		return nil, err
	}
	return c.shownFrontend(spec.ID)
}

// shownFrontend shows a frontend that was just changed.
func (c *call) shownFrontend(id string) (any, error) {
	v := c.view()
	f, ok := v.Frontend(id)
	if !ok {
		return nil, errNotFound
	}
	return c.frontend(v, f), nil
}

func (c *call) patchFrontend() (any, error) {
	body, err := c.body(maxBody)
	if err != nil {
		return nil, err
	}
	return retried(func() (any, error) {
		v := c.view()
		f, err := c.tenant(v)
		if err != nil {
			return nil, err
		}
		next := c.frontend(v, f)
		if err := decodeOnto(body, &next); err != nil {
			return nil, err
		}
		if !c.who.has(scopeAdmin) {
			next.AccountRef = &f.BBB.AccountRef
		}
		if next.BBB.Secret == "" { // not shown, so not to be lost by sending back what was
			next.BBB.Secret = f.Secret
		}
		if err := next.check(); err != nil {
			return nil, err
		}
		spec := f.FrontendSpec
		next.apply(&spec)
		o, err := op(state.VerbPut, &spec, f.ModifyIndex)
		if err != nil {
			return nil, err
		}
		if err := c.txn(o); err != nil {
			return nil, err
		}
		return c.shownFrontend(f.ID)
	})
}

func (c *call) deleteFrontend() (any, error) {
	v := c.view()
	f, err := c.tenant(v)
	if err != nil {
		return nil, err
	}
	out := c.frontend(v, f)
	out.Active = false
	return out, c.txn(state.Op{Verb: state.VerbDelete, Kind: state.KindFrontend, ID: f.ID, Force: true})
}
