package state

import (
	"strings"
	"testing"
)

// TestValidate has a value just out of bounds for every field, and where the error must point.
func TestValidate(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", maxPattern+1)
	for _, tc := range []struct {
		kind  Kind
		value string
		want  string // pointers; "" = valid
	}{
		{KindBackend, `{"address":"h:1","weight":0,"tags":["bbb_26","a:b/c=d"],"load_factor":1000,"admin_state":"init"}`, ""},
		{KindBackend, `{"address":"h:1","weight":1001}`, "/weight"},
		{KindBackend, `{"address":"h:1","load_factor":-1}`, "/load_factor"},
		{KindBackend, `{"address":"h:1","load_factor":0}`, "/load_factor"}, // left out it is 1
		{KindBackend, `{"address":"h:1","load_factor":1000.5}`, "/load_factor"},
		{KindBackend, `{"address":"h:1","admin_state":"error"}`, "/admin_state"},
		{KindBackend, `{"address":"h:1","pool":"No"}`, "/pool"},
		{KindBackend, `{"address":"h:1","tags":["ok","not ok"]}`, "/tags/0"}, // sorted
		{KindBackend, `{"address":"h"}`, "/address"},
		{KindBackend, `{}`, "/address"},
		{KindPool, `{}`, ""},
		{KindPool, `{"algorithm":"fastest"}`, "/algorithm"},
		{KindPool, `{"hash":{"source":"moon"}}`, "/hash/source"},
		{KindPool, `{"hash":{"source":"cookie"}}`, "/hash/name"},
		{KindPool, `{"hash":{"source":"header","name":"a b"}}`, "/hash/name"},
		{KindPool, `{"protocol":"h3"}`, "/protocol"},
		{KindPool, `{"on_empty":"cry","initial":"maybe"}`, "/on_empty /initial"},
		{KindPool, `{"health":{"type":"icmp"}}`, "/health/type"},
		{KindPool, `{"health":{"method":"POST"}}`, "/health/method"},
		{KindPool, `{"health":{"path":"up"}}`, "/health/path"},
		{KindPool, `{"health":{"path":"/a\r\nX: y"}}`, "/health/path"},
		{KindPool, `{"health":{"host":"a:80"}}`, "/health/host"},
		{KindPool, `{"health":{"statuses":"2xx"}}`, "/health/statuses"},
		{KindPool, `{"health":{"interval":"99ms"}}`, "/health/interval"},
		{KindPool, `{"health":{"interval":"2h"}}`, "/health/interval"},
		{KindPool, `{"health":{"timeout":"9ms"}}`, "/health/timeout"},
		{KindPool, `{"health":{"rise":101,"fall":-1}}`, "/health/rise /health/fall"},
		{KindPool, `{"tls":{"ca":"no PEM"}}`, "/tls/ca"},
		{KindPool, `{"slow_start":"30s","max_connections":10,"queue":{"size":5,"timeout":"1s"},"retry":{"on":["reset","503"],"budget_percent":1,"budget_min":1},"outlier":{"consecutive_errors":5},"sticky":{"cookie":"LB","ttl":"1h","secure":true,"same_site":"none","path":"/app"},"proxy_protocol":"v2"}`, ""},
		{KindPool, `{"slow_start":"61m"}`, "/slow_start"},
		{KindPool, `{"max_connections":1000001,"queue":{"size":100001,"timeout":"-1s"}}`, "/max_connections /queue/size /queue/timeout"},
		{KindPool, `{"retry":{"on":["reset","500","reset"],"budget_percent":101,"budget_min":-1}}`, "/retry/on/1 /retry/on/2 /retry/budget_percent /retry/budget_min"},
		{KindPool, `{"outlier":{"consecutive_errors":-1,"max_percent":101}}`, "/outlier/consecutive_errors /outlier/max_percent"},
		{KindPool, `{"outlier":{"base_ejection":"1m","max_ejection":"59s"}}`, "/outlier/max_ejection"},
		{KindPool, `{"sticky":{"ttl":"1h"}}`, "/sticky/cookie"},
		{KindPool, `{"sticky":{"cookie":"a b","ttl":"1500ms","same_site":"no","path":"x"}}`, "/sticky/cookie /sticky/ttl /sticky/same_site /sticky/path"},
		{KindPool, `{"sticky":{"cookie":"a","same_site":"none","path":"/a;b"}}`, "/sticky/secure /sticky/path"},
		{KindPool, `{"proxy_protocol":"v3"}`, "/proxy_protocol"},
		{KindPool, `{"proxy_protocol":"v1","protocol":"h2c"}`, "/proxy_protocol"},
		{KindPool, `{"health":{"type":"grpc","service":"a.B"}}`, ""},
		{KindPool, `{"health":{"service":"a.B"}}`, "/health/service"},
		{KindBackend, `{"address":"h:1","max_connections":-1}`, "/max_connections"},
		{KindRoute, `{"backend_pool":"p","timeouts":{"idle":"-1s","upgraded_idle":"25h"}}`, "/timeouts/idle /timeouts/upgraded_idle"},
		{KindRoute, `{"backend_pool":"p","match":{"host":"*.example.org","path":"/","method":"GET, POST","headers":{"X-A":"~a+","X-B":"*"},"query":{"q":"v"}}}`, ""},
		{KindRoute, `{}`, "/backend_pool"},
		{KindRoute, `{"backend_pool":"P"}`, "/backend_pool"},
		{KindRoute, `{"backend_pool":"p","priority":1000001}`, "/priority"},
		{KindRoute, `{"backend_pool":"p","algorithm":"fastest"}`, "/algorithm"},
		{KindRoute, `{"backend_pool":"p","hash":{"source":"query"}}`, "/hash/name"},
		{KindRoute, `{"backend_pool":"p","retries":11}`, "/retries"},
		{KindRoute, `{"backend_pool":"p","timeouts":{"connect":"25h","first_byte":"-1s","total":"25h"}}`, "/timeouts/connect /timeouts/first_byte /timeouts/total"},
		{KindRoute, `{"backend_pool":"p","match":{"host":"a.example:80"}}`, "/match/host"},
		{KindRoute, `{"backend_pool":"p","match":{"path":"users"}}`, "/match/path"},
		{KindRoute, `{"backend_pool":"p","match":{"path":"/a?b"}}`, "/match/path"},
		{KindRoute, `{"backend_pool":"p","match":{"path":"/` + long + `"}}`, "/match/path"},
		{KindRoute, `{"backend_pool":"p","match":{"path":"(","path_type":"regex"}}`, "/match/path"},
		{KindRoute, `{"backend_pool":"p","match":{"path_type":"glob"}}`, "/match/path_type"},
		{KindRoute, `{"backend_pool":"p","match":{"method":"GET,P T"}}`, "/match/method"},
		{KindRoute, `{"backend_pool":"p","match":{"headers":{"a b":"x"}}}`, "/match/headers/a b"},
		{KindRoute, `{"backend_pool":"p","match":{"headers":{"X":"~("}}}`, "/match/headers/X"},
		{KindRoute, `{"backend_pool":"p","match":{"query":{"a/b~c":"~("}}}`, "/match/query/a~1b~0c"},
		{KindRoute, `{"backend_pool":"p","match":{"query":{"q":"` + long + `"}}}`, "/match/query/q"},
		{KindFrontend, `{"hosts":["A.example","*.b.example"],"key":"k","required_tags":["t"]}`, ""},
		{KindFrontend, `{"hosts":["a.example:80"]}`, "/hosts/0"},
		{KindFrontend, `{"key":"a b"}`, "/key"},
		{KindFrontend, `{"secret":"` + long + `"}`, "/secret"},
		{KindFrontend, `{"required_tags":["a b"]}`, "/required_tags/0"},
		{"cat", `{}`, ""},
	} {
		spec, errs := decodeSpec(tc.kind, "x", []byte(tc.value), nil)
		if tc.kind == "cat" {
			if spec != nil || len(errs) != 1 {
				t.Errorf("an unknown kind gave %v, %v", spec, errs)
			}
			continue
		}
		var at []string
		for _, e := range errs {
			at = append(at, e.Pointer)
		}
		if got := strings.Join(at, " "); got != tc.want {
			t.Errorf("%s %.80s: errors at %q, want %q (%v)", tc.kind, tc.value, got, tc.want, errs)
		}
	}
}

