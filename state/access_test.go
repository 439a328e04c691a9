package state

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const (
	someHash = `"hash":"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"`
	somePEM  = `"certificate":"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n","private_key":"sealed"`
)

// accessCommands has the commands of tokens and certificates as the log has them.
func accessCommands(t testing.TB) []Command {
	t.Helper()
	return []Command{
		{Type: TypeInit, At: at, ClusterID: "7f1d2c54-33a2-4f6f-9a62-0a3f0f3f5a11"},
		{Type: TypeTxn, RequestID: "req-1", Actor: "local", At: at, Ops: parseAll(t,
			`create token root {"role":"admin",`+someHash+`}`,
			`create token ci {"role":"operator","description":"deploys","pools":["b","a"],"expires_at":"2027-01-02T03:04:05Z",`+someHash+`}`,
			`put certificate site {`+somePEM+`,"hosts":["WWW.example.org"]}`,
			`put pool mtls {"tls":{"client_certificate":"site"}}`,
		)},
		{Type: TypeTxn, RequestID: "req-2", Actor: "token/ci", At: at, Scope: []string{"a", "b"}, Ops: parseAll(t, `put backend x {"address":"h:1","pool":"a"}`)},
		{Type: TypeTxn, RequestID: "req-3", Actor: "token/ci", At: at, Scope: []string{"a", "b"}, Ops: parseAll(t, `put backend y {"address":"h:2","pool":"c"}`)},
		{Type: TypeTxn, RequestID: "req-4", Actor: "token/root", At: at, Ops: parseAll(t, `patch token ci {"role":"viewer","pools":null,"expires_at":null}`)},
	}
}

