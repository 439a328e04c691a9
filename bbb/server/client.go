package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lbnode/lbnode/bbb/sign"
	"github.com/lbnode/lbnode/bbb/xml"
)

// What can become of a call besides an answer. Each error of a Client wraps one of them.
var (
	// ErrNotSent says that the server has certainly not acted on the call: it could not be reached.
	ErrNotSent = errors.New("not sent")
	// ErrNoAnswer says that the server may have acted, but gave no answer, or none that can be read.
	ErrNoAnswer = errors.New("no usable answer")
	// ErrSecret says that the server takes none of the secrets. It has not acted.
	ErrSecret = errors.New("the server takes none of the secrets")
)

// Config is what a Client needs.
type Config struct {
	Timeout   time.Duration // of a call whose context has no earlier deadline
	MaxAnswer int64         // bytes
	PerServer int           // calls to one server at a time; others wait
	Transport *http.Transport
	Now       func() time.Time
}

// DefaultConfig has every default.
func DefaultConfig() Config {
	return Config{Timeout: 10 * time.Second, MaxAnswer: 64 << 20, PerServer: 32, Now: time.Now}
}

// Validate names the first field that cannot be used.
func (c Config) Validate() error {
	switch {
	case c.Timeout <= 0:
		return errors.New("bbb/server: config: Timeout must be positive")
	case c.MaxAnswer <= 0:
		return errors.New("bbb/server: config: MaxAnswer must be positive")
	case c.PerServer <= 0:
		return errors.New("bbb/server: config: PerServer must be positive")
	case c.Now == nil:
		return errors.New("bbb/server: config: Now is nil")
	}
	return nil
}

// Client calls servers. Its methods may be called concurrently.
type Client struct {
	cfg  Config
	http *http.Client
	tr   *http.Transport

	mu    sync.Mutex // guards known
	known map[string]key
}

// key is how calls to a server are to be signed, as it has last accepted it.
type key struct {
	secret string
	hash   sign.Algorithm
	failed time.Time // when none was accepted; zero = this one was
}

// maxKnown bounds how many servers are remembered.
const maxKnown = 10_000

// again is how long a server that took no signature gets one only.
const again = 10 * time.Second

// New makes a client.
func New(cfg Config) (*Client, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	tr := cfg.Transport
	if tr == nil {
		tr = http.DefaultTransport.(*http.Transport).Clone() //nolint:forcetypeassert // it is documented to be one
		tr.Proxy = nil
	}
	tr.MaxConnsPerHost, tr.MaxIdleConnsPerHost, tr.MaxIdleConns = cfg.PerServer, cfg.PerServer, 0
	c := &Client{cfg: cfg, tr: tr, known: map[string]key{}}
	c.http = &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return c, nil
}

// Close closes unused connections.
func (c *Client) Close() { c.tr.CloseIdleConnections() }

// Body is what a POST brings along. Its parameters stay in the query.
type Body struct {
	Type string
	Data []byte
}

// Answer is what a server said.
type Answer struct {
	Doc      []byte // as it came
	Type     string // its Content-Type
	Location string // of a redirect; Doc is empty then
	xml.Outcome
}

// Call makes a call and returns the server's answer, which may be a refusal: see [Answer.OK]. body may be nil. The
// error wraps one of ErrNotSent, ErrNoAnswer and ErrSecret.
func (c *Client) Call(ctx context.Context, s Server, call string, p sign.Params, body *Body) (*Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	for _, k := range c.keys(s) {
		a, err := c.once(ctx, s, call, p, body, k)
		if err != nil {
			return nil, err
		}
		if a.Key != xml.KeyChecksum || a.OK {
			c.learn(s, k)
			return a, nil
		}
	}
	c.learn(s, key{failed: c.cfg.Now()})
	return nil, fmt.Errorf("%s: %w", s.ID, ErrSecret)
}

