package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lbnode/lbnode/api"
)

// answer is one HTTP answer, read to its end.
type answer struct {
	status int
	header http.Header
	body   []byte
	took   time.Duration
}

func (a answer) String() string { return fmt.Sprintf("%d %s", a.status, bytes.TrimSpace(a.body)) }

// decode reads the body as JSON.
func (a answer) decode(t testing.TB, v any) {
	t.Helper()
	if err := json.Unmarshal(a.body, v); err != nil {
		t.Fatalf("answer %s: %v", a, err)
	}
}

// index is the log index that the answer's header names.
func (a answer) index(t testing.TB) uint64 {
	t.Helper()
	i, err := strconv.ParseUint(a.header.Get(api.HeaderIndex), 10, 64)
	if err != nil {
		t.Fatalf("answer %s has %s %q, want a number", a, api.HeaderIndex, a.header.Get(api.HeaderIndex))
	}
	return i
}

// problem reads an answer that is no success.
func (a answer) problem(t testing.TB) api.Problem {
	t.Helper()
	var p api.Problem
	if got := a.header.Get("Content-Type"); !strings.HasPrefix(got, api.ContentProblem) {
		t.Errorf("answer %s has content type %q, want %q", a, got, api.ContentProblem)
	}
	a.decode(t, &p)
	if p.Status != a.status || p.Code == "" || p.Title == "" || p.RequestID == "" {
		t.Errorf("problem %s lacks status, code, title or request_id", a)
	}
	return p
}

// call sends one request to the node's API. A body that is no string or []byte is sent as its JSON.
// Headers come in pairs of name and value.
func (n *node) call(method, path string, body any, headers ...string) (answer, error) {
	return exchange(n.client, method, n.scheme+"://"+n.api+path, body, headers...)
}

func exchange(c *http.Client, method, url string, body any, headers ...string) (answer, error) {
	return exchangeIn(context.Background(), c, method, url, body, headers...)
}

func exchangeIn(ctx context.Context, c *http.Client, method, url string, body any, headers ...string) (answer, error) {
	var payload io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		payload = strings.NewReader(b)
	case []byte:
		payload = bytes.NewReader(b)
	default:
		raw, err := json.Marshal(b)
		if err != nil {
			return answer{}, err
		}
		payload = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(ctx, method, url, payload)
	if err != nil {
		return answer{}, err
	}
	if payload != nil {
		req.Header.Set("Content-Type", api.ContentJSON)
		if method == http.MethodPatch {
			req.Header.Set("Content-Type", api.ContentMergePatch)
		}
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	start := time.Now()
	resp, err := c.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, b, time.Since(start)}, err
}

// must is call, and fails the test unless the status is one of want: a number, or the first digit of a class.
func (n *node) must(want int, method, path string, body any, headers ...string) answer {
	n.t.Helper()
	a, err := n.call(method, path, body, headers...)
	if err != nil {
		n.t.Fatalf("%s: %s %s: %v", n.name, method, path, err)
	}
	if a.status != want && a.status/100 != want {
		n.t.Fatalf("%s: %s %s = %s, want status %d", n.name, method, path, a, want)
	}
	return a
}

// read decodes what GET path answers into v.
func (n *node) read(path string, v any) answer {
	n.t.Helper()
	a := n.must(200, http.MethodGet, path, nil)
	a.decode(n.t, v)
	return a
}

// status is GET /cluster.
func (n *node) status() (api.Cluster, error) {
	var c api.Cluster
	a, err := n.call(http.MethodGet, "/cluster", nil)
	if err != nil {
		return c, err
	}
	if a.status != http.StatusOK {
		return c, fmt.Errorf("GET /cluster = %s", a)
	}
	return c, json.Unmarshal(a.body, &c)
}

// members is GET /nodes, by id.
func (n *node) members() (map[string]api.Node, error) {
	a, err := n.call(http.MethodGet, "/nodes", nil)
	if err != nil {
		return nil, err
	}
	var list []api.Node
	if err := json.Unmarshal(a.body, &list); err != nil {
		return nil, fmt.Errorf("GET /nodes = %s: %w", a, err)
	}
	byID := make(map[string]api.Node, len(list))
	for _, m := range list {
		byID[m.ID] = m
	}
	return byID, nil
}

// backend is GET /backends/{id}.
func (n *node) backend(id string) (api.Backend, error) {
	var b api.Backend
	a, err := n.call(http.MethodGet, "/backends/"+id, nil)
	if err != nil {
		return b, err
	}
	if a.status != http.StatusOK {
		return b, fmt.Errorf("GET /backends/%s = %s", id, a)
	}
	return b, json.Unmarshal(a.body, &b)
}

// ready is nil once /readyz is 200.
func (n *node) ready() error {
	if !n.running() {
		return fmt.Errorf("%s has ended with code %d:\n%s", n.name, n.cmd.ProcessState.ExitCode(), n.tail(10))
	}
	a, err := n.call(http.MethodGet, "/readyz", nil)
	if err != nil {
		return err
	}
	if a.status != http.StatusOK {
		return fmt.Errorf("%s: GET /readyz = %s", n.name, a)
	}
	return nil
}

// get sends one request through the node's proxy on a connection of its own.
func (n *node) get(path string, headers ...string) (answer, error) {
	return exchange(n.plain, http.MethodGet, "http://"+n.proxy+path, nil, headers...)
}
