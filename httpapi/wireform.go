package httpapi

import (
	"encoding/json"
	"reflect"
	"slices"
	"time"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/state"
)

// objectChanges are changes as answers show them: in the form that a GET of the object has.
func objectChanges(in []state.ObjectChange) []api.ObjectChange {
	out := make([]api.ObjectChange, len(in))
	for i, o := range in {
		before, after := wireForm(o.Kind, o.Before), wireForm(o.Kind, o.After)
		out[i] = api.ObjectChange{
			Kind: string(o.Kind), ID: o.ID, Effect: string(o.Effect), Fields: changedFields(o, before, after), Before: before, After: after,
		}
	}
	return out
}

// wireForm is what an operator has said of an object, from the form that the history stores it in, with every
// default and without secrets: the answer of a GET less what no operator writes. It says of secrets only whether
// there are any. nil stays nil.
func wireForm(k state.Kind, stored json.RawMessage) json.RawMessage {
	spec := storedSpec(k, stored)
	if spec == nil {
		return nil
	}
	whole, err := json.Marshal(said(spec))
	if err != nil {
		return json.RawMessage(`{}`)
	}
	var doc map[string]json.RawMessage
	if err := json.Unmarshal(whole, &doc); err != nil {
		return json.RawMessage(`{}`)
	}
	for _, name := range resourceOf(k).readOnly {
		if !aboutSecrets(name) {
			delete(doc, name)
		}
	}
	shown, err := json.Marshal(doc)
	if err != nil {
		return json.RawMessage(`{}`)
	}
	return shown
}

// storedSpec reads a spec in the log's format; nil if there is none.
func storedSpec(k state.Kind, stored json.RawMessage) state.Spec {
	spec := state.NewSpec(k)
	if stored == nil || spec == nil || json.Unmarshal(stored, spec) != nil {
		return nil
	}
	spec.Normalize()
	return spec
}

// said is the answer for an object of which no more is known than what an operator has said.
func said(spec state.Spec) any {
	switch spec := spec.(type) {
	case *state.BackendSpec:
		return backendSaid(spec)
	case *state.PoolSpec:
		return poolAnswer(&state.Pool{PoolSpec: *spec})
	case *state.RouteSpec:
		return routeAnswer(&state.Route{RouteSpec: *spec})
	case *state.FrontendSpec:
		return frontendAnswer(&state.Frontend{FrontendSpec: *spec})
	case *state.SettingsSpec:
		return settingsAnswer(&state.Settings{SettingsSpec: *spec})
	case *state.CertificateSpec:
		return certificateAnswer(&state.Certificate{CertificateSpec: *spec}, time.Time{})
	case *state.TokenSpec:
		return tokenAnswer(&state.Token{TokenSpec: *spec}, time.Time{})
	}
	return nil
}

// aboutSecrets says that a field of answers tells whether there are secrets.
func aboutSecrets(name string) bool { return name == "secret_set" || name == "bbb_secrets" }

// changedFields are the pointers of what differs between two wire forms, and of the secrets that differ, which
// those do not show.
func changedFields(o state.ObjectChange, before, after json.RawMessage) []string {
	fields := slices.DeleteFunc(state.ObjectChange{Before: before, After: after}.Fields(), func(f string) bool { return aboutSecrets(f[1:]) })
	if old, now := storedSpec(o.Kind, o.Before), storedSpec(o.Kind, o.After); old != nil && now != nil {
		is, was := secretsOf(now), secretsOf(old)
		for pointer := range is {
			if !reflect.DeepEqual(was[pointer], is[pointer]) {
				fields = append(fields, pointer)
			}
		}
	}
	slices.Sort(fields)
	return list(fields)
}

// secretsOf are the secrets of an object by their pointers.
func secretsOf(spec state.Spec) map[string]any {
	switch spec := spec.(type) {
	case *state.BackendSpec:
		return map[string]any{"/bbb/secrets": append([]string{}, spec.BBB.Secrets...)}
	case *state.FrontendSpec:
		return map[string]any{"/secret": spec.Secret, "/bbb/secrets": append([]string{}, spec.BBB.Secrets...)}
	case *state.CertificateSpec:
		return map[string]any{"/private_key": spec.PrivateKey}
	case *state.TokenSpec:
		return map[string]any{"/hash": spec.Hash}
	}
	return nil
}
