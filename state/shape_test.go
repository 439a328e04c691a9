package state

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const fullShape = `{"match":{"path":"/api"},` +
	`"request_headers":{"set":{"X-Client":"{client_ip}"},"add":{"Via":"1.1 lb"},"remove":["X-Debug"]},` +
	`"response_headers":{"set":{"Strict-Transport-Security":"max-age=60"},"remove":["Server"]},` +
	`"rewrite":{"regex":"^/api/v(\\d+)","replacement":"/${1}","host":"backend"},` +
	`"split":[{"pool":"stable","weight":9},{"pool":"canary","weight":1}],"split_by":"cookie:sid",` +
	`"mirror":{"pool":"shadow","percent":12.5},` +
	`"rate_limit":{"requests_per_second":0.5,"burst":3,"per":"header:X-Key","status":503}}`

func TestRouteShape_golden(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	l.must(parse(t, `put route shaped `+fullShape),
		parse(t, `put route moved {"redirect":{"status":308,"scheme":"https","host":"new.example:8443","path":"/v2{path}","strip_query":true}}`))
	var snap bytes.Buffer
	if err := WriteSnapshot(&snap, l.view); err != nil {
		t.Fatal(err)
	}
	golden(t, "v3/route-shape.jsonl", snap.Bytes())
	if Hash(restored(t, l.view)) != Hash(l.view) {
		t.Error("the restored view has another hash")
	}
}

func TestRouteShape_defaults(t *testing.T) {
	t.Parallel()
	plain := func(doc string) RouteSpec {
		t.Helper()
		s, errs := DecodeSpec(KindRoute, json.RawMessage(doc), nil)
		if len(errs) > 0 {
			t.Fatalf("%s: %v", doc, errs)
		}
		return *s.(*RouteSpec)
	}
	base := plain(`{"id":"r","backend_pool":"web"}`)
	for _, doc := range []string{
		`{"id":"r","backend_pool":"web","mirror":{"pool":"","percent":100},"rate_limit":{"requests_per_second":0,"burst":0,"per":"route","status":429}}`,
		`{"id":"r","backend_pool":"web","split":[],"split_by":"random","rewrite":{"host":"preserve"},"request_headers":{"set":{},"add":{},"remove":[]}}`,
		`{"id":"r","backend_pool":"web","redirect":{"status":0,"scheme":"","host":"","path":"","strip_query":false}}`,
	} {
		if d := cmp.Diff(base, plain(doc)); d != "" {
			t.Errorf("%s is not the same as nothing: %s", doc, d)
		}
	}
	if b, err := json.Marshal(base); err != nil || strings.Contains(string(b), "mirror") || strings.Contains(string(b), "rewrite") {
		t.Errorf("a route without a shape is stored as %s, %v", b, err)
	}
	got := plain(`{"id":"r","backend_pool":"web","mirror":{"pool":"m"},"rate_limit":{"requests_per_second":20}}`)
	if want := (RateLimit{20, 20, PerRoute, 429}); got.RateLimit != want {
		t.Errorf("rate limit = %+v, want %+v", got.RateLimit, want)
	}
	if got.Mirror.Percent != 100 {
		t.Errorf("percent = %v, want 100", got.Mirror.Percent)
	}
}

