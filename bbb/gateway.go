package bbb

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/lbnode/lbnode/bbb/load"
	"github.com/lbnode/lbnode/bbb/server"
	"github.com/lbnode/lbnode/bbb/sign"
	"github.com/lbnode/lbnode/bbb/xml"
	"github.com/lbnode/lbnode/state"
)

// Store is the replicated state.
type Store interface {
	// View returns the newest view of this node. It never blocks.
	View() *state.View
	// Do commits a command and returns once this node has applied it. The error is a *state.Refusal, or wraps
	// state.ErrNoLeader (certainly not applied) or state.ErrOutcomeUnknown.
	Do(ctx context.Context, c state.Command) (state.Result, error)
}

// Recordings answers the calls about recordings. The checksum has been checked; ids are the tenant's.
type Recordings interface {
	Serve(w http.ResponseWriter, r *http.Request, f *state.Frontend, call string, p sign.Params)
}

// Callbacks rewrites the URLs that servers are to call. base is the tenant's way to this cluster, such as https://host.
type Callbacks interface {
	Create(f *state.Frontend, meetingID, base string, p sign.Params) sign.Params
}

// Config is what a Gateway needs.
type Config struct {
	Store      Store
	Client     *server.Client
	Loads      *load.Table
	Recordings Recordings // nil = there are none
	Callbacks  Callbacks  // nil = URLs stay as they are
	// CatchUp brings Store up to what the leader has at the time of the call. It is for meetings that another node has
	// just created; when it fails, this node answers by what it has. nil = always so.
	CatchUp       func(ctx context.Context) error
	CatchUpWithin time.Duration
	Log           *slog.Logger
	Now           func() time.Time
	Deadline      time.Duration // of a whole call, but getMeetings
	ListWithin    time.Duration // getMeetings leaves out servers that take longer
	MaxBody       int64         // bytes of a request's body
}

// DefaultConfig has every default.
func DefaultConfig() Config {
	return Config{Now: time.Now, CatchUpWithin: 2 * time.Second, Deadline: 30 * time.Second, ListWithin: 5 * time.Second, MaxBody: 32 << 20}
}

// Validate names the first field that cannot be used.
func (c Config) Validate() error {
	switch {
	case c.Store == nil, c.Client == nil, c.Loads == nil, c.Log == nil, c.Now == nil:
		return errors.New("bbb: config: Store, Client, Loads, Log and Now must not be nil")
	case c.CatchUpWithin <= 0 || c.Deadline <= 0 || c.ListWithin <= 0 || c.MaxBody <= 0:
		return errors.New("bbb: config: CatchUpWithin, Deadline, ListWithin and MaxBody must be positive")
	}
	return nil
}

// Gateway serves tenants.
type Gateway struct{ cfg Config }

// New makes a gateway.
func New(cfg Config) (*Gateway, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Gateway{cfg: cfg}, nil
}

// request is one call of a tenant whose checksum is right.
type request struct {
	tenant
	call string
	p    sign.Params
	body *server.Body // nil = none
	base string
}

// answer is what a tenant gets: a document, or a redirect.
type answer struct {
	doc      []byte
	kind     string // of the document; "" = XML
	location string
}

func refused(key, message string) answer { return answer{doc: xml.Failed(key, message)} }

// ServeHTTP answers one call.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	key, call, ok := splitPath(r.URL.Path)
	if !ok {
		send(w, r, refused(xml.KeyUnsupported, "This request is not supported."))
		return
	}
	if call == "" {
		send(w, r, answer{doc: xml.Answer(xml.Field{Name: "version", Text: "2.0"}, xml.Field{Name: "apiVersion", Text: "2.0"}, xml.Field{Name: "bbbVersion"})})
		return
	}
	f := find(g.cfg.Store.View(), key, hostOf(r.Host))
	form, body, bad := g.body(r, call)
	if bad != nil {
		send(w, r, *bad)
		return
	}
	var secrets []string
	if f != nil {
		secrets = f.AllSecrets()
	}
	p, _, err := sign.Check(sign.Request{Call: call, Query: r.URL.RawQuery, Form: form}, secrets)
	switch {
	case errors.Is(err, sign.ErrTwice):
		send(w, r, refused("parameterCountError", "A parameter is in the query and in the body, or the checksum is there twice."))
		return
	case err != nil: // an unknown tenant looks like a wrong secret
		send(w, r, refused(xml.KeyChecksum, "Checksums do not match"))
		return
	case f.BBB.Disabled:
		send(w, r, refused(xml.KeyUnsupported, "This request is not supported: the tenant is disabled."))
		return
	}
	if isRecording(call) {
		g.recordings(w, r, f, call, p)
		return
	}
	q := &request{tenant: tenant{f}, call: call, p: p, body: body, base: baseOf(r)}
	send(w, r, g.serve(r.Context(), r.Method, q))
}

