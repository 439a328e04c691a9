package health

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// ErrMessage says that bytes are not a message of observations of this or an older format.
var ErrMessage = errors.New("not a message of health observations")

// A message is the format byte and frames, each with its length in front. A frame is whole in itself, so
// that a state may be cut at any frame and a receiver may take any of them in any order. All integers are
// unsigned varints but the incarnation, which is 8 bytes, big endian.
//
//	frame       kind  node  incarnation  beat  seq  score  from  to  n  observation × n
//	observation backend  gen  status  seq  rev  since  latency  in-flight  applied  error
//
// Strings carry their length in front; since is Unix seconds, latency microseconds.
const (
	messageFormat = 1

	// maxDelta bounds a message of deltas, in bytes. Gossip packs messages into UDP packets of 1400 bytes
	// after its own, and never sends one that does not fit.
	maxDelta = 900
	// maxFrame bounds a frame in a state.
	maxFrame = 16 << 10
	// maxMessage bounds what a receiver looks at, and maxBulk what one message of many deltas holds.
	maxMessage = 64 << 20
	maxBulk    = 256 << 10
)

// kind is how a frame came about.
type kind byte

const (
	kindDelta kind = 1 // the node itself just said it
	kindState kind = 2 // part of a table, perhaps another node's
)

// frame is some of one node's observations, as of one of its beats.
type frame struct {
	kind kind
	node string
	head
	cover span // all observations whose current version is in here are in the frame
	obs   []Observation
}

var statusCodes = []Status{StatusUnknown, StatusUp, StatusDown}

func statusCode(s Status) byte {
	for i, x := range statusCodes {
		if x == s {
			return byte(i)
		}
	}
	return 0
}

func appendString(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

func appendObservation(b []byte, o *Observation) []byte {
	b = appendString(b, o.Backend)
	b = binary.AppendUvarint(b, o.Gen)
	b = append(b, statusCode(o.Status))
	b = binary.AppendUvarint(b, o.Seq)
	b = binary.AppendUvarint(b, uint64(o.Rev))
	b = binary.AppendUvarint(b, uint64(max(o.Since.Unix(), 0)))
	b = binary.AppendUvarint(b, uint64(max(o.LatencyMS, 0)*1000+0.5))
	b = binary.AppendUvarint(b, uint64(max(o.InFlight, 0)))
	b = binary.AppendUvarint(b, o.Applied)
	return appendString(b, clip(o.LastError))
}

// appendFrame adds a frame and its length. The observations are given encoded.
func appendFrame(b []byte, k kind, node string, h head, cover span, n int, obs []byte) []byte {
	body := make([]byte, 0, len(obs)+len(node)+64)
	body = append(body, byte(k))
	body = appendString(body, node)
	body = binary.BigEndian.AppendUint64(body, h.inc)
	for _, v := range []uint64{h.beat, h.seq, h.score, cover.from, cover.to, uint64(n)} {
		body = binary.AppendUvarint(body, v)
	}
	body = append(body, obs...)
	b = binary.AppendUvarint(b, uint64(len(body)))
	return append(b, body...)
}

// cutFrames encodes observations, sorted by version, as frames of at most limit bytes which together cover
// a span. Without observations it is one frame, which still says the head and the cover. A span with
// from = to covers nothing.
func cutFrames(k kind, node string, h head, cover span, obs []*Observation, limit int) [][]byte {
	// Not even the longest head and length prefix take more than this.
	room := limit - 96 - len(node)
	var (
		frames [][]byte
		buf    []byte
		n      int
		from   = cover.from
	)
	flush := func(to uint64) {
		c := span{from, to}
		if cover.from == cover.to {
			c = cover
		}
		frames = append(frames, appendFrame(nil, k, node, h, c, n, buf))
		buf, n, from = buf[:0], 0, to
	}
	var last uint64
	for _, o := range obs {
		before := len(buf)
		buf = appendObservation(buf, o)
		if len(buf) > room && n > 0 {
			tail := append([]byte(nil), buf[before:]...)
			buf = buf[:before]
			flush(last)
			buf = append(buf, tail...)
		}
		n++
		last = o.Seq
	}
	flush(cover.to)
	return frames
}

// reader takes values off the front of bytes. After the first error it only returns zeros.
type reader struct {
	b   []byte
	err error
}

func (r *reader) fail(what string) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s", ErrMessage, what)
	}
	r.b = nil
}