func TestRouteShape_refuses(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ doc, pointer, word string }{
		{`{}`, "/backend_pool", "must name a pool"},
		{`{"backend_pool":"a","split":[{"pool":"b","weight":1}]}`, "/split", "excludes"},
		{`{"split":[{"pool":"b","weight":0}]}`, "/split", "above 0"},
		{`{"split":[{"pool":"b","weight":1},{"pool":"b","weight":1}]}`, "/split/1/pool", "twice"},
		{`{"split":[{"pool":"b","weight":-1},{"pool":"c","weight":2}]}`, "/split/0/weight", "between"},
		{`{"split":[{"pool":"b","weight":1}],"split_by":"header:"}`, "/split_by", "must be"},
		{`{"backend_pool":"a","request_headers":{"set":{"Host":"x"}}}`, "/request_headers/set/Host", "rewrite.host"},
		{`{"backend_pool":"a","request_headers":{"add":{"content_length":"1"}}}`, "/request_headers/add/content_length", "frames"},
		{`{"backend_pool":"a","response_headers":{"remove":["Transfer-Encoding"]}}`, "/response_headers/remove/0", "frames"},
		{`{"backend_pool":"a","response_headers":{"set":{"Connection":"x"}}}`, "/response_headers/set/Connection", "one connection"},
		{`{"backend_pool":"a","request_headers":{"set":{"X A":"x"}}}`, "/request_headers/set/X A", "valid header name"},
		{`{"backend_pool":"a","request_headers":{"set":{"X":"a\r\nB: c"}}}`, "/request_headers/set/X", "line breaks"},
		{`{"backend_pool":"a","request_headers":{"set":{"X":" a"}}}`, "/request_headers/set/X", "white space"},
		{`{"backend_pool":"a","request_headers":{"set":{"X":"{client}"}}}`, "/request_headers/set/X", "{client_ip}"},
		{`{"backend_pool":"a","request_headers":{"set":{"X":"{"}}}`, "/request_headers/set/X", "without }"},
		{`{"backend_pool":"a","request_headers":{"set":{"X":"a","x":"b"}}}`, "/request_headers/set/x", "twice"},
		{`{"backend_pool":"a","rewrite":{"strip_prefix":"/a","regex":"b"}}`, "/rewrite", "one of"},
		{`{"backend_pool":"a","rewrite":{"strip_prefix":"a"}}`, "/rewrite/strip_prefix", "start with /"},
		{`{"backend_pool":"a","rewrite":{"replace_prefix":"/a?b"}}`, "/rewrite/replace_prefix", "query"},
		{`{"backend_pool":"a","rewrite":{"replacement":"/"}}`, "/rewrite/replacement", "needs regex"},
		{`{"backend_pool":"a","rewrite":{"regex":"(a)","replacement":"/$2"}}`, "/rewrite/replacement", "no group"},
		{`{"backend_pool":"a","rewrite":{"regex":"(a)","replacement":"/$1x"}}`, "/rewrite/replacement", "no group"},
		{`{"backend_pool":"a","rewrite":{"regex":"(","replacement":"/"}}`, "/rewrite/regex", "RE2"},
		{`{"backend_pool":"a","rewrite":{"host":"a b"}}`, "/rewrite/host", "host"},
		{`{"backend_pool":"a","rewrite":{"host":"::1"}}`, "/rewrite/host", "host"},
		{`{"backend_pool":"a","rewrite":{"host":"a:0"}}`, "/rewrite/host", "host"},
		{`{"redirect":{"status":200}}`, "/redirect/status", "301"},
		{`{"backend_pool":"a","redirect":{"host":"x"}}`, "/redirect/status", "301"},
		{`{"redirect":{"status":301,"scheme":"javascript"}}`, "/redirect/scheme", "https"},
		{`{"redirect":{"status":301,"host":"x/y"}}`, "/redirect/host", "host"},
		{`{"redirect":{"status":301,"path":"//{backend}"}}`, "/redirect/path", "has none"},
		{`{"redirect":{"status":301,"path":"{host}"}}`, "/redirect/path", "start with /"},
		{`{"redirect":{"status":301,"path":"/a b"}}`, "/redirect/path", "spaces"},
		{`{"backend_pool":"a","mirror":{"percent":50}}`, "/mirror/pool", "must name"},
		{`{"backend_pool":"a","mirror":{"pool":"b","percent":101}}`, "/mirror/percent", "between"},
		{`{"backend_pool":"a","rate_limit":{"burst":5}}`, "/rate_limit/requests_per_second", "between"},
		{`{"backend_pool":"a","rate_limit":{"requests_per_second":-1}}`, "/rate_limit/requests_per_second", "between"},
		{`{"backend_pool":"a","rate_limit":{"requests_per_second":1,"per":"cookie:a"}}`, "/rate_limit/per", "must be"},
		{`{"backend_pool":"a","rate_limit":{"requests_per_second":1,"status":200}}`, "/rate_limit/status", "between"},
	} {
		_, errs := decodeSpec(KindRoute, "r", json.RawMessage(tc.doc), nil)
		found := false
		for _, e := range errs {
			found = found || e.Pointer == tc.pointer && strings.Contains(e.Message, tc.word)
		}
		if !found {
			t.Errorf("%s: errors %v, want one at %s with %q", tc.doc, errs, tc.pointer, tc.word)
		}
	}
	for _, doc := range []string{
		fullShape, `{"redirect":{"status":301,"path":"{path}"}}`, `{"backend_pool":"a","redirect":{"status":302,"host":"[::1]:80"}}`,
		`{"backend_pool":"a","rewrite":{"host":"a.example:81"}}`, `{"backend_pool":"a","request_headers":{"set":{"X":"{{\"a\":1}"}}}`,
	} {
		if _, errs := decodeSpec(KindRoute, "r", json.RawMessage(doc), nil); len(errs) > 0 {
			t.Errorf("%s: %v, want it taken", doc, errs)
		}
	}
}

func TestRouteShape_poolsAreInUse(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	l.must(parse(t, `put route shaped `+fullShape))
	for _, pool := range []string{"stable", "canary", "shadow"} {
		if _, ok := l.view.Pool(pool); !ok {
			t.Errorf("pool %s was not made", pool)
		}
		res := l.do(Command{Type: TypeTxn, Ops: []Op{parse(t, `delete pool `+pool)}})
		if res.Refusal == nil || res.Refusal.Code != CodeInUse {
			t.Errorf("deleting pool %s = %+v, want in_use", pool, res)
		}
	}
}

func TestParseTemplate(t *testing.T) {
	t.Parallel()
	got, err := ParseTemplate("a{{b}{host}{path}!")
	want := []TemplatePart{{Text: "a{b}"}, {Var: VarHost}, {Var: VarPath}, {Text: "!"}}
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Errorf("parts differ: %s, %v", d, err)
	}
}
