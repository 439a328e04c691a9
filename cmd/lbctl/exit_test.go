package main

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/httpapi"
	"github.com/lbnode/lbnode/httpapi/apitest"
	"github.com/lbnode/lbnode/state"
)

func TestExitCodes(t *testing.T) {
	t.Parallel()
	fail := func(err error) func(*world) {
		return func(w *world) { w.store.Fail(apitest.Failure{Err: err}, apitest.Failure{Err: err}) }
	}
	notSafe := func(w *world) { w.fake.Update(func(f *apitest.Fake) { f.ClusterErr = httpapi.ErrNotSafe }) }
	tests := []struct {
		name, line string
		prepare    func(*world)
		code       int
		stderr     string
	}{
		{"help", "lbctl --help", nil, exitDone, ""},
		{"no command", "lbctl", nil, exitDone, ""},
		{"unknown command", "lbctl frobnicate", nil, exitUsage, "unknown command"},
		{"near command", "lbctl enabel backend x", nil, exitUsage, "did you mean enable?"},
		{"verb only", "lbctl add", nil, exitUsage, "add what?"},
		{"unknown noun", "lbctl show backnds", nil, exitUsage, "did you mean backend?"},
		{"unknown flag", "lbctl show backends --wait", nil, exitUsage, "unknown flag: --wait"},
		{"flag without value", "lbctl show backends --pool", nil, exitUsage, "needs an argument"},
		{"flag of wrong type", "lbctl set backend b1 --weight heavy", nil, exitUsage, "heavy"},
		{"missing object", "lbctl enable backend", nil, exitUsage, "needs ID|ADDRESS"},
		{"too many objects", "lbctl set backend b1 b2 --weight 1", nil, exitUsage, `got "b2" too`},
		{"add without address", "lbctl add backend --weight 1", nil, exitUsage, "needs ADDRESS"},
		{"add two", "lbctl add backend a:1 b:2", nil, exitUsage, `got "b:2" too`},
		{"pool without id", "lbctl add pool", nil, exitUsage, "needs ID"},
		{"frontend without anything", "lbctl add frontend --tag a", nil, exitUsage, "needs ID|KEY"},
		{"nothing to set", "lbctl set backend b1", nil, exitUsage, "something to set"},
		{"flag and opts", `lbctl set backend b1 --weight 1 -j '{"weight":2}'`, nil, exitUsage, "both set /weight"},
		{"address twice", `lbctl add backend a:1 -j '{"address":"b:1"}'`, nil, exitUsage, "given twice"},
		{"id twice", "lbctl add route r1 --id r2 --pool p", nil, exitUsage, "given twice"},
		{"key twice", "lbctl add frontend Key --key other", nil, exitUsage, "given twice"},
		{"pair without name", "lbctl add route --pool p --header =x", nil, exitUsage, "NAME=VALUE"},
		{"format", "lbctl show pools -o xml", nil, exitUsage, "-o takes"},
		{"two formats", "lbctl show pools --json -o yaml", nil, exitUsage, "contradict"},
		{"timeout", "lbctl show pools --timeout 0s", nil, exitUsage, "must be positive"},
		{"api", "lbctl show pools --api ftp://a", nil, exitUsage, "http or https"},
		{"scope", "lbctl show stats --scope galaxy", nil, exitUsage, "--scope takes"},
		{"wait", "lbctl disable backend b1 --wait=ready", nil, exitUsage, "committed, applied or idle"},
		{"disable a pool", "lbctl disable pool p", nil, exitUsage, "only backends"},
		{"filter of one", "lbctl show backend b1 --pool p", nil, exitUsage, "filters the list"},
		{"id of two changes", "lbctl enable backend b1 b2 --request-id k", nil, exitUsage, "of one change"},
		{"argument", "lbctl version 2", nil, exitUsage, `takes no "2"`},

		{"show", "lbctl show backend nope", nil, exitNotFound, `there is no backend "nope"`},
		{"show by address", "lbctl show backend http://nope.example.org/a/", nil, exitNotFound, "there is no backend"},
		{"delete", "lbctl delete route nope", nil, exitNotFound, "there is no route"},
		{"enable", "lbctl enable backend nope", nil, exitNotFound, ""},
		{"remove node", "lbctl node remove nope", nil, exitNotFound, ""},

		{"exists", "lbctl add backend other:1 --id b1", nil, exitConflict, "exists and is different"},
		{"in use", "lbctl delete pool p", nil, exitConflict, "is used by route/r1"},
		{"not safe", "lbctl node remove n1", notSafe, exitConflict, ""},
		{"ambiguous", "lbctl disable backend twin.example.org:1", func(w *world) {
			w.must("lbctl add backend twin.example.org:1 --id t1 --pool p")
			w.must("lbctl add backend twin.example.org:1 --id t2 --pool q")
		}, exitConflict, "t1, t2"},
		{"reused", "lbctl set backend b1 --weight 9 --request-id k", func(w *world) {
			w.must("lbctl set backend b1 --weight 8 --request-id k")
		}, exitConflict, "request id"},

		// Less than the second until the request is repeated, which the deadline would then cut off.
		{"no leader", "lbctl set backend b1 --weight 9 --timeout 900ms", fail(state.ErrNoLeader), exitNoLeader, "cluster status"},
		{"unknown", "lbctl set backend b1 --weight 9 --request-id k7 --timeout 300ms", fail(state.ErrOutcomeUnknown), exitUnknown, "--request-id k7"},
		{"wait", "lbctl disable backend b1 --wait --timeout 500ms", nil, exitUnknown, "the drain goes on"},

		{"invalid", "lbctl add backend b:1 --weight 1001", nil, exitInvalid, "/weight must be"},
		{"opts, syntax", `lbctl set backend b1 -j '{"weight":'`, nil, exitInvalid, "-j is no JSON"},
		{"opts, trailing", `lbctl set backend b1 -j '{} {}'`, nil, exitInvalid, "behind the object"},
		{"opts, list", `lbctl set backend b1 -j '[1]'`, nil, exitInvalid, "must be a JSON object"},
		{"opts, null", `lbctl set backend b1 -j null`, nil, exitInvalid, "must be a JSON object"},
		{"opts, field", `lbctl set backend b1 -j '{"settings":{}}'`, nil, exitInvalid, "/settings is no field"},
		{"opts, type", `lbctl set backend b1 -j '{"weight":"2"}'`, nil, exitInvalid, "/weight"},
		{"opts, below", `lbctl set route r1 -j '{"match":{"pth":"/"}}'`, nil, exitInvalid, "/match/pth"},

		{"enabled", "lbctl enable backend b1", nil, exitUnchanged, ""},
		{"all enabled", "lbctl enable backends b1 b2", nil, exitUnchanged, ""},
		{"one was enabled", "lbctl enable backends b1 b3", nil, exitDone, ""},
		{"same", "lbctl set pool p --algorithm round_robin", nil, exitUnchanged, ""},
		{"added again", "lbctl add backend a:1 --id b1 --pool p", nil, exitUnchanged, ""},
		{"added again, no id", "lbctl add backend a:1 --pool p", nil, exitUnchanged, ""},

		{"file", "lbctl set backend b1 -j @/does/not/exist", nil, exitOther, "/does/not/exist"},
		{"node down", "lbctl show backends --api http://127.0.0.1:1", nil, exitOther, "no node answers"},
		{"second node", "lbctl set backend b1 --weight 5 --api http://127.0.0.1:1,SRV", nil, exitDone, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.must("lbctl add backend a:1 --id b1 --pool p")
			w.must("lbctl add backend a:2 --id b2 --pool p")
			w.must("lbctl add backend a:3 --id b3 --pool p --admin-state init")
			w.must("lbctl add route r1 --pool p")
			if tt.prepare != nil {
				tt.prepare(w)
			}
			got := w.line(strings.ReplaceAll(tt.line, "SRV", w.srv.URL))
			if got.code != tt.code || !strings.Contains(got.stderr, tt.stderr) {
				t.Errorf("%s\nexit %d, want %d\nstdout: %s\nstderr: %s", tt.line, got.code, tt.code, got.stdout, got.stderr)
			}
			if failed := tt.code != exitDone && tt.code != exitUnchanged; failed != (got.stderr != "") || failed && strings.HasPrefix(tt.line, "lbctl show") && got.stdout != "" {
				t.Errorf("%s\nexit %d with stdout %q, stderr %q", tt.line, got.code, got.stdout, got.stderr)
			}
		})
	}
}

