package b3api

import (
	"strings"
	"testing"
	"time"

	"github.com/lbnode/lbnode/state"
)

func TestParseJWT(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	good := mint("HS384", `{"scope":"b3scale b3scale:admin","sub":"me"}`, secret)
	parts := strings.Split(good, ".")
	for name, tc := range map[string]struct {
		token, secret string
		want          bool
	}{
		"good":             {good, secret, true},
		"not expired":      {mint("HS384", `{"exp":1800000001}`, secret), secret, true},
		"expired":          {mint("HS384", `{"exp":1800000000}`, secret), secret, false},
		"expired at 0":     {mint("HS384", `{"exp":0}`, secret), secret, false},
		"exp is a word":    {mint("HS384", `{"exp":"never"}`, secret), secret, false},
		"not yet":          {mint("HS384", `{"nbf":1800000001}`, secret), secret, false},
		"other secret":     {good, secret + "x", false},
		"no secret":        {mint("HS384", `{}`, ""), "", false},
		"other algorithm":  {mint("HS256", `{}`, secret), secret, false},
		"no algorithm":     {mint("none", `{}`, secret), secret, false},
		"no signature":     {parts[0] + "." + parts[1] + ".", secret, false},
		"cut signature":    {good[:len(good)-4], secret, false},
		"padded signature": {good + "=", secret, false},
		"other claims":     {parts[0] + "." + "e30" + "." + parts[2], secret, false},
		"four parts":       {good + ".x", secret, false},
		"claims no JSON":   {mint("HS384", `{"scope"`, secret), secret, false},
		"too long":         {mint("HS384", `{"x":"`+strings.Repeat("x", maxJWT)+`"}`, secret), secret, false},
		"nothing":          {"", secret, false},
	} {
		c, err := parseJWT(tc.token, []byte(tc.secret), now)
		if (err == nil) != tc.want {
			t.Errorf("%s: %+v, %v, want accepted: %v", name, c, err, tc.want)
		}
		if err != nil && c.Scope != "" {
			t.Errorf("%s: claims of a refused token: %+v", name, c)
		}
	}
	if c, _ := parseJWT(good, []byte(secret), now); c.Subject != "me" || c.Scope != "b3scale b3scale:admin" {
		t.Errorf("claims %+v", c)
	}
}

func FuzzParseJWT(f *testing.F) {
	f.Add(mint("HS384", `{"scope":"b3scale:admin"}`, secret))
	f.Add("eyJhbGciOiJIUzM4NCJ9..")
	f.Add("a.b.c")
	f.Fuzz(func(t *testing.T, text string) {
		if c, err := parseJWT(text, []byte("another secret that nobody knows"), time.Unix(0, 0)); err == nil {
			t.Errorf("parseJWT(%q) = %+v", text, c)
		}
		_, _ = parseJWT(mint("HS384", text, secret), []byte(secret), time.Unix(0, 0))
	})
}

func TestAccess(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	admin, node, user := scoped("ctl", "b3scale:admin"), scoped("agent", "b3scale:node"), scoped("acc", "b3scale")
	w.want("", "GET", "", "", 401, `{"message":"missing or malformed jwt"}`)
	w.want("a.b.c", "GET", "", "", 401, `{"message":"invalid or expired jwt"}`)
	w.want(mint("HS384", `{"scope":"b3scale:admin"}`, "guessed"), "GET", "/backends", "", 401, `{"message":"invalid or expired jwt"}`)
	w.want(user, "GET", "", "", 200, `"is_admin":false`)
	w.want(admin, "GET", "", "", 200, `"is_admin":true`)
	w.want(admin, "GET", "/", "", 200, `"api":"v1"`)
	w.want(admin, "GET", "/status", "", 200, `"account_ref":"ctl"`)
	w.want(node, "GET", "/backends", "", 403, `{"message":"b3scale:admin scope required"}`)
	w.want(user, "POST", "/backends", "{}", 403, `{"message":"b3scale:admin, b3scale:node scope required"}`)
	w.want(user, "GET", "/backends/x", "", 403, "scope required")
	w.want(node, "GET", "/frontends", "", 403, "scope required")
	w.want(user, "DELETE", "/frontends/x", "", 403, "scope required")
	for _, path := range []string{"/nothing", "/backends/no/such", "/backends/0", "/frontends/0"} {
		w.want(admin, "GET", path, "", 404, `{"message":"Not Found"}`)
	}
	w.want(admin, "PUT", "/backends", "{}", 404, `{"message":"Not Found"}`)
	w.want(admin, "POST", "/ctrl/migrate", "", 200, `"migrated":true,"migration":{`)
}

// A token of ours does what its role may do, and shows secrets to admins alone.
func TestAccess_ours(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.ok("POST", "/backends", `{"bbb":{"host":"https://a.example.org/","secret":"top"}}`)
	b, f := firstID(t, w, "/backends"), w.ok("POST", "/frontends", `{"bbb":{"key":"uni","secret":"top"}}`)["id"].(string)
	for _, tc := range []struct {
		role         state.Role
		read, write  int
		secretsShown bool
	}{{state.RoleViewer, 200, 403, false}, {state.RoleOperator, 200, 200, false}, {state.RoleAdmin, 200, 200, true}} {
		w.role = tc.role
		w.want("good", "GET", "", "", 200, `"is_admin":true`)
		for _, path := range []string{"/backends", "/frontends", "/backends/" + b, "/frontends/" + f} {
			if code, text := w.as("good", "GET", path, ""); code != tc.read || strings.Contains(text, "top") != tc.secretsShown {
				t.Errorf("%s: GET %s = %d %s", tc.role, path, code, text)
			}
		}
		w.want("good", "PATCH", "/backends/"+b, `{"bbb":{"secret":""}}`, tc.write, "")
		w.want("good", "PATCH", "/frontends/"+f, `{"bbb":{"secret":""}}`, tc.write, "")
	}
	if x, _ := w.View().Backend(b); x.BBB.Secret() != "top" {
		t.Errorf("what was not shown was lost: %q", x.BBB.Secret())
	}
	w.want("bad", "GET", "", "", 401, "invalid or expired jwt")
	w.bound = true
	w.want("good", "GET", "/backends", "", 403, "bound to pools")
}

func firstID(t *testing.T, w *world, path string) string {
	t.Helper()
	_, text := w.admin("GET", path, "")
	_, rest, _ := strings.Cut(text, `"id":"`)
	id, _, _ := strings.Cut(rest, `"`)
	return id
}

// Guessing gets slow, and the right token is let in all the same.
// Servers' secrets are not for everybody, even where the rest of the API is.
func TestAccess_open(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.admin("POST", "/backends", `{"bbb":{"host":"https://bbb.example.org/bigbluebutton/api/","secret":"hush"}}`)
	w.open = true
	w.want("nope", "GET", "/backends", "", 401, "invalid or expired jwt")
	w.want(mint("HS384", `{"scope":"b3scale:admin"}`, secret), "GET", "/backends", "", 200, "hush")
	w.nokey = true
	if status, body := w.as("nope", "GET", "/backends", ""); status != 200 || strings.Contains(body, "hush") {
		t.Errorf("without a secret of b3scale's: %d %s, want 200 without servers' secrets", status, body)
	}
}

func TestAccess_guesses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	last := 0
	for range 20 {
		last, _ = w.as(mint("HS384", `{"scope":"b3scale:admin"}`, "guessed"), "GET", "", "")
	}
	if last != 429 {
		t.Errorf("the 20th wrong token: %d, want 429", last)
	}
	w.ok("GET", "", "")
}
