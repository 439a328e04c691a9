package apitest

import (
	"context"
	"fmt"
	"slices"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/httpapi"
)

// keys is an httpapi.Keys over a Fake's KeyRing: its members confirm unless they are silent.
type keys struct{ f *Fake }

func (k keys) Keys(context.Context) api.ClusterKeys {
	k.f.mu.Lock()
	defer k.f.mu.Unlock()
	return k.f.KeyRing
}

func (k keys) Install(_ context.Context, text string) (api.KeyChange, error) {
	if text == "bad" {
		return api.KeyChange{}, fmt.Errorf("%w: test", httpapi.ErrBadKey)
	}
	return k.change("00c0ffee", func(r *api.ClusterKeys) {
		r.Keys = append(r.Keys, api.ClusterKey{ID: "00c0ffee", Nodes: []string{"n1"}})
	})
}

func (k keys) Use(_ context.Context, id string, force bool) (api.KeyChange, error) {
	return k.existing(id, force, func(r *api.ClusterKeys) {
		for i := range r.Keys {
			r.Keys[i].InUse = r.Keys[i].ID == id
		}
	})
}

func (k keys) Remove(_ context.Context, id string, force bool) (api.KeyChange, error) {
	return k.existing(id, force, func(r *api.ClusterKeys) {
		r.Keys = slices.DeleteFunc(slices.Clone(r.Keys), func(key api.ClusterKey) bool { return key.ID == id })
	})
}

func (k keys) existing(id string, force bool, f func(*api.ClusterKeys)) (api.KeyChange, error) {
	ring := k.Keys(context.Background())
	if !slices.ContainsFunc(ring.Keys, func(key api.ClusterKey) bool { return key.ID == id }) {
		return api.KeyChange{}, fmt.Errorf("%w: %s", httpapi.ErrUnknownKey, id)
	}
	if len(ring.Silent) > 0 && !force {
		return api.KeyChange{}, fmt.Errorf("%w: %v do not answer", httpapi.ErrNotSafe, ring.Silent)
	}
	return k.change(id, f)
}

func (k keys) change(id string, f func(*api.ClusterKeys)) (api.KeyChange, error) {
	k.f.mu.Lock()
	defer k.f.mu.Unlock()
	f(&k.f.KeyRing)
	k.f.KeyRing.Generation++
	return api.KeyChange{ID: id, Confirmed: []string{"n1"}, Unconfirmed: k.f.KeyRing.Silent}, nil
}