// serve answers a call about meetings.
func (g *Gateway) serve(ctx context.Context, method string, q *request) answer {
	post := method == http.MethodPost
	if method != http.MethodGet && !post || q.call == "join" && post {
		return refused(xml.KeyUnsupported, "This request is not supported.")
	}
	switch q.call {
	case "getMeetings":
		return g.list(ctx, q)
	case "create", "join", "end", "isMeetingRunning", "getMeetingInfo", "insertDocument", "sendChatMessage":
	default:
		return refused(xml.KeyUnsupported, "This request is not supported.")
	}
	if q.p.Get("meetingID") == "" {
		return refused(xml.KeyMissingMeetingID, "You must specify a meeting ID for the meeting.")
	}
	if q.call == "create" {
		// What was begun is brought to its end, also if the client does not wait for it.
		ctx = context.WithoutCancel(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, g.cfg.Deadline)
	defer cancel()
	switch q.call {
	case "create":
		return g.create(ctx, q)
	case "join":
		return g.join(ctx, q)
	}
	return g.pass(ctx, q)
}

// body reads the body of a POST: a form, or something for the server.
func (g *Gateway) body(r *http.Request, call string) (form string, body *server.Body, bad *answer) {
	if r.Method != http.MethodPost || call == "putRecordingTextTrack" {
		return "", nil, nil
	}
	data, err := io.ReadAll(io.LimitReader(r.Body, g.cfg.MaxBody+1))
	switch {
	case err != nil:
		return "", nil, new(refused(xml.KeyValidation, "The body could not be read."))
	case int64(len(data)) > g.cfg.MaxBody:
		return "", nil, new(refused(xml.KeyValidation, "The body is too large."))
	case len(data) == 0:
		return "", nil, nil
	}
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch kind {
	case "application/x-www-form-urlencoded":
		return string(data), nil, nil
	case "application/xml", "text/xml":
		return "", &server.Body{Type: kind, Data: data}, nil
	}
	return "", nil, new(refused(xml.KeyContentType, "POST request Content-Type is missing or unsupported"))
}

func isRecording(call string) bool {
	switch call {
	case "getRecordings", "publishRecordings", "deleteRecordings", "updateRecordings", "getRecordingTextTracks", "putRecordingTextTrack":
		return true
	}
	return false
}

func (g *Gateway) recordings(w http.ResponseWriter, r *http.Request, f *state.Frontend, call string, p sign.Params) {
	switch {
	case g.cfg.Recordings != nil:
		g.cfg.Recordings.Serve(w, r, f, call, p)
	case call == "getRecordings":
		send(w, r, answer{doc: xml.Answer(xml.Field{Name: "recordings"}, xml.Field{Name: "messageKey", Text: xml.KeyNoRecordings}, xml.Field{Name: "message", Text: "There are no recordings for the meeting(s)."})})
	default:
		send(w, r, refused(xml.KeyNotFound, "We could not find recordings"))
	}
}

func send(w http.ResponseWriter, r *http.Request, a answer) {
	w.Header().Set("Cache-Control", "no-cache")
	if a.location != "" {
		http.Redirect(w, r, a.location, http.StatusFound)
		return
	}
	if a.kind == "" {
		a.kind = xml.ContentType
	}
	w.Header().Set("Content-Type", a.kind)
	_, _ = w.Write(a.doc)
}

// splitPath takes a path apart into the tenant's key, "" if it is told by the host, and the call.
func splitPath(path string) (key, call string, ok bool) {
	if rest, is := strings.CutPrefix(path, "/bbb/"); is {
		key, call, _ = strings.Cut(rest, "/")
		if call, is = cutAPI(call); !is && key == "" {
			return "", "", false
		}
		return key, strings.Trim(call, "/"), key != ""
	}
	call, ok = strings.CutPrefix(path, "/bigbluebutton/api")
	if ok && call != "" && call[0] != '/' {
		return "", "", false
	}
	return "", strings.Trim(call, "/"), ok
}

// cutAPI takes what may stand before the name of a call away.
func cutAPI(s string) (string, bool) {
	for _, prefix := range []string{"bigbluebutton/api", "api"} {
		if rest, ok := strings.CutPrefix(s, prefix); ok && (rest == "" || rest[0] == '/') {
			return rest, true
		}
	}
	return s, false
}

func hostOf(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

// baseOf is our own address as the client has called it. The proxy core has seen to it that the field tells the truth.
func baseOf(r *http.Request) string {
	if r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https" {
		return "https://" + r.Host
	}
	return "http://" + r.Host
}
