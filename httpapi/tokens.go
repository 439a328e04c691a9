package httpapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/internal/auth"
	"github.com/lbnode/lbnode/internal/strictjson"
	"github.com/lbnode/lbnode/state"
)

// tokenEndpoints are those of tokens. There is no PUT: a token's text cannot be chosen.
func tokenEndpoints() []endpoint {
	res := resourceOf(state.KindToken)
	one := res.path + "/{id}"
	return []endpoint{
		{method: http.MethodGet, path: res.path, params: []string{paramMinIndex, paramLimit, paramAfter}, handle: res.list},
		{method: http.MethodPost, path: res.path, handle: createToken},
		{method: http.MethodGet, path: one, params: []string{paramMinIndex}, handle: res.get},
		{method: http.MethodPatch, path: one, handle: res.patch},
		{method: http.MethodDelete, path: one, params: []string{paramForce}, handle: res.remove},
		{method: http.MethodPost, path: one + "/rotate", handle: rotateToken},
	}
}

// createToken does POST /tokens. The answer is the only one that has the token's text.
func createToken(c *call) (answer, error) {
	if _, err := c.precondition(nil); err != nil {
		return answer{}, err
	}
	body, err := c.readBody()
	if err != nil {
		return answer{}, err
	}
	spec := &state.TokenSpec{}
	doc, err := strictjson.Decode(body, spec, strictjson.Options{ReadOnly: resourceOf(state.KindToken).readOnly})
	var errs strictjson.Errors
	if err != nil && !errors.As(err, &errs) || doc == nil {
		return answer{}, err
	}
	if spec.ID == "" && doc["id"] == nil {
		spec.ID = c.s.cfg.NewID()
	}
	text := auth.Mint(spec.ID)
	spec.Hash = auth.Hash(text)
	l := listsOf(spec)
	spec.Normalize()
	errs = addInvalid(errs, l.repoint(spec, spec.Validate()))
	switch {
	case len(errs) > 0:
	case !spec.ExpiresAt.IsZero() && !spec.ExpiresAt.After(c.now()):
		errs = strictjson.Errors{{Pointer: "/expires_at", Message: "must be in the future"}}
	case c.who.open && spec.Role != state.RoleAdmin:
		errs = strictjson.Errors{{Pointer: "/role", Message: fmt.Sprintf("must be admin for the first token, after which nothing is allowed without one; got %q", spec.Role)}}
	}
	if len(errs) > 0 {
		return answer{}, errs
	}
	value, err := json.Marshal(spec)
	if err != nil {
		return answer{}, fmt.Errorf("encode token %q: %w", spec.ID, err)
	}
	a, err := c.newText(state.Op{Verb: state.VerbCreate, ID: spec.ID, Value: value}, text)
	a.status = http.StatusCreated
	return a, err
}

// rotateToken does POST /tokens/{id}/rotate: a new text for the same token. The old one is of no use from then on.
func rotateToken(c *call) (answer, error) {
	res := resourceOf(state.KindToken)
	id, old, err := res.resolve(c, c.s.cfg.Store.View())
	if err != nil {
		return answer{}, err
	}
	if err := c.noBody(); err != nil {
		return answer{}, err
	}
	text := auth.Mint(id)
	op := state.Op{Verb: state.VerbPatch, ID: id, Value: json.RawMessage(`{"hash":"` + auth.Hash(text) + `"}`)}
	if len(c.r.Header.Values("If-Match")) > 0 {
		if op.IfMatch, err = matchIndex(c.r.Header.Get("If-Match"), old); err != nil {
			return answer{}, err
		}
	}
	return c.newText(op, text)
}

// newText proposes an operation with the hash of a token's text, and answers with the text.
func (c *call) newText(op state.Op, text string) (answer, error) {
	op.Kind = state.KindToken
	_, err := c.do(op)
	switch {
	case isRefused(err, state.CodeReused): // another text: the first one is not known any more
		return answer{}, &failure{
			status: http.StatusConflict, code: api.CodeExists, refs: []string{"token/" + op.ID},
			detail: fmt.Sprintf("this request has been made before, and the text that token %q got then is not kept; rotate it to get another one", op.ID),
		}
	case isRefused(err, state.CodeExists):
		return answer{}, &failure{
			status: http.StatusConflict, code: api.CodeExists, refs: []string{"token/" + op.ID},
			detail: fmt.Sprintf("token %q exists; change it with PATCH, or rotate it to get another text", op.ID),
		}
	case err != nil:
		return answer{}, err
	}
	v := c.s.cfg.Store.View()
	t, ok := v.Token(op.ID)
	if !ok {
		return answer{}, resourceOf(state.KindToken).missing(op.ID)
	}
	a := c.object(v, t)
	a.header.Set("Location", c.base()+"/tokens/"+op.ID)
	a.body = api.TokenSecret{Token: tokenAnswer(t, c.s.cfg.Now()), Text: text}
	return a, nil
}

func tokenAnswer(t *state.Token, now time.Time) api.Token {
	return api.Token{
		ID: t.ID, Role: string(t.Role), Description: t.Description, Pools: list(t.Pools), ExpiresAt: moment(t.ExpiresAt), Expired: t.Expired(now),
		CreateIndex: t.CreateIndex, ModifyIndex: t.ModifyIndex,
	}
}
