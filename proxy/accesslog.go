package proxy

import (
	"net/netip"
	"strings"
	"time"

	"github.com/lbnode/lbnode/stats"
)

// AccessLog takes what happened to each request that it wants. Its methods are called by event loops and by
// requests' goroutines at the same time, and must not block.
type AccessLog interface {
	// Wants is asked once for each request when it has ended, with its status (0 = without an answer). So what is
	// left out by sampling costs no more than this call.
	Wants(status int) bool
	// Log takes an entry. It is the log's own from then on.
	Log(e Entry)
}

// Entry is one line of an access log.
type Entry struct {
	Start              time.Time
	Duration           time.Duration
	Client             netip.Addr // the effective one: behind trusted proxies, who they say it is
	Proto              string
	Method, Host, Path string // as received, see Clip; "" = the head was refused before they were read
	Status             int    // 0 = ended without an answer
	Result             stats.Kind
	Reason             string // code of the answer that was our own; "" = it was a backend's
	Route, Pool        string // ids, "" if it did not come so far
	Backend, Address   string // of the last attempt
	Frontend           string
	Attempts           int           // backends that it has been to; all but the first are retries
	Upstream           time.Duration // of the last attempt, from pick to end
	FirstByte          time.Duration // of the last attempt, from pick to the response head; 0 = there was none
	BytesIn, BytesOut  uint64        // of bodies
	RequestID, TraceID string        // "" = none
}

// maxLogged bounds what a log keeps of a string that a client has sent, so that a queue of entries is bounded.
const maxLogged = 2048

// Clip copies a client's string for a log, cut to 2,048 bytes.
func Clip[T string | []byte](s T) string {
	if len(s) > maxLogged {
		return strings.Clone(string(s[:maxLogged]))
	}
	return string(s)
}
