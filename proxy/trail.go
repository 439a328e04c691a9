package proxy

import (
	"encoding/hex"
	"math/rand/v2"
	"net/http"
	"strings"

	"github.com/lbnode/lbnode/proxy/http1"
)

// HeaderRequestID is the field by which a request is found again in the logs of all who have seen it.
const HeaderRequestID = "X-Request-Id"

// maxRequestID bounds a request id that is taken from a client.
const maxRequestID = 128

// Trail is how a request can be followed: its id, and the trace that it belongs to (W3C Trace Context). It
// belongs to one request; the zero value is ready.
//
// A valid X-Request-Id goes on as it came; without one, or with one that no log should hold, the request gets an
// id of 32 hex digits. A valid traceparent goes on unchanged with its tracestate; without a valid one both are
// dropped, as the standard says, and none is invented: this hop is no span of anybody's trace.
type Trail struct {
	id   [32]byte
	made bool
}

// ID is the id that was made for the request, the same each time.
func (t *Trail) ID() []byte {
	if !t.made {
		var b [16]byte
		for i := 0; i < len(b); i += 8 {
			for k, n := 0, rand.Uint64(); k < 8; k, n = k+1, n>>8 {
				b[i+k] = byte(n)
			}
		}
		hex.Encode(t.id[:], b[:])
		t.made = true
	}
	return t.id[:]
}

// RequestOf reads id and trace of a request that is still as its client sent it; "" for the trace if it has none.
func (t *Trail) RequestOf(r *http1.Request) (id, trace string) {
	rid, parent := tracks(r)
	if rid == nil {
		rid = t.ID()
	}
	if len(parent) > 0 {
		trace = string(traceID(parent))
	}
	return string(rid), trace
}

// tracks gives the values of the two fields if they are there just once, pass on and are valid; else nil.
func tracks(r *http1.Request) (id, parent []byte) {
	ids, parents := 0, 0
	fields := r.Fields()
	for i := range fields {
		f := &fields[i]
		switch {
		case f.Hop():
		case f.ID() == http1.XRequestID:
			ids, id = ids+1, f.Value()
		case f.ID() == http1.Traceparent:
			parents, parent = parents+1, f.Value()
		}
	}
	if ids != 1 || !validRequestID(text(id)) {
		id = nil
	}
	if parents != 1 || !validTraceparent(text(parent)) {
		parent = nil
	}
	return id, parent
}

var nameRequestID = http1.NewName(HeaderRequestID)

// Mark makes the fields of a request that is on its way to a backend say what the trail is.
func (t *Trail) Mark(r *http1.Request) {
	id, parent := tracks(r)
	if id == nil {
		r.Drop(http1.XRequestID)
		r.AddNamed(nameRequestID, t.ID()) // cannot be refused
	}
	if parent == nil {
		r.DropFunc(func(f *http1.Field) bool { return f.ID() == http1.Traceparent || f.ID() == http1.Tracestate })
	}
}

// MarkHeader is Mark for the fields of net/http. It gives the request's id and trace ("" = none).
func (t *Trail) MarkHeader(h http.Header) (id, trace string) {
	if v := h[HeaderRequestID]; len(v) == 1 && validRequestID(v[0]) {
		id = v[0]
	} else {
		id = string(t.ID())
		h[HeaderRequestID] = []string{id}
	}
	if v := h["Traceparent"]; len(v) == 1 && validTraceparent(v[0]) {
		return id, traceID(v[0])
	}
	delete(h, "Traceparent")
	delete(h, "Tracestate")
	return id, ""
}

// validRequestID accepts visible ASCII of a length that a log can hold.
func validRequestID(s string) bool {
	if s == "" || len(s) > maxRequestID {
		return false
	}
	return strings.IndexFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) < 0
}

// The parts of a traceparent of version 00, "00-" trace "-" parent "-" flags.
const (
	traceAt, traceEnd   = 3, 35
	parentAt, parentEnd = 36, 52
	flagsAt, parentLen  = 53, 55
)

func traceID[T string | []byte](parent T) T { return parent[traceAt:traceEnd] }

// validTraceparent is W3C Trace Context §3.2: lower-case hex, neither id all zeros, any version but ff. What a
// later version adds stands behind one more dash.
func validTraceparent(s string) bool {
	if len(s) < parentLen || s[2] != '-' || s[traceEnd] != '-' || s[parentEnd] != '-' {
		return false
	}
	version := s[:2]
	switch {
	case version == "ff", version == "00" && len(s) != parentLen, len(s) > parentLen && s[parentLen] != '-':
		return false
	}
	for _, part := range [...]string{version, s[traceAt:traceEnd], s[parentAt:parentEnd], s[flagsAt:parentLen]} {
		for i := range len(part) {
			if c := part[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
				return false
			}
		}
	}
	return strings.Trim(s[traceAt:traceEnd], "0") != "" && strings.Trim(s[parentAt:parentEnd], "0") != ""
}
