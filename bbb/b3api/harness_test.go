package b3api

import (
	"context"
	"crypto/hmac"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lbnode/lbnode/bbb/control"
	"github.com/lbnode/lbnode/bbb/load"
	"github.com/lbnode/lbnode/bbb/recording"
	"github.com/lbnode/lbnode/internal/auth"
	"github.com/lbnode/lbnode/state"
)

const secret = "a secret of b3scale's operator"

// world is a server with a state of its own.
type world struct {
	t      testing.TB
	s      *Server
	table  *load.Table
	now    time.Time
	role   state.Role // of the bearer of a token of our own
	bound  bool
	open   bool // there are no tokens of our own
	nokey  bool // nor a secret of b3scale's
	silent bool // servers do not answer

	mu    sync.Mutex
	view  *state.View
	ids   int
	raced int // so many changes by others come before the next ones
}

func (w *world) View() *state.View {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.view
}

func (w *world) Do(_ context.Context, c state.Command) (state.Result, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for ; w.raced > 0; w.raced-- {
		id := c.Ops[0].ID
		w.view, _ = state.Apply(w.view, w.view.Index+1, 1, state.Command{Type: state.TypeTxn, At: w.now, Ops: []state.Op{{
			Verb: state.VerbPatch, Kind: c.Ops[0].Kind, ID: id, Value: json.RawMessage(fmt.Sprintf(`{"weight":%d}`, 10+w.raced)),
		}}})
	}
	c.At = w.now
	var res state.Result
	w.view, res = state.Apply(w.view, w.view.Index+1, 1, c)
	if res.Refusal != nil {
		return res, res.Refusal
	}
	return res, nil
}

func (w *world) Identify(r *http.Request) (Identity, int) {
	if w.open {
		return Identity{Actor: "local", Role: state.RoleAdmin, Open: true}, 0
	}
	if !strings.HasSuffix(r.Header.Get("Authorization"), "good") {
		return Identity{}, http.StatusUnauthorized
	}
	return Identity{Actor: "token/ci", Role: w.role, Bound: w.bound}, 0
}

func (w *world) secret() []byte {
	if w.nokey {
		return nil
	}
	return []byte(secret)
}

func (w *world) newID() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ids++
	return fmt.Sprintf("00000000-0000-4000-8000-%012d", w.ids)
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, view: state.NewView(), now: time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC), role: state.RoleAdmin}
	w.table = load.NewTable(func() time.Time { return w.now }, nil)
	cfg := DefaultConfig()
	cfg.NodeID, cfg.Store, cfg.Table, cfg.Tokens, cfg.Limiter = "n1", w, w.table, w, auth.NewLimiter(auth.DefaultLimiter())
	cfg.Secret, cfg.Logger, cfg.NewID = w.secret, slog.New(slog.DiscardHandler), w.newID
	cfg.Meetings, cfg.Recordings = w, w
	cfg.Now = func() time.Time { return w.now }
	var err error
	if w.s, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.s.Close)
	return w
}

func (w *world) End(ctx context.Context, _ string, meetings ...*state.Meeting) (control.Ended, error) {
	var keys []state.MeetingKey
	for _, m := range meetings {
		keys = append(keys, m.Key())
	}
	_, err := w.Do(ctx, state.BBB(state.BBBOp{End: &state.EndMeetings{Keys: keys}}))
	if w.silent {
		return control.Ended{Later: len(keys), Err: errors.New("no answer")}, err
	}
	return control.Ended{Ended: len(keys)}, err
}

func (w *world) EndAll(ctx context.Context, _, backendID string) (control.Ended, error) {
	return w.End(ctx, "", slices.Collect(w.View().MeetingsOn(backendID))...)
}

func (w *world) ImportXML(ctx context.Context, doc []byte, o recording.ImportOptions) (state.Recording, error) {
	r, err := recording.Parse(doc)
	if err == nil {
		r.Frontend, r.MeetingID, err = recording.Owner(w.View(), r, o.FrontendKey, o.MeetingID)
	}
	if err == nil {
		_, err = w.Do(ctx, state.BBB(state.BBBOp{PutRecordings: &state.PutRecordings{Recordings: []state.Recording{r}}}))
	}
	return r, err
}

func (w *world) SetVisibility(ctx context.Context, id, visibility string) (bool, error) {
	res, err := w.Do(ctx, state.BBB(state.BBBOp{PatchRecordings: &state.PatchRecordings{IDs: []string{id}, Visibility: visibility}}))
	return err == nil && res.BBB[0].Count > 0, err
}

// mint makes a token; what is in the claims is JSON.
func mint(alg, claims, key string) string {
	text := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"`+alg+`","typ":"JWT"}`)) + "." + base64.RawURLEncoding.EncodeToString([]byte(claims))
	h := hmac.New(sha512.New384, []byte(key))
	h.Write([]byte(text))
	return text + "." + base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

func scoped(sub, scope string) string {
	return mint("HS384", fmt.Sprintf(`{"scope":%q,"sub":%q,"iat":1700000000,"jti":"abc"}`, scope, sub), secret)
}

// as calls with a token.
func (w *world) as(token, method, path, body string) (int, string) {
	w.t.Helper()
	r := httptest.NewRequestWithContext(w.t.Context(), method, Path+path, strings.NewReader(body))
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	rec := httptest.NewRecorder()
	w.s.ServeHTTP(rec, r)
	if ct := rec.Header().Get("Content-Type"); ct != "application/json" || !strings.HasSuffix(rec.Body.String(), "\n") {
		w.t.Errorf("%s %s: Content-Type %q, body %q", method, path, ct, rec.Body)
	}
	return rec.Code, strings.TrimSuffix(rec.Body.String(), "\n")
}

// admin calls as b3scalectl does.
func (w *world) admin(method, path, body string) (int, string) {
	w.t.Helper()
	return w.as(scoped("b3scalectl", "b3scale:admin"), method, path, body)
}

// ok is admin for what must work.
func (w *world) ok(method, path, body string) map[string]any {
	w.t.Helper()
	code, text := w.admin(method, path, body)
	if code != http.StatusOK {
		w.t.Fatalf("%s %s = %d %s", method, path, code, text)
	}
	var out map[string]any
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		w.t.Fatal(err)
	}
	return out
}

// want calls and compares status and a part of the body.
func (w *world) want(token, method, path, body string, status int, part string) {
	w.t.Helper()
	code, text := w.as(token, method, path, body)
	if code != status || !strings.Contains(text, part) {
		w.t.Errorf("%s %s = %d %s, want %d with %s", method, path, code, text, status, part)
	}
}

func (w *world) txn(ops ...state.Op) {
	w.t.Helper()
	if _, err := w.Do(w.t.Context(), state.Command{Type: state.TypeTxn, Ops: ops}); err != nil {
		w.t.Fatal(err)
	}
}
