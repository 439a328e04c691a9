package state

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestGolden_protection freezes how the settings that protect backends stand in the log.
func TestGolden_protection(t *testing.T) {
	t.Parallel()
	c := Command{Type: TypeTxn, RequestID: "req-9", At: at, Ops: parseAll(t,
		`put pool shop {"slow_start":"30s","max_connections":10,"queue":{"size":5,"timeout":"1s"},"retry":{"on":["reset","503"],"non_idempotent":true,"budget_percent":30,"budget_min":1},"outlier":{"consecutive_errors":5,"base_ejection":"10s","max_ejection":"1m","max_percent":50},"sticky":{"cookie":"LB","ttl":"1h","secure":true,"same_site":"strict","path":"/app"},"proxy_protocol":"v2","algorithm":"least_load","health":{"type":"grpc","service":"shop.Cart"}}`,
		`put backend s1 {"address":"10.0.1.15:8080","pool":"shop","max_connections":3}`,
		`put route s {"backend_pool":"shop","timeouts":{"idle":"1m","upgraded_idle":"1h"}}`,
	)}
	b, err := Encode(c)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "v3/protection-command.bin", b)
	v, res := Apply(NewView(), 1, 3, c)
	if res.Refusal != nil {
		t.Fatalf("refused: %+v", res.Refusal)
	}
	var sb strings.Builder
	if err := WriteSnapshot(&sb, v); err != nil {
		t.Fatal(err)
	}
	golden(t, "v3/protection-snapshot.jsonl", []byte(sb.String()))
	f, err := os.Open("testdata/v3/protection-snapshot.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	back, err := ReadSnapshot(f)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := Hash(back), Hash(v); got != want {
		t.Errorf("the hash of the restored view is %s, want %s", got, want)
	}
}

// TestNormalize_defaultsAreNotStored: what the API shows can be written back without a change.
func TestNormalize_defaultsAreNotStored(t *testing.T) {
	t.Parallel()
	bare, errs := DecodeSpec(KindPool, json.RawMessage(`{"id":"p","sticky":{"cookie":"c"}}`), nil)
	if errs != nil {
		t.Fatal(errs)
	}
	full, errs := DecodeSpec(KindPool, json.RawMessage(`{"id":"p","slow_start":"0s","max_connections":0,"queue":{"size":0,"timeout":"5s"},
		"retry":{"on":["connect_failure"],"non_idempotent":false,"budget_percent":20,"budget_min":10},
		"outlier":{"consecutive_errors":0,"base_ejection":"30s","max_ejection":"5m0s","max_percent":10},
		"sticky":{"cookie":"c","ttl":"0s","secure":false,"same_site":"lax","path":"/"},"proxy_protocol":"none"}`), nil)
	if errs != nil {
		t.Fatal(errs)
	}
	if d := cmp.Diff(bare, full); d != "" {
		t.Errorf("a document with all defaults is another one (-without +with):\n%s", d)
	}
	// Without a cookie nothing of the rest may be left either.
	off, errs := DecodeSpec(KindPool, json.RawMessage(`{"id":"p","sticky":{"cookie":"","ttl":"0s","secure":false,"same_site":"lax","path":"/"}}`), nil)
	if errs != nil || off.(*PoolSpec).Sticky != (Sticky{}) {
		t.Errorf("sticky switched off = %+v, %v", off, errs)
	}
}
