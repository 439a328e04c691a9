package callback

import (
	"context"
	"crypto/sha1" //nolint:gosec // bbb-webhooks signs with it
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/lbnode/lbnode/bbb/ids"
	"github.com/lbnode/lbnode/state"
)

// maxBody bounds what a server may say, in bytes.
const maxBody = 256 << 10

// Store is the replicated state. Its methods may be called concurrently; only Do blocks.
type Store interface {
	View() *state.View
	Do(ctx context.Context, c state.Command) (state.Result, error)
}

// Proxy takes what servers say to tenants. It is an http.Handler for paths below [Path].
type Proxy struct {
	Store Store
	Log   *slog.Logger
	Now   func() time.Time
}

// errUnsigned says that a call is not signed by any of our servers.
var errUnsigned = errors.New("no server of ours has signed this")

// ServeHTTP answers 200 once the callback is in the log. Servers repeat what was not answered so.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	token, ok := strings.CutPrefix(r.URL.Path, Path)
	if !ok {
		http.NotFound(w, r)
		return
	}
	v := p.Store.View()
	t, _, ok := unseal(v, token)
	if !ok {
		http.NotFound(w, r)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		http.Error(w, "the body is too large or was cut off", http.StatusRequestEntityTooLarge)
		return
	}
	c, err := take(t, r, body, serverSecrets(v), p.Now())
	switch {
	case errors.Is(err, errUnsigned):
		http.Error(w, err.Error(), http.StatusUnauthorized)
		return
	case err != nil:
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	cmd := state.BBB(state.BBBOp{Enqueue: &state.EnqueueCallbacks{Callbacks: []state.Callback{c}}})
	cmd.Actor = "callback"
	if _, err := p.Store.Do(r.Context(), cmd); err != nil {
		p.Log.Warn("a callback could not be kept; the server will say it again", "kind", string(t.Kind), "frontend", t.Frontend, "error", err)
		status := http.StatusServiceUnavailable
		var refusal *state.Refusal
		if errors.As(err, &refusal) && refusal.Code == state.CodeInvalid {
			status = http.StatusBadRequest
		}
		http.Error(w, "the callback could not be kept", status)
		return
	}
	w.WriteHeader(http.StatusOK)
}

// serverSecrets are those of every BigBlueButton server.
func serverSecrets(v *state.View) []string {
	var out []string
	for b := range v.Backends() {
		out = append(out, b.BBB.Secrets...)
	}
	return out
}

// take makes a callback of what a server says. It returns errUnsigned where a signature is due and there is none.
func take(t target, r *http.Request, body []byte, secrets []string, now time.Time) (state.Callback, error) {
	c := state.Callback{Kind: t.Kind, Frontend: t.Frontend, MeetingID: t.MeetingID, Method: http.MethodPost, URL: t.URL}
	var err error
	switch t.Kind {
	case state.CallbackEnd:
		c.Method = http.MethodGet
		c.URL, err = withQuery(t.URL, r.URL.Query())
	case state.CallbackRecording:
		c.Auth, c.ContentType = state.AuthSigned, formType
		c.Body, err = takeClaims(body, secrets, now)
	case state.CallbackAnalytics:
		c.Auth, c.ContentType = state.AuthBearer, "application/json"
		if _, err = readJWT(hs512, strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), secrets, now); err != nil {
			return c, errUnsigned
		}
		if !json.Valid(body) {
			err = errors.New("the body is no JSON")
		}
		c.Body = tenantIDs(string(body))
	case state.CallbackHook:
		c.Auth, c.ContentType = state.AuthHook, formType
		c.Body, err = takeHook(r, body, secrets)
	default:
		err = errors.New("unknown kind of callback")
	}
	c.ID = idOf(c)
	return c, err
}

const formType = "application/x-www-form-urlencoded"

// idOf is the same for the same callback, so that what a server says twice while it waits is sent once.
func idOf(c state.Callback) string {
	sum := sha256.Sum256([]byte(strings.Join([]string{string(c.Kind), c.Frontend, c.MeetingID, c.URL, c.Body}, "\x00")))
	return hex.EncodeToString(sum[:12])
}

// withQuery adds the parameters of the server's call, such as recordingmarks, to those of the tenant's URL.
func withQuery(raw string, more url.Values) (string, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return "", errors.New("the tenant's URL is none")
	}
	q := u.Query()
	for name, values := range more {
		for i, value := range values {
			if _, own, ok := ids.Decode(value); ok {
				values[i] = own
			}
		}
		q[name] = values
	}
	u.RawQuery = q.Encode()
	return u.String(), nil
}

// takeClaims returns the claims of signed_parameters, about the tenant's own ids.
func takeClaims(body []byte, secrets []string, now time.Time) (string, error) {
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return "", errors.New("the body is no form")
	}
	claims, err := readJWT(hs256, form.Get("signed_parameters"), secrets, now)
	if err != nil {
		return "", errUnsigned
	}
	return tenantIDs(string(claims)), nil
}

// takeHook returns an event of bbb-webhooks, whose checksum is that of our URL, the body and the server's secret.
func takeHook(r *http.Request, body []byte, secrets []string) (string, error) {
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return "", errors.New("the body is no form")
	}
	sum := r.URL.Query().Get("checksum")
	scheme := "https"
	if r.TLS == nil && r.Header.Get("X-Forwarded-Proto") != "https" {
		scheme = "http"
	}
	called := scheme + "://" + r.Host + r.URL.EscapedPath()
	signed := false
	for _, s := range secrets {
		signed = signed || s != "" && sameHook(sum, called, string(body), s)
	}
	if !signed {
		return "", errUnsigned
	}
	for _, values := range form {
		for i := range values {
			values[i] = tenantIDs(values[i])
		}
	}
	return form.Encode(), nil
}

// hookChecksum is bbb-webhooks' own.
func hookChecksum(called, body, secret string) string {
	sum := sha1.Sum([]byte(called + body + secret)) //nolint:gosec // its choice
	return hex.EncodeToString(sum[:])
}

func sameHook(got, called, body, secret string) bool {
	strong := sha256.Sum256([]byte(called + body + secret))
	return subtle.ConstantTimeCompare([]byte(got), []byte(hookChecksum(called, body, secret))) == 1 ||
		subtle.ConstantTimeCompare([]byte(got), []byte(hex.EncodeToString(strong[:]))) == 1
}

var rewritten = regexp.MustCompile(`WyJ[A-Za-z0-9_-]{8,}={0,2}`) //nolint:gochecknoglobals // compiled once, never changed

// tenantIDs puts the tenant's own ids in the place of those that servers have, wherever they stand in JSON.
func tenantIDs(s string) string {
	return rewritten.ReplaceAllStringFunc(s, func(id string) string {
		_, own, ok := ids.Decode(id)
		quoted, err := json.Marshal(own)
		if !ok || err != nil {
			return id
		}
		return string(quoted[1 : len(quoted)-1])
	})
}
