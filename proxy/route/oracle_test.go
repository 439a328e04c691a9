package route

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/lbnode/lbnode/state"
)

// oracle finds the route by trying every one, written from the package comment and not from the code.
func oracle(v *state.View, r *Request, path string) string {
	host := strings.ToLower(r.Host)
	var best *state.Route
	var bestKey []int
	for x := range v.Routes() {
		m := x.Match
		key := []int{x.Priority, 0, 0, 0, len(m.Path), 0, len(m.Headers) + len(m.Query)}
		switch {
		case m.Host == "":
		case strings.HasPrefix(m.Host, "*."):
			if !strings.HasSuffix(host, m.Host[1:]) {
				continue
			}
			key[1], key[2] = 1, len(m.Host)
		case m.Host != host:
			continue
		default:
			key[1], key[2] = 2, len(m.Host)
		}
		ok := false
		switch m.PathType {
		case state.PathExact:
			ok, key[3] = path == m.Path, 2
		case state.PathRegex:
			ok, key[3] = regexp.MustCompile(`^(?:`+m.Path+`)$`).MatchString(path), 1
		default:
			ok = m.Path == "/" || path == m.Path || strings.HasPrefix(path, m.Path+"/")
		}
		if m.Method != "" {
			ok = ok && strings.Contains(","+m.Method+",", ","+r.Method+",")
			key[5] = 1
		}
		for k, want := range m.Headers {
			ok = ok && slices.Contains(r.Header.Values(http.CanonicalHeaderKey(k)), want)
		}
		for k, want := range m.Query {
			ok = ok && strings.Contains("&"+r.Query+"&", "&"+k+"="+want+"&")
		}
		if ok && (best == nil || slices.Compare(key, bestKey) > 0) { // ids come in rising order
			best, bestKey = x, key
		}
	}
	if best == nil {
		return "! no route matches"
	}
	return best.ID
}

func TestMatch_againstOracle(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		b := newBench(t)
		hosts := rapid.SampledFrom([]string{"", "a.test", "b.a.test", "*.test", "*.a.test", "*.b.a.test"})
		paths := rapid.SampledFrom([]string{"/", "/a", "/ab", "/a/b", "/a/b/c", "/a/bc", "/b"})
		for i := range rapid.IntRange(0, 25).Draw(r, "routes") {
			m := state.Match{Host: hosts.Draw(r, "host"), Path: paths.Draw(r, "path"), PathType: state.PathPrefix}
			switch rapid.IntRange(0, 5).Draw(r, "type") {
			case 0:
				m.PathType = state.PathExact
			case 1:
				m.PathType, m.Path = state.PathRegex, rapid.SampledFrom([]string{"/a.*", ".*c", "/a/(b|bc)", "/[ab]+"}).Draw(r, "regex")
			}
			if rapid.IntRange(0, 3).Draw(r, "method") == 0 {
				m.Method = rapid.SampledFrom([]string{"GET", "GET,POST", "PUT"}).Draw(r, "methods")
			}
			if rapid.IntRange(0, 4).Draw(r, "header") == 0 {
				m.Headers = map[string]string{"X-A": rapid.SampledFrom([]string{"1", "2"}).Draw(r, "value")}
			}
			if rapid.IntRange(0, 4).Draw(r, "query") == 0 {
				m.Query = map[string]string{"q": "1"}
			}
			doc, err := json.Marshal(state.RouteSpec{ID: fmt.Sprintf("r%d", i), Priority: rapid.IntRange(-1, 1).Draw(r, "priority"), Match: m, BackendPool: "p"})
			if err != nil {
				t.Fatal(err)
			}
			b.routes(string(doc))
		}
		table := b.table()
		for range 20 {
			req := &Request{
				Method: rapid.SampledFrom([]string{"GET", "POST", "DELETE"}).Draw(r, "req method"),
				Host:   rapid.SampledFrom([]string{"a.test", "b.a.test", "x.b.a.test", "test", "other"}).Draw(r, "req host"),
				Path:   rapid.SampledFrom([]string{"/", "/a", "/ab", "/abc", "/a/", "/a/b", "/a/b/c", "/a/bc", "/a/bc/d", "/b", "/c"}).Draw(r, "req path"),
				Query:  rapid.SampledFrom([]string{"", "q=1", "q=2", "x=1&q=1"}).Draw(r, "req query"),
				Header: http.Header{"X-A": {rapid.SampledFrom([]string{"1", "2", "3"}).Draw(r, "req header")}},
			}
			if got, want := routeOf(table, req), oracle(b.View(), req, req.Path); got != want {
				r.Fatalf("Match(%+v) = %q, want %q", req, got, want)
			}
			if err := explained(table, req); err != nil {
				r.Fatalf("%+v: %v", req, err)
			}
		}
	})
}