func (r *reader) uint(limit uint64) uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || v > limit {
		r.fail("a number is cut off or too large")
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) bytes(n int) []byte {
	if n > len(r.b) {
		r.fail("it ends early")
		return nil
	}
	out := r.b[:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) text(limit int) string { return string(r.bytes(int(r.uint(uint64(limit))))) }

func (r *reader) byte() byte {
	if b := r.bytes(1); len(b) == 1 {
		return b[0]
	}
	return 0
}

const (
	maxUint  = 1<<64 - 1
	maxCount = 1<<63 - 1
	maxSince = 1 << 36         // Unix seconds, year 4147
	maxLat   = 1 << 42         // microseconds
	minObs   = 1 + 1 + 8*1     // bytes of the smallest observation
	minFrame = 1 + 2 + 8 + 6*1 // bytes of the smallest frame
)

// decodeMessage reads a message whole, or not at all. The raw frames are returned beside the decoded ones,
// for passing on; they share memory with b.
func decodeMessage(b []byte) ([]frame, [][]byte, error) {
	if len(b) > maxMessage {
		return nil, nil, fmt.Errorf("%w: %d bytes", ErrMessage, len(b))
	}
	if len(b) == 0 || b[0] != messageFormat {
		return nil, nil, fmt.Errorf("%w: unknown format", ErrMessage)
	}
	r := &reader{b: b[1:]}
	var (
		frames []frame
		raw    [][]byte
	)
	for len(r.b) > 0 {
		start := r.b
		body := r.bytes(int(r.uint(maxMessage)))
		if r.err != nil {
			return nil, nil, r.err
		}
		f, err := decodeFrame(body)
		if err != nil {
			return nil, nil, err
		}
		frames = append(frames, f)
		raw = append(raw, start[:len(start)-len(r.b)])
	}
	return frames, raw, r.err
}

func decodeFrame(b []byte) (frame, error) {
	var f frame
	if len(b) < minFrame {
		return f, fmt.Errorf("%w: a frame of %d bytes", ErrMessage, len(b))
	}
	r := &reader{b: b}
	f.kind = kind(r.byte())
	f.node = r.text(maxNodeID)
	if inc := r.bytes(8); inc != nil {
		f.inc = binary.BigEndian.Uint64(inc)
	}
	f.beat, f.seq, f.score = r.uint(maxUint), r.uint(maxUint), r.uint(maxCount)
	f.cover = span{r.uint(maxUint), r.uint(maxUint)}
	n := r.uint(uint64(len(r.b) / minObs))
	if r.err == nil && (f.kind != kindDelta && f.kind != kindState || f.node == "" || f.cover.from > f.cover.to) {
		r.fail("a frame's head makes no sense")
	}
	if r.err == nil && n > 0 {
		f.obs = make([]Observation, 0, n)
	}
	for range n {
		o := r.observation()
		if r.err == nil && (o.Backend == "" || o.Seq == 0) {
			r.fail("an observation makes no sense")
		}
		if r.err != nil {
			return frame{}, r.err
		}
		o.Node = f.node
		f.obs = append(f.obs, o)
	}
	if len(r.b) > 0 {
		r.fail("bytes after the last observation")
	}
	return f, r.err
}

func (r *reader) observation() Observation {
	var o Observation
	o.Backend = r.text(maxBackendID)
	o.Gen = r.uint(maxUint)
	code := r.byte()
	if int(code) >= len(statusCodes) {
		r.fail("unknown status")
		return o
	}
	o.Status = statusCodes[code]
	o.Seq = r.uint(maxUint)
	o.Rev = uint32(r.uint(1<<32 - 1))
	o.Since = time.Unix(int64(r.uint(maxSince)), 0).UTC()
	o.LatencyMS = float64(r.uint(maxLat)) / 1000
	o.InFlight = int64(r.uint(maxCount))
	o.Applied = r.uint(maxUint)
	o.LastError = r.text(maxReason)
	return o
}
