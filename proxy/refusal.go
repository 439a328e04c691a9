package proxy

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/lbnode/lbnode/proxy/http1"
	"github.com/lbnode/lbnode/proxy/upstream"
	"github.com/lbnode/lbnode/stats"
)

// Refusal is an answer of our own. Values are shared and never changed.
type Refusal struct {
	Status int
	Code   string // stable
	Detail string
	Kind   stats.Kind
	Close  bool // the connection cannot go on

	Location string // of a redirect; then there is no body
	Retry    int    // seconds after which to come again; 0 = not said
}

// refusal makes one that says no more than this.
func refusal(status int, code, detail string, k stats.Kind, closes bool) *Refusal {
	return &Refusal{Status: status, Code: code, Detail: detail, Kind: k, Close: closes}
}

var (
	refuseNotReady  = refusal(503, "not_ready", "this node has no configuration yet", stats.NoBackend, false)
	refuseNoRoute   = refusal(404, "no_route", "no route matches this request", stats.NoRoute, false)
	refuseNoBackend = refusal(503, "no_backend", "no backend can take this request now", stats.NoBackend, false)
	refuseFenced    = refusal(503, "fenced", "this node has had no word of the cluster for longer than fence_after, so it sends nothing new to backends", stats.NoBackend, false)
	refuseAmbiguous = refusal(400, "ambiguous_path", "the path leads to different routes as it was sent and once it is decoded", stats.BadRequest, false)
	refuseRewrite   = refusal(400, "bad_rewrite", "the route's rewrite makes no valid path of this one", stats.BadRequest, false)
	refuseBadPath   = refusal(400, "bad_path", "the path holds NUL, climbs above the root or is not escaped properly", stats.BadRequest, false)
	refuseTarget    = refusal(400, "bad_target", "the request target holds bytes that no target may hold", stats.BadRequest, true)
	refuseUserInfo  = refusal(400, "userinfo_in_target", "the request target holds user information", stats.BadRequest, true)
	refuseHost      = refusal(400, "bad_host", "the Host field is no valid host and port", stats.BadRequest, true)
	refuseMethod    = refusal(405, "method_not_allowed", "CONNECT and TRACE are not forwarded", stats.BadRequest, true)
	refuseBadMethod = refusal(400, "bad_method", "the method is no token", stats.BadRequest, true)
	refuseBody      = refusal(400, "bad_body", "the request's body breaks HTTP", stats.BadRequest, true)
	refuseSlowBody  = refusal(408, "body_timeout", "the request's body stood still for too long", stats.ClientTimeout, true)

	byKind = map[upstream.Kind]*Refusal{
		upstream.ConnectFailed:    refusal(502, "connect_failed", "no connection to the backend", stats.ConnectFailed, false),
		upstream.ConnectTimeout:   refusal(504, "connect_timeout", "no connection to the backend in time", stats.ConnectTimeout, false),
		upstream.FirstByteTimeout: refusal(504, "first_byte_timeout", "the backend did not begin its answer in time", stats.Timeout, false),
		upstream.TotalTimeout:     refusal(504, "total_timeout", "the request took longer than its route allows", stats.Timeout, false),
		upstream.IdleTimeout:      refusal(504, "idle_timeout", "no byte came or went for longer than the route allows", stats.Timeout, false),
		upstream.Reset:            refusal(502, "backend_reset", "the backend closed the connection before it answered", stats.BackendReset, false),
		upstream.BadResponse:      refusal(502, "bad_response", "the backend's answer is no valid HTTP", stats.BadResponse, false),
		upstream.BadRequest:       refuseBody,
		upstream.DrainClosed:      refusal(503, "drain_closed", "the backend was taken out of use, and its drain ended before it answered", stats.DrainClosed, false),
	}
)

// RefusalOf is the answer to a request whose last attempt ended like this; nil for OK and ClientGone.
func RefusalOf(k upstream.Kind) *Refusal { return byKind[k] }

// refuseReason is the answer to a request that breaks HTTP/1.1.
func refuseReason(why http1.Reason) *Refusal {
	kind := stats.BadRequest
	if s := why.Status(); s == http.StatusRequestURITooLong || s == http.StatusRequestHeaderFieldsTooLarge {
		kind = stats.TooLarge
	}
	return refusal(why.Status(), why.String(), "the request is not accepted: "+strings.ReplaceAll(why.String(), "_", " "), kind, true)
}

// retryAfter is the value of Retry-After, 0 for none.
func (f *Refusal) retryAfter() int {
	if f.Retry == 0 && f.Status == http.StatusServiceUnavailable {
		return 1
	}
	return f.Retry
}

// AppendBody appends the problem document that answers a refused request; nothing for a redirect.
func (f *Refusal) AppendBody(dst []byte, node string) []byte {
	if f.Location != "" {
		return dst
	}
	dst = append(dst, `{"type":"about:blank","title":`...)
	dst = strconv.AppendQuote(dst, http.StatusText(f.Status))
	dst = append(dst, `,"status":`...)
	dst = strconv.AppendInt(dst, int64(f.Status), 10)
	dst = append(dst, `,"code":`...)
	dst = strconv.AppendQuote(dst, f.Code)
	dst = append(dst, `,"detail":`...)
	dst = strconv.AppendQuote(dst, f.Detail)
	dst = append(dst, `,"node":`...)
	dst = strconv.AppendQuote(dst, node)
	return append(dst, "}\n"...)
}

// write answers a request and returns the number of body bytes sent.
func (f *Refusal) write(w http.ResponseWriter, r *http.Request, node string) uint64 {
	body := f.AppendBody(make([]byte, 0, 256), node)
	h := w.Header()
	if f.Location != "" {
		h["Location"] = []string{f.Location}
	} else {
		h["Content-Type"] = []string{"application/problem+json"}
		h["Cache-Control"] = []string{"no-store"}
	}
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	h[HeaderNode] = []string{node}
	if n := f.retryAfter(); n > 0 {
		h["Retry-After"] = []string{strconv.Itoa(n)}
	}
	if f.Status == http.StatusMethodNotAllowed {
		h["Allow"] = []string{"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"}
	}
	if f.Close {
		h["Connection"] = []string{"close"}
	}
	w.WriteHeader(f.Status)
	if r.Method == http.MethodHead {
		return 0
	}
	n, _ := w.Write(body) // a client that is gone needs no answer
	return uint64(n)
}