func TestCheckID(t *testing.T) {
	t.Parallel()
	for id, ok := range map[string]bool{
		"a": true, "users-v1": true, "0.a_b-c": true, strings.Repeat("a", 63): true,
		"": false, "A": false, "-a": false, ".a": false, "a b": false, "a/b": false, "ä": false, "a\n": false, strings.Repeat("a", 64): false, "health": false,
	} {
		if got := CheckID(id); (got == "") != ok {
			t.Errorf("CheckID(%q) = %q, want it accepted: %v", id, got, ok)
		}
	}
}

func TestParseStatuses(t *testing.T) {
	t.Parallel()
	for in, want := range map[string][]StatusRange{
		"": {{100, 499}}, "200": {{200, 200}}, "200-399, 401": {{200, 399}, {401, 401}},
		"99": nil, "600": nil, "300-200": nil, "2xx": nil, "200-": nil, ",": nil, "200,,201": nil,
	} {
		got, err := ParseStatuses(in)
		if (err == nil) != (want != nil) || len(got) != len(want) {
			t.Errorf("ParseStatuses(%q) = %v, %v, want %v", in, got, err, want)
			continue
		}
		for i := range want {
			if got[i] != want[i] {
				t.Errorf("ParseStatuses(%q) = %v, want %v", in, got, want)
			}
		}
	}
}

func TestParseAddress(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]Address{
		"10.0.1.15:8080":               {"http", "10.0.1.15", 8080, ""},
		"Example.ORG:1":                {"http", "example.org", 1, ""},
		"https://example.org/a/b/":     {"https", "example.org", 443, "/a/b"},
		"http://example.org":           {"http", "example.org", 80, ""},
		"http://[2001:DB8::1]:8080":    {"http", "2001:db8::1", 8080, ""},
		"HTTP://under_score.example:5": {"http", "under_score.example", 5, ""},
		"http://h/..a/.b":              {"http", "h", 80, "/..a/.b"},
	} {
		if got, err := ParseAddress(in); err != nil || got != want {
			t.Errorf("ParseAddress(%q) = %+v, %v, want %+v", in, got, err, want)
		}
	}
	for _, in := range []string{
		"", "h", "h:0", "h:65536", "h:x", "h:1/path", "ftp://h", "http://", "http://:80", "http://u:p@h", "http://h?q", "http://h#f",
		"http://h/a//b", "http://h/./a", "http://h/a/.", "http://h/a/..", "http://-h", "http://h..x", "http://[::1", "http://a b", "h\n:1", strings.Repeat("h", 1025) + ":1",
	} {
		if got, err := ParseAddress(in); err == nil {
			t.Errorf("ParseAddress(%q) = %+v, want an error", in, got)
		}
	}
}
