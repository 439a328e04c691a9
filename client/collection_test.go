package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/lbnode/lbnode/api"
)

func TestCollection_requests(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	tests := []struct {
		name string
		call func(*Client) error
		want string
	}{
		{"get", func(c *Client) error { _, err := c.Backends().Get(ctx, "http://a:1/"); return err }, "GET /backends/http:%2F%2Fa:1%2F "},
		{"put", func(c *Client) error {
			_, err := c.Pools().Put(ctx, "p", api.PoolInput{Algorithm: "random"}, Write{IfMatch: 3, Key: "k"})
			return err
		}, `PUT /pools/p {"algorithm":"random"} "3" k`},
		{"patch", func(c *Client) error {
			_, err := c.Routes().Patch(ctx, "r", map[string]any{"retries": nil}, Write{Key: "k"})
			return err
		}, `PATCH /routes/r {"retries":null}  k`},
		{"delete", func(c *Client) error { return c.Frontends().Delete(ctx, "f", Write{Key: "k"}) }, "DELETE /frontends/f   k"},
		{"force", func(c *Client) error { return c.Frontends().Delete(ctx, "f", Write{Key: "k", Force: true}) }, "DELETE /frontends/f?force=true   k"},
		{"enable", func(c *Client) error { _, err := c.Enable(ctx, "b", Write{Key: "k"}); return err }, "POST /backends/b/enable   k"},
		{"disable", func(c *Client) error { _, err := c.Disable(ctx, "b", Write{Key: "k", IfMatch: 9}); return err }, `POST /backends/b/disable  "9" k`},
		{"health", func(c *Client) error { _, err := c.Health(ctx); return err }, "GET /backends/health "},
		{"verbose health", func(c *Client) error { _, err := c.VerboseHealth(ctx); return err }, "GET /backends/health?verbose=true "},
		{"stats", func(c *Client) error { _, err := c.Stats(ctx, api.ScopeNode); return err }, "GET /stats?scope=node "},
		{"cluster", func(c *Client) error { _, err := c.Cluster(ctx); return err }, "GET /cluster "},
		{"remove", func(c *Client) error { return c.RemoveNode(ctx, "n", Write{Key: "k", Force: true}) }, "DELETE /nodes/n?force=true   k"},
		{"txn", func(c *Client) error {
			_, err := c.Txn(ctx, []api.TxnOp{{Op: api.OpDelete, Kind: "backend", ID: "b", Force: true}}, Write{Key: "k"})
			return err
		}, `POST /txn {"ops":[{"op":"delete","kind":"backend","id":"b","force":true}]}  k`},
		{"change", func(c *Client) error { _, err := c.Change(ctx, 7); return err }, "GET /history/7 "},
		{"diff", func(c *Client) error { _, err := c.Diff(ctx, 3, 0); return err }, "GET /history/diff?from=3 "},
		{"rollback", func(c *Client) error { _, err := c.Rollback(ctx, 7, Write{Key: "k", Force: true}); return err }, "POST /history/7/rollback?force=true   k"},
		{"apply", func(c *Client) error {
			_, err := c.Apply(ctx, api.ApplyInput{Pools: []json.RawMessage{}}, ApplyOptions{DryRun: true, Prune: true, Key: "k"})
			return err
		}, `POST /apply?dry_run=true&prune=true {"pools":[]}  k`},
		{"keys", func(c *Client) error { _, err := c.ClusterKeys(ctx); return err }, "GET /cluster/keys "},
		{"install key", func(c *Client) error { _, err := c.InstallKey(ctx, "", Write{Key: "k"}); return err }, "POST /cluster/keys   k"},
		{"install a key", func(c *Client) error { _, err := c.InstallKey(ctx, "x=", Write{Key: "k"}); return err }, `POST /cluster/keys {"key":"x="}  k`},
		{"use key", func(c *Client) error { _, err := c.UseKey(ctx, "1f", Write{Key: "k"}); return err }, "POST /cluster/keys/1f/use   k"},
		{"remove key", func(c *Client) error { _, err := c.RemoveKey(ctx, "1f", Write{Key: "k", Force: true}); return err }, "DELETE /cluster/keys/1f?force=true   k"},
		{"apply for a while", func(c *Client) error {
			_, err := c.Apply(ctx, api.ApplyInput{}, ApplyOptions{ConfirmWithin: 5 * time.Minute, Key: "k"})
			return err
		}, `POST /apply?confirm_within=5m0s {}  k`},
		{"confirm", func(c *Client) error { _, err := c.Confirm(ctx, 7, Write{Key: "k"}); return err }, "POST /apply/confirm?index=7   k"},
		{"confirm the only one", func(c *Client) error { _, err := c.Confirm(ctx, 0, Write{Key: "k"}); return err }, "POST /apply/confirm   k"},
		{"transfer", func(c *Client) error { return c.TransferLeader(ctx, "n", Write{Key: "k"}) }, `POST /cluster/transfer-leader {"to":"n"}  k`},
	}
	for _, tt := range tests {
		n := newNode(t, ok(`{}`))
		if err := tt.call(newClient(t, nil, n.URL)); err != nil {
			t.Errorf("%s = %v, want none", tt.name, err)
			continue
		}
		r := n.requests()[0]
		got := fmt.Sprintf("%s %s %s", r.Method, r.URL.RequestURI(), n.body[0])
		if r.Method != http.MethodGet {
			got += fmt.Sprintf(" %s %s", r.Header.Get("If-Match"), r.Header.Get(api.HeaderIdempotencyKey))
		}
		if got != tt.want {
			t.Errorf("%s sends %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestCollection_Create(t *testing.T) {
	t.Parallel()
	n := newNode(t, answer(201, api.ContentJSON, `{"id":"b1","new_field":1}`), ok(`{"id":"b1"}`))
	c := newClient(t, nil, n.URL)
	weight := 0
	for _, want := range []bool{true, false} {
		b, created, err := c.Backends().Create(t.Context(), api.BackendInput{Address: "a:1", Weight: &weight}, Write{})
		if err != nil || created != want || b.ID != "b1" {
			t.Errorf("Create = %v, %v, %v, want b1, %v", b, created, err, want)
		}
	}
	if want := `{"address":"a:1","weight":0}`; n.body[0] != want {
		t.Errorf("sent %s, want %s", n.body[0], want)
	}
}

func TestCollection_All(t *testing.T) {
	t.Parallel()
	const total = 7
	n := newNode(t, func(w http.ResponseWriter, r *http.Request) {
		after, _ := strconv.Atoi(r.URL.Query().Get("after"))
		limit, _ := strconv.Atoi(r.URL.Query().Get("limit"))
		out := []api.Pool{}
		for i := after + 1; i <= min(after+limit, total); i++ {
			out = append(out, api.Pool{ID: strconv.Itoa(i)})
		}
		if after+limit < total {
			w.Header().Set("Link", api.NextLink(fmt.Sprintf("/pools?limit=%d&after=%d", limit, after+limit)))
		}
		json.NewEncoder(w).Encode(out)
	})
	c := newClient(t, nil, n.URL)
	var got []string
	for p, err := range c.Pools().All(t.Context(), 3) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, p.ID)
	}
	if diff := cmp.Diff([]string{"1", "2", "3", "4", "5", "6", "7"}, got); diff != "" || len(n.requests()) != 3 {
		t.Errorf("All in %d requests, want 3 (-want +got):\n%s", len(n.requests()), diff)
	}
	for range c.Pools().All(t.Context(), 3) {
		break
	}
	if len(n.requests()) != 4 {
		t.Errorf("%d requests after a break, want one more", len(n.requests()))
	}
}

func TestCollection_All_error(t *testing.T) {
	t.Parallel()
	n := newNode(t, problem(401, "unauthorized", ""))
	calls := 0
	for _, err := range newClient(t, nil, n.URL).Routes().All(t.Context(), 10) {
		if calls++; !errors.Is(err, ErrUnauthorized) {
			t.Errorf("All yields %v, want %v", err, ErrUnauthorized)
		}
	}
	if calls != 1 {
		t.Errorf("All yields %d times, want once", calls)
	}
}

func TestCollection_decodeError(t *testing.T) {
	t.Parallel()
	n := newNode(t, ok(`[1]`))
	if _, err := newClient(t, nil, n.URL).Backends().List(t.Context()); err == nil {
		t.Error("List of numbers = nil, want an error")
	}
}

func TestResponse(t *testing.T) {
	t.Parallel()
	n := newNode(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(api.HeaderIndex, "42")
		w.Header().Set(api.HeaderStale, "true")
		w.WriteHeader(http.StatusNoContent)
	}, ok("{}"))
	c := newClient(t, nil, n.URL)
	resp, err := c.Do(t.Context(), get())
	if err != nil || resp.Index() != 42 || !resp.Stale() || len(resp.Body) != 0 {
		t.Errorf("Do = %+v, %v, want index 42, stale, no body", resp, err)
	}
	resp, err = c.Do(t.Context(), get())
	if err != nil || resp.Index() != 0 || resp.Stale() {
		t.Errorf("Do = %+v, %v, want no index, not stale", resp, err)
	}
}

func TestHistory(t *testing.T) {
	t.Parallel()
	n := newNode(t, ok(`[{"index":7,"objects":[{"kind":"pool","id":"p","effect":"created","before":null,"after":{"id":"p"}}]}]`))
	got, err := newClient(t, nil, n.URL).History(t.Context(), HistoryQuery{Limit: 5, Before: 9, Kind: "pool", ID: "p"})
	if err != nil || len(got) != 1 || got[0].Index != 7 || string(got[0].Objects[0].After) != `{"id":"p"}` {
		t.Errorf("History = %+v, %v", got, err)
	}
	if uri := n.requests()[0].URL.RequestURI(); uri != "/history?before=9&id=p&kind=pool&limit=5" {
		t.Errorf("it asks for %s", uri)
	}
}
