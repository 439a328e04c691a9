package upstream

import (
	"time"

	"github.com/lbnode/lbnode/stats"
)

// Kind says how an attempt ended.
type Kind uint8

// The kinds. ClientGone and TotalTimeout say nothing about the backend's health: in the first case the
// client left, in the second the answer was merely longer than the route allows.
const (
	OK               Kind = iota
	ConnectFailed         // refused, unreachable, TLS handshake failed: nothing was sent
	ConnectTimeout        // no connection within the route's connect timeout: nothing was sent
	FirstByteTimeout      // the whole request was sent and no response head came in time
	TotalTimeout          // the exchange took longer than the route allows
	Reset                 // the backend closed or reset before its answer was complete
	ClientGone            // the client closed or reset before the answer was complete
	BadResponse           // what the backend sent breaks HTTP
	BadRequest            // the client's body breaks HTTP, so the request could not be completed
	IdleTimeout           // no byte came or went for longer than the route allows
	DrainClosed           // the backend's drain reached its deadline, which closes what still runs
)

var kinds = [...]struct {
	name    string
	stats   stats.Kind
	failure bool
}{
	OK:               {"ok", stats.OK, false},
	ConnectFailed:    {"connect_failed", stats.ConnectFailed, true},
	ConnectTimeout:   {"connect_timeout", stats.ConnectTimeout, true},
	FirstByteTimeout: {"first_byte_timeout", stats.Timeout, true},
	TotalTimeout:     {"total_timeout", stats.Timeout, false},
	Reset:            {"reset", stats.BackendReset, true},
	ClientGone:       {"client_gone", stats.ClientGone, false},
	BadResponse:      {"bad_response", stats.BadResponse, true},
	BadRequest:       {"bad_request", stats.BadRequest, false},
	IdleTimeout:      {"idle_timeout", stats.Timeout, false},
	DrainClosed:      {"drain_closed", stats.DrainClosed, false},
}

// String gives the stable name, "unknown" for a value that is none of the kinds.
func (k Kind) String() string {
	if int(k) >= len(kinds) {
		return "unknown"
	}
	return kinds[k].name
}

// Stats gives the kind under which package stats counts it.
func (k Kind) Stats() stats.Kind {
	if int(k) >= len(kinds) {
		return stats.Internal
	}
	return kinds[k].stats
}

// NothingSent says that the backend cannot have seen any of the request.
func (k Kind) NothingSent() bool { return k == ConnectFailed || k == ConnectTimeout }

// Outcome is how one attempt ended.
type Outcome struct {
	Kind      Kind
	Status    int           // of the backend's answer; 0 = there was none
	Err       error         // what went wrong, for people; nil for OK
	FirstByte time.Duration // from Begin to the response head; 0 = there was none
	Duration  time.Duration // from Begin to the end; negative = an upgraded connection, kept out of latencies
	BytesIn   uint64        // body bytes sent to the backend
	BytesOut  uint64        // body bytes received from the backend
	At        time.Time     // when it ended, with a monotonic reading; zero = now
}

// Failed says that the outcome speaks against the backend: it could not be reached, broke off, broke HTTP,
// was silent for too long, or answered 5xx.
func (o Outcome) Failed() bool {
	return int(o.Kind) < len(kinds) && kinds[o.Kind].failure || o.Status >= 500
}
