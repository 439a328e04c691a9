package stats

// Kind says how a request or an attempt ended, or names an event on the way. The zero value is a success.
// The names that String gives are stable: they are metric labels and keys of the admin API.
type Kind uint8

// The kinds. Those about the client are never a sign of ill health of a backend.
const (
	OK             Kind = iota // nothing went wrong
	ConnectFailed              // no connection to the backend: refused, unreachable, TLS handshake
	ConnectTimeout             // no connection within the route's connect timeout
	Timeout                    // connected, but no answer or no progress in time
	BackendReset               // the backend closed or reset before its answer was complete
	BadResponse                // the backend's answer broke HTTP
	ClientGone                 // the client closed or reset before the answer was complete
	ClientTimeout              // the client was too slow with its head or body, or in reading
	BadRequest                 // the client's request was refused by the codec
	TooLarge                   // the client's head or body was over a limit
	NoRoute                    // no route matched
	NoBackend                  // a route matched, but none of its backends could take the request
	QueueFull                  // every eligible backend was at its limit and the queue was full or too slow
	RateLimited                // the route's own limit refused the request
	Internal                   // the proxy itself failed
	Retry                      // an event: the request was sent again; counted by Handle.Count
	RetryRefused               // an event: a retry was due, but the retry budget was spent
	Ejected                    // an event: the backend was taken out by passive checks
	DrainClosed                // the backend's drain reached its deadline, which closed the request
	Mirrored                   // an event: a copy of the request was sent to the route's mirror
	MirrorSkipped              // an event: a copy was due and not sent: body too large, too many at once, or no backend
	BadProxyHeader             // an event: a trusted peer sent no PROXY header, or a broken one
	ConnRefused                // an event: a connection was closed at once, as there were too many
	ClientConns                // an event: a connection was closed at once, as its client had too many
	HTTP2Flood                 // an event: an HTTP/2 connection was closed, as its client made work without use
	kindCount
)

var kindNames = [kindCount]string{
	OK: "ok", ConnectFailed: "connect_failed", ConnectTimeout: "connect_timeout", Timeout: "timeout",
	BackendReset: "backend_reset", BadResponse: "bad_response", ClientGone: "client_gone",
	ClientTimeout: "client_timeout", BadRequest: "bad_request", TooLarge: "too_large", NoRoute: "no_route",
	NoBackend: "no_backend", QueueFull: "queue_full", RateLimited: "rate_limited", Internal: "internal",
	Retry: "retry", RetryRefused: "retry_refused", Ejected: "ejected",
	DrainClosed: "drain_closed",
	Mirrored:    "mirrored", MirrorSkipped: "mirror_skipped", BadProxyHeader: "bad_proxy_header", ConnRefused: "connection_refused",
	ClientConns: "client_connections", HTTP2Flood: "http2_flood",
}

// String gives the stable name, "unknown" for a value that is none of the kinds.
func (k Kind) String() string {
	if k >= kindCount {
		return "unknown"
	}
	return kindNames[k]
}

// Kinds lists every kind but OK, so that an exporter can show a zero for what has not happened.
func Kinds() []Kind {
	out := make([]Kind, 0, kindCount-1)
	for k := OK + 1; k < kindCount; k++ {
		out = append(out, k)
	}
	return out
}
