package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lbnode/lbnode/api"
)

// stream answers with events and ends; with "…" at the end it hangs up in the middle.
func stream(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", api.ContentEvents)
		body, broken := strings.CutSuffix(text, "…")
		io.WriteString(w, body)
		if broken {
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}
	}
}

func ev(name string, id int, data string) string {
	return fmt.Sprintf("event: %s\nid: %d\ndata: %s\n\n", name, id, data)
}

// seen is what a watch yields, in a line each, until it ends or gave so many.
func seen(t *testing.T, c *Client, o WatchOptions, most int) []string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var got []string
	for e, err := range c.Watch(ctx, o) {
		var problem *Error
		switch {
		case errors.As(err, &problem):
			got = append(got, fmt.Sprintf("error %d %s", problem.Status, problem.Problem.Code))
		case err != nil:
			t.Errorf("error = %v", err)
		default:
			got = append(got, fmt.Sprintf("%s %d %s", e.Name, e.Index, e.Data))
		}
		if len(got) == most {
			break
		}
	}
	return got
}

func TestWatch_goesOnElsewhere(t *testing.T) {
	t.Parallel()
	a := newNode(t, stream(ev("start", 3, "{}")+ev("change", 4, "1")+": heartbeat\nid: 9\n\nevent: change\nid: 10\nda…"))
	b := newNode(t, stream(ev("start", 9, "{}")+"event: state\ndata: 2\n\n"+ev("change", 10, "3")+"event: end\ndata: {}\n\n"), hang)
	gone := newNode(t, problem(410, api.CodeCompacted, api.OutcomeNotApplied))
	from := uint64(3)
	got := seen(t, newClient(t, nil, dead(t), a.URL, b.URL, gone.URL), WatchOptions{From: &from, Types: []string{"config"}, Kinds: []string{"pool", "route"}}, 99)
	want := []string{"error 0 ", "start 3 {}", "change 4 1", "error 0 ", "start 9 {}", "state 9 2", "change 10 3", "error 410 compacted"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	for n, id := range map[*node]string{a: "3", b: "9", gone: "10"} {
		r := n.requests()[0]
		if r.Header.Get(api.HeaderLastEventID) != id || r.URL.RawQuery != "kinds=pool%2Croute&types=config" {
			t.Errorf("request %s with id %q, want %s", r.URL, r.Header.Get(api.HeaderLastEventID), id)
		}
	}
}

func TestWatch_ends(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		node http.HandlerFunc
		want []string
	}{
		"not allowed":   {problem(403, "forbidden", api.OutcomeNotApplied), []string{"error 403 forbidden"}},
		"mistaken":      {problem(400, api.CodeInvalid, api.OutcomeNotApplied), []string{"error 400 invalid"}},
		"too slow":      {stream(ev("start", 3, "{}") + `event: compacted` + "\n" + `data: {"status":410,"code":"compacted"}` + "\n\n"), []string{"start 3 {}", "error 410 compacted"}},
		"the loop":      {stream(ev("start", 3, "{}") + ev("change", 4, "1") + ev("change", 5, "1")), []string{"start 3 {}", "change 4 1"}},
		"another thing": {answer(404, "text/html", "<html>"), []string{"error 404 "}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, tc.node)
			if d := cmp.Diff(tc.want, seen(t, newClient(t, nil, n.URL), WatchOptions{}, 2)); d != "" {
				t.Error(d)
			}
			if r := n.requests(); len(r) != 1 || r[0].Header.Get(api.HeaderLastEventID) != "" {
				t.Errorf("%d requests, the first with %v", len(r), r[0].Header)
			}
		})
	}
}

// A node that is behind, or stops, is not the end.
func TestWatch_passes(t *testing.T) {
	t.Parallel()
	a := newNode(t, problem(504, api.CodeIndexNotReached, ""), stream(ev("start", 3, "{}")))
	if d := cmp.Diff([]string{"error 504 index_not_reached", "start 3 {}"}, seen(t, newClient(t, nil, a.URL), WatchOptions{}, 2)); d != "" {
		t.Error(d)
	}
}

func FuzzSSE(f *testing.F) {
	f.Add(ev("start", 3, "{}") + ": heartbeat\nid: 9\n\n")
	f.Add("data: a\r\ndata:b\n\n\n\nid: -1\n\n")
	f.Add("event\nid\n\n")
	f.Fuzz(func(t *testing.T, text string) {
		r := newSSEReader(strings.NewReader(text))
		for range 1000 {
			e, err := r.next()
			if err != nil {
				return
			}
			if e.name == "" && !e.hasID && e.data == "" && !strings.Contains(text, "data") {
				t.Errorf("an event out of nothing: %+v of %q", e, text)
			}
			if strings.ContainsAny(e.name, "\n\r") && !strings.Contains(text, "\r") {
				t.Errorf("a name with a line's end: %q", e.name)
			}
		}
	})
}
