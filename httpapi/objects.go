package httpapi

import (
	"errors"
	"fmt"
	"iter"
	"net/http"
	"slices"

	"github.com/lbnode/lbnode/api"
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

// configKinds are the kinds that a transaction and a configuration may hold. Tokens and certificates are not
// among them: what they are made of is not what is stored.
func configKinds() []state.Kind {
	return []state.Kind{state.KindBackend, state.KindPool, state.KindRoute, state.KindFrontend, state.KindSettings}
}

// resourceOf is the collection of a kind.
func resourceOf(k state.Kind) resource {
	stamps := []string{"create_index", "modify_index"}
	switch k {
	case state.KindBackend:
		return resource{
			kind: k, path: "/backends", filter: filterBackends,
			filters: []string{paramPool, paramTag, paramAdminState, paramNodeState},
			readOnly: append(stamps, "node_state", "draining", "drained", "verdict", "verdict_text", "admin_since", "state_since", "routable",
				"reasons", "latency_ms", "in_flight", "meetings", "attendees", "state_index", "admin_index", "gen", "bbb_secrets"),
		}
	case state.KindRoute:
		return resource{kind: k, path: "/routes", readOnly: stamps, filter: filterRoutes, filters: []string{paramPool}}
	case state.KindFrontend:
		return resource{kind: k, path: "/frontends", readOnly: append(stamps, "secret_set", "bbb_secrets"), filter: noFilter(k)}
	case state.KindSettings:
		return resource{kind: k, path: "/settings", readOnly: stamps}
	case state.KindCertificate:
		return resource{kind: k, path: "/certificates", readOnly: append(stamps, "names", "issuer", "serial", "not_before", "not_after", "expired"), filter: noFilter(k)}
	case state.KindToken:
		return resource{kind: k, path: "/tokens", readOnly: append(stamps, "hash", "expired", "token"), filter: noFilter(k)}
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
			if (pool == "" || slices.Contains(r.Pools(), pool)) && !yield(r) {
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
	if res.kind == state.KindSettings {
		return state.SettingsID, v.Get(res.kind, state.SettingsID), nil
	}
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