func TestGolden_access(t *testing.T) {
	t.Parallel()
	v := NewView()
	for i, c := range accessCommands(t) {
		b, err := Encode(c)
		if err != nil {
			t.Fatal(err)
		}
		name := fmt.Sprintf("v3/access-command-%d.bin", i+1)
		golden(t, name, b)
		stored, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		decoded, err := Decode(stored)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(c, decoded); d != "" {
			t.Errorf("%s reads as another command: %s", name, d)
		}
		var res Result
		v, res = Apply(v, uint64(i+1), 3, decoded)
		if refused := res.Refusal != nil; refused != (i == 3) {
			t.Errorf("%s: refusal %v", name, res.Refusal)
		}
	}
	var snap bytes.Buffer
	if err := WriteSnapshot(&snap, v); err != nil {
		t.Fatal(err)
	}
	golden(t, "v3/access-snapshot.jsonl", snap.Bytes())
	stored, err := os.Open("testdata/v3/access-snapshot.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stored.Close() }()
	back, err := ReadSnapshot(stored)
	if err != nil {
		t.Fatal(err)
	}
	if Hash(back) != Hash(v) {
		t.Error("the restored view is another one")
	}
	token, ok := back.Token("ci")
	if !ok || token.Role != RoleViewer || len(token.Pools) > 0 || !token.ExpiresAt.IsZero() || token.Description != "deploys" {
		t.Errorf("token ci = %+v, want a viewer without pools and expiry", token)
	}
	if c, ok := back.Certificate("site"); !ok || !slices.Equal(c.Hosts, []string{"www.example.org"}) {
		t.Errorf("certificate site = %+v, want the host in lower case", c)
	}
}

func TestToken_validate(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`{` + someHash + `}`:                              "",
		`{"role":"root",` + someHash + `}`:                "/role must be one of viewer, operator, admin",
		`{}`:                                              "/hash must be a SHA-256",
		`{"hash":"zz"}`:                                   "/hash must be a SHA-256",
		`{"pools":["A"],` + someHash + `}`:                "/pools/0 must be 1 to 63",
		`{"description":"a\nb",` + someHash + `}`:         "/description must be one line",
		`{"role":"admin","pools":["a"],` + someHash + `}`: "/pools must be empty for an admin",
	} {
		_, errs := decodeSpec(KindToken, "t", []byte(in), nil)
		got := ""
		for _, e := range errs {
			got += e.Pointer + " " + e.Message
		}
		if want == "" && got != "" || !strings.HasPrefix(got, want) {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
}

func TestToken_expired(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		expires time.Time
		want    bool
	}{{time.Time{}, false}, {at.Add(time.Second), false}, {at, true}, {at.Add(-time.Second), true}} {
		if got := (&Token{TokenSpec: TokenSpec{ExpiresAt: tc.expires}}).Expired(at); got != tc.want {
			t.Errorf("expires %s: expired = %v, want %v", tc.expires, got, tc.want)
		}
	}
}

func TestToken_lastAdminStays(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	l.must(parseAll(t, `create token a {"role":"admin",`+someHash+`}`, `create token v {`+someHash+`}`)...)
	for _, op := range []string{`delete token a`, `patch token a {"role":"viewer"}`, `put token a {"role":"operator"}`} {
		if res := l.ops(parse(t, op)); res.Refusal == nil || res.Refusal.Code != CodeInUse {
			t.Errorf("%s: %v, want in_use", op, res.Refusal)
		}
	}
	l.must(parse(t, `patch token a {"description":"still an admin"}`))
	l.must(parse(t, `create token b {"role":"admin",`+someHash+`}`))
	l.must(parse(t, `delete token a`))
	l.must(parse(t, `delete! token b`))
}

func TestCertificate_validate(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`{` + somePEM + `}`:                       "",
		`{` + somePEM + `,"hosts":["a.b","*.c"]}`: "",
		`{` + somePEM + `,"hosts":["a:1"]}`:       "/hosts/0 must be a host name",
		`{"private_key":"sealed"}`:                "/certificate must start with",
		strings.Replace(`{`+somePEM+`}`, "sealed", "-----BEGIN PRIVATE KEY-----", 1): "/private_key must be sealed",
		strings.Replace(`{`+somePEM+`}`, "sealed", "", 1):                            "/private_key must be there",
	} {
		_, errs := decodeSpec(KindCertificate, "c", []byte(in), nil)
		got := ""
		for _, e := range errs {
			got += e.Pointer + " " + e.Message
		}
		if want == "" && got != "" || !strings.HasPrefix(got, want) {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
}

func TestCertificate_isKeptWhilePoolsNameIt(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	res := l.ops(parse(t, `put pool p {"tls":{"client_certificate":"c"}}`))
	if res.Refusal == nil || res.Refusal.Code != CodeInvalid || res.Refusal.Errors[0].Pointer != "/tls/client_certificate" {
		t.Errorf("a pool with a certificate that does not exist: %v", res.Refusal)
	}
	l.must(parseAll(t, `put certificate c {`+somePEM+`}`, `put pool p {"tls":{"client_certificate":"c"}}`)...)
	for _, op := range []string{`delete certificate c`, `delete! certificate c`} {
		if res := l.ops(parse(t, op)); res.Refusal == nil || res.Refusal.Code != CodeInUse || !slices.Equal(res.Refusal.Refs, []string{"pool/p"}) {
			t.Errorf("%s: %v, want in_use by pool/p", op, res.Refusal)
		}
	}
	l.must(parseAll(t, `put certificate c {"certificate":"-----BEGIN CERTIFICATE-----\nBBBB\n-----END CERTIFICATE-----"}`)...)
	if c, _ := l.view.Certificate("c"); c.PrivateKey != "sealed" {
		t.Errorf("the key became %q, want the one that was left out", c.PrivateKey)
	}
	l.must(parseAll(t, `patch pool p {"tls":{"client_certificate":null}}`, `delete certificate c`)...)
}

func TestScope_bindsCommands(t *testing.T) {
	t.Parallel()
	for op, allowed := range map[string]bool{
		`put backend new {"address":"h:9","pool":"mine"}`:  true,
		`put backend new {"address":"h:9","pool":"made"}`:  true, // by this very command
		`put backend new {"address":"h:9","pool":"other"}`: false,
		`put backend new {"address":"h:9"}`:                false, // the default pool
		`patch backend own {"weight":2}`:                   true,
		`patch backend own {"pool":"other"}`:               false, // given away
		`patch backend foreign {"pool":"mine"}`:            false, // taken
		`patch backend foreign {"admin_state":"stopped"}`:  false,
		`delete backend own`:                               true,
		`delete! backend foreign`:                          false,
		`put route r {"backend_pool":"mine"}`:              true,
		`put route r {"backend_pool":"other"}`:             false,
		`delete route foreign`:                             false,
		`patch pool mine {"on_empty":"fail"}`:              false,
		`delete! pool mine`:                                false,
		`put frontend f {"key":"f"}`:                       false,
		`create token t {"role":"admin",` + someHash + `}`: false,
		`put certificate c {` + somePEM + `}`:              false,
	} {
		l := newLog(t)
		l.must(parseAll(t, `put backend own {"address":"h:1","pool":"mine"}`, `put backend foreign {"address":"h:2","pool":"other"}`,
			`put route foreign {"backend_pool":"other"}`)...)
		before := l.view
		res := l.do(Command{Type: TypeTxn, Scope: []string{"mine", "made"}, Ops: parseAll(t, `put backend first {"address":"h:3","pool":"mine"}`, op)})
		switch {
		case allowed && res.Refusal != nil:
			t.Errorf("%s: %v, want it done", op, res.Refusal)
		case !allowed && (res.Refusal == nil || res.Refusal.Code != CodeForbidden || res.Refusal.Op != 1):
			t.Errorf("%s: %v, want forbidden", op, res.Refusal)
		case !allowed && l.view.Len(KindBackend) != before.Len(KindBackend):
			t.Errorf("%s: refused, and yet half done", op)
		}
	}
}

// Who is bound to pools says yes to nobody else's change.
func TestScope_bindsConfirmations(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	for _, actor := range []string{"token/ci", "ann"} {
		l.do(Command{Type: TypeTxn, Actor: actor, ConfirmWithin: Duration(time.Minute), Ops: parseAll(t, `put backend `+actor[len(actor)-2:]+` {"address":"h:1","pool":"a"}`)})
	}
	confirm := func(index uint64) *Refusal {
		return l.do(Command{Type: TypeTxn, Actor: "token/ci", Scope: []string{"a"}, Settle: &Settlement{Index: index}}).Refusal
	}
	if r := confirm(2); r == nil || r.Code != CodeForbidden {
		t.Errorf("the change of somebody else: %v, want forbidden", r)
	}
	if r := confirm(1); r != nil {
		t.Errorf("its own change: %v", r)
	}
}
