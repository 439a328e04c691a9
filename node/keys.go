package node

import (
	"context"
	"fmt"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/cluster"
	"github.com/lbnode/lbnode/cluster/transport"
	"github.com/lbnode/lbnode/httpapi"
)

var _ httpapi.Keys = apiKeys{}

// apiKeys translates the cluster keys for the admin API.
type apiKeys struct{ n *Node }

// Keys implements httpapi.Keys.
func (a apiKeys) Keys(ctx context.Context) api.ClusterKeys {
	s := a.n.cluster.Keys(ctx)
	out := api.ClusterKeys{Generation: s.Generation, Silent: s.Silent}
	for _, k := range s.Keys {
		out.Keys = append(out.Keys, api.ClusterKey(k))
	}
	return out
}

// Install implements httpapi.Keys.
func (a apiKeys) Install(ctx context.Context, text string) (api.KeyChange, error) {
	var key *transport.Key
	if text != "" {
		keys, err := transport.ParseKeys([]byte(text))
		if err != nil || len(keys) != 1 {
			return api.KeyChange{}, fmt.Errorf("%w: one was wanted", httpapi.ErrBadKey)
		}
		key = &keys[0]
	}
	return keyChange(a.n.cluster.InstallKey(ctx, key))
}

// Use implements httpapi.Keys. It answers once all that is sealed is sealed with the key, if that does not take long.
func (a apiKeys) Use(ctx context.Context, id string, force bool) (api.KeyChange, error) {
	change, err := a.n.cluster.UseKey(ctx, id, force)
	if err == nil {
		a.n.awaitResealed(ctx)
	}
	return keyChange(change, err)
}

// Remove implements httpapi.Keys.
func (a apiKeys) Remove(ctx context.Context, id string, force bool) (api.KeyChange, error) {
	return keyChange(a.n.cluster.RemoveKey(ctx, id, force))
}

func keyChange(k cluster.KeyChange, err error) (api.KeyChange, error) {
	return api.KeyChange(k), apiError(err)
}
