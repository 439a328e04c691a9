package httpapi_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/httpapi"
	"github.com/lbnode/lbnode/httpapi/apitest"
	"github.com/lbnode/lbnode/state"
)

// reading is an open watch.
type reading struct {
	t  *testing.T
	sc *bufio.Scanner
}

// open watches a real server until the test ends.
func (h *harness) open(srv *httptest.Server, query string, extra ...header) *reading {
	h.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	h.t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, srv.URL+"/watch?"+query, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	for _, e := range extra {
		name, value, _ := strings.Cut(string(e), ": ")
		req.Header.Set(name, value)
	}
	resp, err := srv.Client().Do(req)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { resp.Body.Close() })
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != api.ContentEvents || resp.Header.Get(api.HeaderNode) != "n1" {
		h.t.Fatalf("GET /watch?%s = %d %v", query, resp.StatusCode, resp.Header)
	}
	return &reading{h.t, bufio.NewScanner(resp.Body)}
}

// next is the next event: its name, its id and its data.
func (r *reading) next() (name, id, data string) {
	r.t.Helper()
	for r.sc.Scan() {
		field, value, _ := strings.Cut(r.sc.Text(), ": ")
		switch field {
		case "event":
			name = value
		case "id":
			id = value
		case "data":
			data = value
		case "":
			return name, id, data
		}
	}
	r.t.Fatalf("the stream ended: %v", r.sc.Err())
	return "", "", ""
}

func (r *reading) want(name, id, part string) {
	r.t.Helper()
	gotName, gotID, data := r.next()
	if gotName != name || gotID != id || !strings.Contains(data, part) {
		r.t.Fatalf("event %s %s %s, want %s %s with %q", gotName, gotID, data, name, id, part)
	}
}

func TestWatch(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	srv := httptest.NewServer(h.srv)
	defer srv.Close()
	h.do(http.MethodPut, "/pools/p", `{}`).want(http.StatusCreated) // 2
	now, old := h.open(srv, ""), h.open(srv, "from=1")
	now.want(api.EventStart, "2", `{"node":"n1","from":2}`)
	old.want(api.EventStart, "1", `"from":1`)
	old.want(api.EventChange, "2", `"summary":"created pool p"`)
	h.do(http.MethodPut, "/frontends/f", `{"key":"k","secret":"hush"}`).want(http.StatusCreated) // 3
	for _, r := range []*reading{now, old} {
		name, id, data := r.next()
		var ch api.Change
		if err := json.Unmarshal([]byte(data), &ch); err != nil || name != api.EventChange || id != "3" || ch.Index != 3 || strings.Contains(data, "hush") {
			t.Errorf("event %s %s %s, %v", name, id, data, err)
		}
	}
	h.do(http.MethodPut, "/backends/a", `{"address":"h:1","pool":"p"}`).want(http.StatusCreated) // 4
	now.want(api.EventState, "", `"node_state":"init"`)
	now.want(api.EventChange, "4", `"created backend a"`)
	if err := h.store.SetVerdict("a", state.VerdictUp, "200 OK"); err != nil {
		t.Fatal(err)
	}
	now.want(api.EventState, "5", `"verdict_text":"200 OK"`)
	h.srv.EndStreams(t.Context())
	now.want(api.EventEnd, "", "another")
	if now.sc.Scan() {
		t.Errorf("after the end: %q", now.sc.Text())
	}
	h.do(http.MethodGet, "/watch", "").problem(http.StatusServiceUnavailable, api.CodeBusy)
}

func TestWatch_refuses(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	for target, text := range map[string]string{
		"/watch?from=x":           `"from" must be an integer`,
		"/watch?from=99999999999": "beyond the end of the log",
		"/watch?types=verdicts":   "takes some of config, state",
		"/watch?kinds=backend,":   "takes some of backend, pool",
		"/watch?since=3":          "unknown parameter",
	} {
		h.do(http.MethodGet, target, "").at("", text)
	}
	h.do(http.MethodGet, "/watch", "", "Last-Event-ID: abc").problem(http.StatusBadRequest, api.CodeInvalid)
	h.do(http.MethodGet, "/watch?from=5&timeout=10ms", "").problem(http.StatusGatewayTimeout, api.CodeIndexNotReached)
	for i := range 1005 {
		if _, err := h.store.Do(t.Context(), state.Command{Type: state.TypeTxn, Ops: []state.Op{
			{Verb: state.VerbPut, Kind: state.KindPool, ID: "p", Value: fmt.Appendf(nil, `{"algorithm":%q}`, []string{"random", "ip_hash"}[i%2])},
		}}); err != nil {
			t.Fatal(err)
		}
	}
	h.do(http.MethodGet, "/watch?from=2", "").problem(http.StatusGone, api.CodeCompacted)
	// Where to go on wins over where it all began.
	h.do(http.MethodGet, "/watch?from=1000", "", "Last-Event-ID: 2").problem(http.StatusGone, api.CodeCompacted)
	if r := h.do(http.MethodHead, "/watch", ""); r.status != http.StatusOK || r.header.Get("Content-Type") != api.ContentEvents {
		t.Errorf("HEAD = %d %v", r.status, r.header)
	}
}

// A quiet stream shows that it is alive, and moves the position; one that began in the future of a node that lags
// waits for it.
func TestWatch_heartbeat(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store, fake := apitest.NewStore(), apitest.NewFake()
		srv, err := httpapi.New(apitest.NewConfig(store, fake))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		rec := httptest.NewRecorder()
		done := make(chan struct{})
		go func() {
			defer close(done)
			srv.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/watch?from=2&kinds=route", nil).WithContext(ctx))
		}()
		put := func(id string) {
			if _, err := store.Do(ctx, state.Command{Type: state.TypeTxn, Ops: []state.Op{{Verb: state.VerbPut, Kind: state.KindPool, ID: id, Value: []byte(`{}`)}}}); err != nil {
				t.Error(err)
			}
		}
		time.Sleep(time.Second) // of the bubble's clock
		put("p")
		time.Sleep(api.WatchHeartbeat + time.Second)
		put("q")
		time.Sleep(api.WatchHeartbeat)
		cancel()
		<-done
		const want = "event: start\nid: 2\ndata: {\"node\":\"n1\",\"from\":2}\n\n: heartbeat\nid: 2\n\n: heartbeat\nid: 3\n\n"
		if got := rec.Body.String(); got != want {
			t.Errorf("stream:\n%s\nwant:\n%s", got, want)
		}
	})
}
