package httpapi

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/internal/strictjson"
)

// What a Keys' methods return, besides ErrNotSafe, ErrBusy, state.ErrNoLeader and state.ErrOutcomeUnknown.
var (
	// ErrUnknownKey says that no cluster key has this id.
	ErrUnknownKey = errors.New("there is no such key")
	// ErrBadKey says that the text is no cluster key. Its text does not show it.
	ErrBadKey = errors.New("this is no key")
)

// Keys is the cluster keys. The methods may be called concurrently; all of them ask other nodes.
type Keys interface {
	// Keys says which member holds which key.
	Keys(ctx context.Context) api.ClusterKeys
	// Install makes every member accept a key; text is as in a key file, "" for a new one.
	Install(ctx context.Context, text string) (api.KeyChange, error)
	// Use makes every member use a key. force does without members that do not answer.
	Use(ctx context.Context, id string, force bool) (api.KeyChange, error)
	// Remove makes every member refuse a key. force does it although a member may still need it.
	Remove(ctx context.Context, id string, force bool) (api.KeyChange, error)
}

func keyEndpoints() []endpoint {
	return []endpoint{
		{method: http.MethodGet, path: "/cluster/keys", handle: listKeys},
		{method: http.MethodPost, path: "/cluster/keys", handle: installKey},
		{method: http.MethodPost, path: "/cluster/keys/{id}/use", params: []string{paramForce}, handle: changeKey(Keys.Use)},
		{method: http.MethodDelete, path: "/cluster/keys/{id}", params: []string{paramForce}, handle: changeKey(Keys.Remove)},
	}
}

// listKeys does GET /cluster/keys.
func listKeys(c *call) (answer, error) {
	ctx, cancel := context.WithTimeout(c.r.Context(), c.s.cfg.WriteTimeout)
	defer cancel()
	k := c.s.cfg.Keys.Keys(ctx)
	out := api.ClusterKeys{Generation: k.Generation, Keys: make([]api.ClusterKey, len(k.Keys)), Silent: list(k.Silent)}
	for i, key := range k.Keys {
		key.Nodes, key.UsedBy = list(key.Nodes), list(key.UsedBy)
		out.Keys[i] = key
	}
	return answer{body: out}, nil
}

// installKey does POST /cluster/keys.
func installKey(c *call) (answer, error) {
	body, err := c.readBody()
	if err != nil {
		return answer{}, err
	}
	var in api.InstallKeyInput
	if len(strings.TrimSpace(string(body))) > 0 {
		if _, err := strictjson.Decode(body, &in, strictjson.Options{}); err != nil {
			return answer{}, err
		}
	}
	ctx, cancel := context.WithTimeout(c.r.Context(), c.s.cfg.WriteTimeout)
	defer cancel()
	return keyAnswer(c.s.cfg.Keys.Install(ctx, in.Key))
}

// changeKey does what concerns a key that is there.
func changeKey(change func(k Keys, ctx context.Context, id string, force bool) (api.KeyChange, error)) func(*call) (answer, error) {
	return func(c *call) (answer, error) {
		force, err := c.params.flag(paramForce)
		if err != nil {
			return answer{}, err
		}
		id, err := c.pathID()
		if err != nil {
			return answer{}, err
		}
		if err := c.noBody(); err != nil {
			return answer{}, err
		}
		ctx, cancel := context.WithTimeout(c.r.Context(), c.s.cfg.WriteTimeout)
		defer cancel()
		return keyAnswer(change(c.s.cfg.Keys, ctx, id, force))
	}
}

// keyAnswer is 200 once every member has confirmed, else 202.
func keyAnswer(k api.KeyChange, err error) (answer, error) {
	if errors.Is(err, ErrBadKey) {
		return answer{}, invalid("the body is not valid", api.FieldError{Pointer: "/key", Message: "must be the base64 of 32 bytes, as `lbnode keygen` prints it"})
	}
	if err != nil {
		return answer{}, err
	}
	k.Confirmed, k.Unconfirmed = list(k.Confirmed), list(k.Unconfirmed)
	status := http.StatusOK
	if len(k.Unconfirmed) > 0 {
		status = http.StatusAccepted
	}
	return answer{status: status, body: k}, nil
}
