package client

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/lbnode/lbnode/api"
)

// Client calls the admin API of one cluster. Its methods may be called by any number of goroutines.
type Client struct {
	cfg  Config
	http http.Client
	at   atomic.Int32 // index in cfg.URLs of the node that worked last
}

// New returns a client. It makes no connection.
func New(cfg Config) (*Client, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Client{cfg: cfg, http: http.Client{
		Transport: cfg.Transport,
		// A redirected POST becomes a GET, and a redirect to another host loses the token: nothing is followed.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Close gives up idle connections. Calls that run are not touched.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Node returns the URL of the node that is asked first.
func (c *Client) Node() string { return c.cfg.URLs[c.at.Load()] }

// Request is one call of the API.
type Request struct {
	Method string
	Path   string // escaped, below the API's root, as [Path] returns it
	Query  url.Values
	Body   []byte // JSON; nil = none
	// ContentType is what Body is, or for a read what the answer is to be; "" = JSON.
	ContentType string
	// IfMatch is the modify_index that the object must have; 0 = any.
	IfMatch uint64
	// Key is the Idempotency-Key of a write; "" = a new one. Calls with the same key and body have their
	// effect once.
	Key string
}

func (r Request) isWrite() bool { return r.Method != http.MethodGet && r.Method != http.MethodHead }

// check finds what no server needs to be asked about.
func (r Request) check() *Error {
	bad := ""
	switch {
	case !strings.HasPrefix(r.Path, "/"):
		bad = "the path must start with /"
	case len(r.Body) > api.MaxBody && r.ContentType == "":
		bad = "the body is over 1 MiB"
	case len(r.Body) > api.MaxBackup:
		bad = "the body is over 64 MiB"
	case len(r.Key) > api.MaxIdempotencyKey || strings.ContainsFunc(r.Key, func(c rune) bool { return c <= ' ' || c >= 0x7f }):
		bad = "an Idempotency-Key must be at most 128 visible ASCII characters"
	}
	for segment := range strings.SplitSeq(strings.TrimPrefix(r.Path, "/"), "/") {
		if segment == "" || segment == "." || segment == ".." {
			bad = "an id must not be empty, \".\" or \"..\""
		}
	}
	if bad == "" {
		return nil
	}
	return &Error{Method: r.Method, Path: r.Path, kind: ErrInvalid, Problem: api.Problem{Detail: bad, Code: api.CodeInvalid, Outcome: api.OutcomeNotApplied}}
}

// Response is an answer with a 2xx status.
type Response struct {
	Status int
	Header http.Header
	Body   []byte // JSON as it came; empty = none
	Node   string // URL of the node that answered
	Key    string // the Idempotency-Key that was sent with a write
}

// Index is the log index of what was read, or at which a write is visible; 0 = the answer does not say.
func (r *Response) Index() uint64 {
	n, err := strconv.ParseUint(r.Header.Get(api.HeaderIndex), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// Stale says that the answer comes from a node's disk and no leader has confirmed it yet.
func (r *Response) Stale() bool { return r.Header.Get(api.HeaderStale) == "true" }

// Path joins path segments, escaping each, so that a backend's address may stand for its id.
func Path(segments ...string) string {
	var b strings.Builder
	for _, s := range segments {
		b.WriteByte('/')
		b.WriteString(url.PathEscape(s))
	}
	return b.String()
}