func TestExitCodes_auth(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	inner := w.srv.Config.Handler
	guard := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "Bearer right" {
			inner.ServeHTTP(rw, r)
			return
		}
		rw.Header().Set("Content-Type", api.ContentProblem)
		rw.WriteHeader(http.StatusUnauthorized)
		io.WriteString(rw, `{"title":"Unauthorized","status":401,"code":"unauthorized","detail":"the token is not valid","outcome":"not_applied"}`)
	}))
	defer guard.Close()
	w.env = []string{envAPI + "=" + guard.URL}
	if got := w.line("lbctl show backends"); got.code != exitAuth || !strings.Contains(got.stderr, "--token-file or LBCTL_TOKEN") {
		t.Errorf("without token = %+v, want exit %d and a hint", got, exitAuth)
	}
	w.env = append(w.env, envToken+"=wrong")
	if got := w.line("lbctl show backends"); got.code != exitAuth {
		t.Errorf("wrong token = %+v, want exit %d", got, exitAuth)
	}
	if got := w.line("lbctl show backends --token right"); got.code != exitDone {
		t.Errorf("flag over environment = %+v, want exit 0", got)
	}
	w.env = append(w.env, envToken+"=right")
	if got := w.line("lbctl show backends"); got.code != exitDone {
		t.Errorf("right token = %+v, want exit 0", got)
	}
}

func TestExitCode_several(t *testing.T) {
	t.Parallel()
	other := errors.New("other")
	for _, tt := range []struct {
		errs []error
		want int
	}{
		{[]error{nil, nil}, exitDone},
		{[]error{errUnchanged, errUnchanged}, exitUnchanged},
		{[]error{errUnchanged, nil}, exitDone},
		{[]error{errDry, errDry}, exitDone},
		{[]error{errUnchanged, other, errIncomplete}, exitOther},
		{[]error{nil, errIncomplete, other}, exitUnknown},
	} {
		i := -1
		err := each(make([]string, len(tt.errs)), func(string) error { i++; return tt.errs[i] })
		if got := exitCode(err); got != tt.want {
			t.Errorf("exitCode(%v) = %d, want %d", tt.errs, got, tt.want)
		}
	}
}

// After a change whose outcome was left open, the line that lbctl prints repeats it without a second effect.
func TestRequestID_repeats(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.store.Fail(apitest.Failure{Err: state.ErrOutcomeUnknown, Applied: true}, apitest.Failure{Err: state.ErrOutcomeUnknown})
	got := w.line("lbctl add backend a:1 --timeout 300ms")
	_, id, found := strings.Cut(got.stderr, "--request-id ")
	if got.code != exitUnknown || !found {
		t.Fatalf("add = %+v, want exit %d and a request id", got, exitUnknown)
	}
	id, _, _ = strings.Cut(id, ":")
	w.must("lbctl add backend a:1 --request-id " + id)
	if n := w.store.View().Len(state.KindBackend); n != 1 {
		t.Errorf("%d backends, want 1", n)
	}
}
