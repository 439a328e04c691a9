package health

import (
	"cmp"
	"strings"
	"time"
)

// Bounds of what a table takes in. Whatever exceeds them is dropped, and what is dropped counts as missing.
const (
	maxNodeID    = 128
	maxBackendID = 63
	maxNodes     = 256
	maxPerNode   = 1 << 16 // backends that one node may report on
)

// Observation is one node's own opinion of one backend, and the last it said about its traffic to it.
type Observation struct {
	Node    string
	Backend string
	Gen     uint64 // the backend's generation that was probed (state.Backend.Gen)
	Status  Status
	Since   time.Time // when the status last changed, by the reporter's clock: for people, never compared

	// Seq is the reporter's version of this observation. Each change of what others decide by takes the
	// next number of the reporter's one sequence, so that no two observations of a node share one.
	Seq uint64
	// Rev counts refreshes of what only people read (latency, texts, in-flight of a backend that is not
	// draining); they travel with whole states only.
	Rev uint32

	LatencyMS float64 // of the last probe, to the microsecond
	InFlight  int64   // requests from this node, counted after Applied was read
	LastError string  // why the last probe failed; "" after a pass
	Applied   uint64  // index whose flags were in force when InFlight was counted; 0 = not counted

	// Age is how long ago the reporter was last heard to stand by this, by the reader's clock. Only
	// [Health.Observations] fills it.
	Age time.Duration

	at time.Time // when the reporter itself last sent it, by the receiver's clock; zero when relayed
}

// newer says that o replaces old. Versions decide; the contents only break the tie of a reporter that used
// one version twice, so that every node still ends with the same one.
func (o *Observation) newer(old *Observation) bool {
	if c := cmp.Or(cmp.Compare(o.Seq, old.Seq), cmp.Compare(o.Rev, old.Rev)); c != 0 {
		return c > 0
	}
	return cmp.Or(
		cmp.Compare(o.Gen, old.Gen),
		strings.Compare(string(o.Status), string(old.Status)),
		o.Since.Compare(old.Since),
		cmp.Compare(o.LatencyMS, old.LatencyMS),
		cmp.Compare(o.InFlight, old.InFlight),
		cmp.Compare(o.Applied, old.Applied),
		strings.Compare(o.LastError, old.LastError),
	) > 0
}

// head is what a node says about itself with everything it sends. It is ordered by incarnation and beat.
type head struct {
	inc   uint64 // the process's start; only ever compared with the same node's
	beat  uint64 // counts what the process sent
	seq   uint64 // the newest version of its observations
	score uint64 // how unwell its gossip finds itself
}

func (h head) compare(o head) int {
	return cmp.Or(cmp.Compare(h.inc, o.inc), cmp.Compare(h.beat, o.beat), cmp.Compare(h.seq, o.seq), cmp.Compare(h.score, o.score))
}

// span is the half-open range (from, to] of a node's versions.
type span struct{ from, to uint64 }

// spans is a set of versions as sorted, disjoint, non-touching spans. What is in the set is known: every
// observation whose current version is in it is in the table.
type spans []span

// maxSpans bounds the set. A receiver that missed more than so many pieces forgets the highest ones, which
// is safe: it only knows less, until the next exchange of states.
const maxSpans = 64

// add returns the set with one more span, and whether that was news.
func (s spans) add(n span) (spans, bool) {
	if n.from >= n.to {
		return s, false
	}
	out := make(spans, 0, len(s)+1)
	placed := false
	for _, x := range s {
		switch {
		case x.from <= n.from && n.to <= x.to:
			return s, false
		case x.to < n.from:
			out = append(out, x)
		case n.to < x.from:
			if !placed {
				out, placed = append(out, n), true
			}
			out = append(out, x)
		default:
			n = span{min(n.from, x.from), max(n.to, x.to)}
		}
	}
	if !placed {
		out = append(out, n)
	}
	if len(out) > maxSpans {
		out = out[:maxSpans]
	}
	return out, true
}

// whole is the version up to which nothing is missing.
func (s spans) whole() uint64 {
	if len(s) == 0 || s[0].from != 0 {
		return 0
	}
	return s[0].to
}