// URL is the signed URL of a call that somebody else makes, such as a browser. If it is not known yet what the server
// accepts, it is asked with another call first; the error is that of [Client.Call].
func (c *Client) URL(ctx context.Context, s Server, call string, p sign.Params) (string, error) {
	k, ok := c.accepted(s)
	if !ok {
		if _, err := c.Call(ctx, s, "isMeetingRunning", sign.Params{{Name: "meetingID", Value: "signature-check"}}, nil); err != nil {
			return "", err
		}
		if k, ok = c.accepted(s); !ok {
			return "", fmt.Errorf("%s: %w", s.ID, ErrSecret)
		}
	}
	return s.API + "/" + call + "?" + sign.Query(call, p, k.secret, k.hash), nil
}

// hashes are those that are tried, in this order.
var hashes = [...]sign.Algorithm{sign.SHA512, sign.SHA256, sign.SHA1, sign.SHA384}

// keys are the ways to sign that are worth a try, the one that was accepted last first.
func (c *Client) keys(s Server) []key {
	c.mu.Lock()
	k, ok := c.known[s.ID]
	c.mu.Unlock()
	var out []key
	if ok && k.failed.IsZero() && has(s.Secrets, k.secret) {
		out = append(out, k)
	}
	for _, secret := range s.Secrets {
		for _, h := range hashes {
			if next := (key{secret: secret, hash: h}); len(out) == 0 || out[0] != next {
				out = append(out, next)
			}
		}
	}
	if ok && !k.failed.IsZero() && c.cfg.Now().Sub(k.failed) < again && len(out) > 1 {
		return out[:1]
	}
	return out
}

func has(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

func (c *Client) accepted(s Server) (key, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k, ok := c.known[s.ID]
	return k, ok && k.failed.IsZero() && has(s.Secrets, k.secret)
}

func (c *Client) learn(s Server, k key) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.known) >= maxKnown {
		clear(c.known)
	}
	c.known[s.ID] = k
}

// once sends a call with one signature.
func (c *Client) once(ctx context.Context, s Server, call string, p sign.Params, body *Body, k key) (*Answer, error) {
	method, data, kind := http.MethodGet, io.Reader(nil), ""
	if body != nil {
		method, data, kind = http.MethodPost, bytes.NewReader(body.Data), body.Type
	}
	var sent atomic.Bool
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { sent.Store(true) },
	})
	req, err := http.NewRequestWithContext(traced, method, s.API+"/"+call+"?"+sign.Query(call, p, k.secret, k.hash), data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: the URL cannot be used", s.ID, ErrNotSent)
	}
	req.Header.Set("User-Agent", "lbnode-bbb")
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		what := ErrNotSent
		if sent.Load() {
			what = ErrNoAnswer
		}
		return nil, fmt.Errorf("%s: %s: %w: %w", s.ID, call, what, plain(err))
	}
	defer resp.Body.Close()
	return c.read(s, call, resp)
}

// read reads an answer.
func (c *Client) read(s Server, call string, resp *http.Response) (*Answer, error) {
	a := &Answer{Type: resp.Header.Get("Content-Type")}
	if loc := resp.Header.Get("Location"); loc != "" && resp.StatusCode >= 300 && resp.StatusCode < 400 {
		a.Location = loc
		a.OK = true
		return a, nil
	}
	doc, err := io.ReadAll(io.LimitReader(resp.Body, c.cfg.MaxAnswer+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %s: %w: %w", s.ID, call, ErrNoAnswer, plain(err))
	case int64(len(doc)) > c.cfg.MaxAnswer:
		return nil, fmt.Errorf("%s: %s: %w: more than %d bytes", s.ID, call, ErrNoAnswer, c.cfg.MaxAnswer)
	}
	a.Doc = doc
	if isJSON(call) && resp.StatusCode == http.StatusOK && bytes.HasPrefix(bytes.TrimSpace(doc), []byte("{")) {
		a.OK = true
		return a, nil
	}
	if a.Outcome, err = xml.OutcomeOf(doc); err != nil {
		return nil, fmt.Errorf("%s: %s: %w: status %d: %w", s.ID, call, ErrNoAnswer, resp.StatusCode, err)
	}
	return a, nil
}

// isJSON names the calls whose answers are JSON.
func isJSON(call string) bool {
	return call == "getRecordingTextTracks" || call == "putRecordingTextTrack"
}

// plain is an error without the URL that net/http puts into it.
func plain(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}