// explained checks that what is said about a request's route and about every other one is what the table does.
func explained(t *Table, r *Request) error {
	holds := func(list []Clause) bool { return !slices.ContainsFunc(list, func(c Clause) bool { return !c.Holds }) }
	m, err := t.Match(r)
	taken := ""
	if err == nil {
		taken = m.Target.RouteID
		if list := t.Clauses(r, taken); len(list) == 0 || !holds(list) {
			return fmt.Errorf("the clauses of %s, which took the request, are %+v", taken, list)
		}
	}
	for _, e := range t.entries {
		rule := e.rule
		if all := holds(rule.clauses(r, normalHost(r.Host), r.Path)); all && taken == "" {
			return fmt.Errorf("no route took the request, but all clauses of %s hold", rule.route.ID)
		} else if all {
			break // the first one whose clauses hold
		} else if rule.route.ID == taken {
			return fmt.Errorf("%s took the request, but not all of its clauses hold", taken)
		}
	}
	for _, n := range t.Nearly(r, taken, 5) {
		if n.Outranked != holds(n.Clauses) || n.Outranked && taken == "" || n.RouteID == taken {
			return fmt.Errorf("near is %+v while %q took the request", n, taken)
		}
	}
	return nil
}

// FuzzMatch: a path that is accepted leads to one and the same route however a backend reads it.
func FuzzMatch(f *testing.F) {
	for _, s := range []string{"/", "/admin", "/pub/../admin", "/pub/%2e%2e/admin", "/a%2fb", `/x\..\admin`, "/a%00", "/..", "/.//..", "/a/b/./../c%5c..", "*"} {
		f.Add("a.test", s)
	}
	b := newBench(f)
	table := b.routes(`{"id":"root","backend_pool":"p"}`, `{"id":"admin","backend_pool":"p","match":{"path":"/admin"}}`,
		`{"id":"pub","backend_pool":"p","match":{"path":"/pub"}}`, `{"id":"host","backend_pool":"p","match":{"host":"*.test","path":"/pub/x"}}`).table()
	f.Fuzz(func(t *testing.T, host, path string) {
		r := &Request{Method: "GET", Host: host, Path: path}
		m, err := table.Match(r)
		sent, clean, bad := readings(path)
		if bad != nil {
			if err == nil {
				t.Fatalf("Match(%q) took a path that cannot be read", path)
			}
			return
		}
		if strings.Contains(clean+"/", "/../") || strings.Contains(clean+"/", "/./") || strings.ContainsRune(clean, 0) {
			t.Fatalf("readings(%q) = %q, which is not clean", path, clean)
		}
		if err != nil {
			return
		}
		plainHost := &Request{Method: "GET", Host: normalHost(host)}
		for _, reading := range []string{sent, clean} {
			if want := oracle(b.View(), plainHost, reading); m.Target.RouteID != want {
				t.Fatalf("Match(%q) = %s, but read as %q it is %s", path, m.Target.RouteID, reading, want)
			}
		}
	})
}
