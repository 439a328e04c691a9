package httpapi

import (
	"encoding/json"
	"fmt"
	"reflect"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/internal/strictjson"
	"github.com/lbnode/lbnode/state"
)

const (
	paramDryRun = "dry_run"
	paramPrune  = "prune"
)

// applyDocument does POST /apply: it makes the configuration what the document says, in one change.
func applyDocument(c *call) (answer, error) {
	dry, err := c.params.flag(paramDryRun)
	if err != nil {
		return answer{}, err
	}
	prune, err := c.params.flag(paramPrune)
	if err != nil {
		return answer{}, err
	}
	within, err := c.confirmWithin()
	if err != nil {
		return answer{}, err
	}
	body, err := c.readBody()
	if err != nil {
		return answer{}, err
	}
	var in api.ApplyInput
	if _, err := strictjson.Decode(body, &in, strictjson.Options{}); err != nil {
		return answer{}, err
	}
	v := c.s.cfg.Store.View()
	d := desired{v: v, wanted: map[string]bool{}, pools: map[string]bool{}, kept: []string{}}
	d.want(state.KindPool, in.Pools)
	d.want(state.KindBackend, in.Backends)
	d.want(state.KindRoute, in.Routes)
	d.want(state.KindFrontend, in.Frontends)
	d.wantSettings(in.Settings)
	if len(d.errs) > 0 {
		return answer{}, d.errs
	}
	if prune {
		d.prune(in)
	}
	out := api.ApplyResult{DryRun: dry, Index: v.Index, Objects: []api.ObjectChange{}, Kept: d.kept}
	if len(d.ops) == 0 {
		if ch, ok := c.doneBefore(v); ok && !dry { // by this very request, which is here again
			out.Applied, out.Index, out.Objects, out.ConfirmBy = true, ch.Index, objectChanges(ch.Objects), c.confirmBy(ch.Index)
		}
		return answer{body: out, view: v}, nil
	}
	d.confirmWithin = within
	// What would happen is what Apply says on a copy; nothing of it is kept.
	next, res := state.Apply(v, v.Index+1, v.Term, state.Command{
		Type: state.TypeTxn, At: c.now(), Ops: d.ops, ConfirmWithin: state.Duration(within), Scope: c.who.pools,
	})
	if res.Refusal != nil {
		return answer{}, d.explain(res.Refusal)
	}
	if ch, ok := next.Change(v.Index + 1); ok {
		out.Objects = objectChanges(ch.Objects)
	}
	if dry {
		return answer{body: out, view: v}, nil
	}
	if res, err = c.propose(&d.batch, "apply"); err != nil {
		return answer{}, err
	}
	out.Applied, out.Index, out.ConfirmBy = true, res.Index, c.confirmBy(res.Index)
	return answer{body: out}, nil
}

// desired makes the operations between what is and what a document wants.
type desired struct {
	batch
	v      *state.View
	errs   strictjson.Errors
	wanted map[string]bool // kind/id
	pools  map[string]bool // that wanted backends and routes name
	kept   []string
}

// want adds the objects of one kind.
func (d *desired) want(k state.Kind, objects []json.RawMessage) {
	res := resourceOf(k)
	for i, raw := range objects {
		at := fmt.Sprintf("%s/%d", res.path, i)
		bad := func(pointer, message string) {
			d.errs = append(d.errs, strictjson.Error{Pointer: at + pointer, Message: message})
		}
		var named struct {
			ID string `json:"id"`
		}
		_ = json.Unmarshal(raw, &named) // what is wrong with it whole says
		value, l, errs := res.whole(raw, named.ID)
		for _, e := range errs {
			bad(e.Pointer, e.Message)
		}
		ref := string(k) + "/" + named.ID
		if d.wanted[ref] {
			bad("/id", fmt.Sprintf("%q is there twice", named.ID))
			continue
		}
		d.wanted[ref] = true
		if len(errs) == 0 {
			d.change(k, named.ID, value, at, l)
		}
	}
}

// wantSettings adds those of the cluster, which are there before they are first written.
func (d *desired) wantSettings(raw json.RawMessage) {
	if raw == nil {
		return
	}
	at := "/settings"
	value, l, errs := resourceOf(state.KindSettings).whole(raw, state.SettingsID)
	for _, e := range errs {
		d.errs = append(d.errs, strictjson.Error{Pointer: at + e.Pointer, Message: e.Message})
	}
	if len(errs) > 0 {
		return
	}
	if spec, bad := state.DecodeSpec(state.KindSettings, value, nil); len(bad) == 0 && reflect.DeepEqual(d.v.Settings().Spec(), spec) {
		return
	}
	d.change(state.KindSettings, state.SettingsID, value, at, l)
}

// change adds an operation if an object is not already as it is wanted.
func (d *desired) change(k state.Kind, id string, value json.RawMessage, at string, l lists) {
	old := d.v.Get(k, id)
	spec, errs := state.DecodeSpec(k, value, old)
	for _, e := range errs {
		d.errs = append(d.errs, strictjson.Error{Pointer: at + e.Pointer, Message: e.Message})
	}
	switch s := spec.(type) {
	case *state.BackendSpec:
		d.pools[s.Pool] = true
	case *state.RouteSpec:
		for _, id := range s.Pools() {
			d.pools[id] = true
		}
	}
	op := state.Op{Verb: state.VerbCreate, Kind: k, ID: id, Value: value}
	if old != nil {
		if len(errs) > 0 || reflect.DeepEqual(old.Spec(), spec) {
			return
		}
		op.Verb, op.IfMatch = state.VerbPut, old.Stamps().ModifyIndex
	}
	d.push(op, at, at, l)
}

// prune adds the removal of what the document does not list; a section that is left out is not touched.
func (d *desired) prune(in api.ApplyInput) {
	if in.Routes != nil {
		d.removeUnwanted(state.KindRoute)
	}
	if in.Frontends != nil {
		d.removeUnwanted(state.KindFrontend)
	}
	if in.Backends != nil {
		d.removeUnwanted(state.KindBackend)
	}
	if in.Pools != nil {
		d.removeUnwanted(state.KindPool)
	}
}

func (d *desired) removeUnwanted(k state.Kind) {
	for o := range d.v.All(k) {
		ref := string(k) + "/" + o.ObjectID()
		if d.wanted[ref] {
			continue
		}
		switch o := o.(type) {
		case *state.Backend:
			if o.AdminState == state.AdminDecommissioned {
				continue
			}
		case *state.Pool:
			if d.pools[o.ID] { // it would come back at once, with default settings
				continue
			}
			if d.hasUnlisted(o.ID) {
				d.kept = append(d.kept, ref)
				continue
			}
		}
		d.push(state.Op{Verb: state.VerbDelete, Kind: k, ID: o.ObjectID(), IfMatch: o.Stamps().ModifyIndex}, "", "", nil)
	}
}

// hasUnlisted says that backends which the document does not list are in a pool: they drain, or stay.
func (d *desired) hasUnlisted(pool string) bool {
	for b := range d.v.PoolBackends(pool) {
		if !d.wanted[string(state.KindBackend)+"/"+b.ID] {
			return true
		}
	}
	return false
}
