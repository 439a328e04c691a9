package state

import (
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	iradix "github.com/hashicorp/go-immutable-radix/v2"
)

// Bounds of the queue of callbacks.
const (
	maxCallbackBytes  = 512 << 10 // of one
	maxCallbacksBytes = 64 << 20  // of all
	maxCallbacks      = 20_000
	maxCallbackError  = 512
)

// CallbackKind says what a callback tells a tenant.
type CallbackKind string

// The kinds of callbacks.
const (
	CallbackEnd       CallbackKind = "end"       // a meeting is over
	CallbackRecording CallbackKind = "recording" // a recording is ready
	CallbackAnalytics CallbackKind = "analytics" // what was learned of a meeting
	CallbackHook      CallbackKind = "hook"      // an event that the tenant subscribed to
)

// CallbackKinds lists all of them.
func CallbackKinds() []CallbackKind {
	return []CallbackKind{CallbackEnd, CallbackRecording, CallbackAnalytics, CallbackHook}
}

// CallbackAuth says how a callback shows whom it is from. What it shows is made when it is sent, with the secrets that
// the tenant has then.
type CallbackAuth string

// The ways to show it.
const (
	AuthNone   CallbackAuth = ""
	AuthSigned CallbackAuth = "signed_parameters" // the body is claims, sent in a form as a JWT with HS256
	AuthBearer CallbackAuth = "bearer"            // a JWT with HS512 in the Authorization header
	AuthHook   CallbackAuth = "checksum"          // bbb-webhooks' checksum of URL and body in the query
)

// Callback waits to be sent to a tenant. The queue is in the log, so that it outlives any node; how often it was tried
// is known to the leader only.
type Callback struct {
	ID          string       `json:"id"`
	Kind        CallbackKind `json:"kind"`
	Frontend    string       `json:"frontend"`
	MeetingID   string       `json:"meeting_id,omitempty"` // as the tenant calls it
	Method      string       `json:"method"`
	URL         string       `json:"url"`
	ContentType string       `json:"content_type,omitempty"`
	Body        string       `json:"body,omitempty"`
	Auth        CallbackAuth `json:"auth,omitempty"`

	At    time.Time `json:"at"`    // since when it waits
	Index uint64    `json:"index"` // at which it was put in the queue, or back into it

	Failed bool   `json:"failed,omitzero"` // given up: it waits for an operator
	Tries  int    `json:"tries,omitzero"`  // until it was given up
	Error  string `json:"error,omitempty"` // of the last try
}

func (c *Callback) size() int {
	return len(c.ID) + len(c.Frontend) + len(c.MeetingID) + len(c.Method) + len(c.URL) + len(c.ContentType) + len(c.Body) + len(c.Error)
}

// check says what is wrong with a callback, or "".
func (c *Callback) check() string {
	switch {
	case CheckID(c.ID) != "":
		return "id " + CheckID(c.ID)
	case CheckID(c.Frontend) != "":
		return "frontend " + CheckID(c.Frontend)
	case !slices.Contains(CallbackKinds(), c.Kind):
		return fmt.Sprintf("kind must be one of %v, got %q", CallbackKinds(), c.Kind)
	case !slices.Contains([]CallbackAuth{AuthNone, AuthSigned, AuthBearer, AuthHook}, c.Auth):
		return fmt.Sprintf("auth %q is not known", c.Auth)
	case c.Method != "GET" && c.Method != "POST":
		return fmt.Sprintf("method must be GET or POST, got %q", c.Method)
	case !strings.HasPrefix(c.URL, "http://") && !strings.HasPrefix(c.URL, "https://"):
		return "url must be http or https"
	case c.size() > maxCallbackBytes:
		return fmt.Sprintf("size must be at most %d bytes, got %d", maxCallbackBytes, c.size())
	}
	return ""
}

// EnqueueCallbacks puts callbacks into the queue. One whose id is there already is left as it is.
type EnqueueCallbacks struct {
	Callbacks []Callback `json:"callbacks"`
}

// CallbackOutcome is what became of callbacks.
type CallbackOutcome string

// The outcomes.
const (
	CallbackDone    CallbackOutcome = "done"    // delivered, or refused for good: it leaves the queue
	CallbackDropped CallbackOutcome = "dropped" // by an operator
	CallbackFailed  CallbackOutcome = "failed"  // given up: it stays, for an operator to see
	CallbackAgain   CallbackOutcome = "again"   // an operator wants one that was given up to be tried again
)

// FinishCallbacks notes an outcome.
type FinishCallbacks struct {
	IDs     []string        `json:"ids"`
	Outcome CallbackOutcome `json:"outcome"`
	Tries   int             `json:"tries,omitzero"`
	Error   string          `json:"error,omitempty"`
}

// callbackTree is the queue, a part of bbbTrees.
type callbackTree struct {
	byID  *iradix.Tree[*Callback]
	bytes int // of all
}

func newCallbackTree() callbackTree { return callbackTree{byID: iradix.New[*Callback]()} }

func (t *callbackTree) put(c *Callback) {
	t.remove(c.ID)
	t.byID, _, _ = t.byID.Insert([]byte(c.ID), c)
	t.bytes += c.size()
}

func (t *callbackTree) remove(id string) {
	if old, ok := t.byID.Get([]byte(id)); ok {
		t.byID, _, _ = t.byID.Delete([]byte(id))
		t.bytes -= old.size()
	}
}

// makeRoom drops callbacks that were given up, the oldest first, for others to fit. It says false if they do not.
func (t *callbackTree) makeRoom(n, size int) bool {
	for t.byID.Len()+n > maxCallbacks || t.bytes+size > maxCallbacksBytes {
		var oldest *Callback
		for c := range prefixed(t.byID, "") {
			if c.Failed && (oldest == nil || c.Index < oldest.Index) {
				oldest = c
			}
		}
		if oldest == nil {
			return false
		}
		t.remove(oldest.ID)
	}
	return true
}

// Callback returns one of the queue.
func (v *View) Callback(id string) (*Callback, bool) { return v.bbb.callbacks.byID.Get([]byte(id)) }

// Callbacks goes through the queue by id, those that were given up included.
func (v *View) Callbacks() iter.Seq[*Callback] { return prefixed(v.bbb.callbacks.byID, "") }

// LenCallbacks returns how many are in the queue.
func (v *View) LenCallbacks() int { return v.bbb.callbacks.byID.Len() }

func (a *applier) enqueue(op *EnqueueCallbacks) (BBBResult, *Refusal) {
	q := &a.t.v.bbb.callbacks
	fresh := map[string]*Callback{}
	size := 0
	for _, c := range op.Callbacks {
		if msg := c.check(); msg != "" {
			return BBBResult{}, &Refusal{Code: CodeInvalid, Message: "the callback's " + msg}
		}
		if a.t.get(KindFrontend, c.Frontend) == nil {
			return BBBResult{}, &Refusal{Code: CodeNotFound, Message: fmt.Sprintf("there is no frontend %q", c.Frontend)}
		}
		if _, ok := q.byID.Get([]byte(c.ID)); ok || fresh[c.ID] != nil {
			continue
		}
		next := c
		next.At, next.Index, next.Failed, next.Tries, next.Error = a.at, a.index, false, 0, ""
		fresh[c.ID] = &next
		size += next.size()
	}
	if !q.makeRoom(len(fresh), size) {
		return BBBResult{}, &Refusal{Code: CodeQuota, Message: fmt.Sprintf("the queue of callbacks is full: %d, %d bytes", q.byID.Len(), q.bytes)}
	}
	for _, id := range slices.Sorted(maps.Keys(fresh)) {
		q.put(fresh[id])
	}
	return BBBResult{Won: true, Count: len(fresh)}, nil
}

func (a *applier) finish(op *FinishCallbacks) (BBBResult, *Refusal) {
	q := &a.t.v.bbb.callbacks
	res := BBBResult{Won: true}
	for _, id := range op.IDs {
		old, ok := q.byID.Get([]byte(id))
		if !ok {
			continue
		}
		next := *old
		switch op.Outcome {
		case CallbackDone, CallbackDropped:
			q.remove(id)
			res.Count++
			continue
		case CallbackFailed:
			next.Failed, next.Tries, next.Error = true, op.Tries, op.Error[:min(len(op.Error), maxCallbackError)]
		case CallbackAgain:
			if !old.Failed {
				continue
			}
			next.Failed, next.Tries, next.Error, next.At, next.Index = false, 0, "", a.at, a.index
		default:
			return BBBResult{}, &Refusal{Code: CodeInvalid, Message: fmt.Sprintf("outcome %q is not known", op.Outcome)}
		}
		q.put(&next)
		res.Count++
	}
	return res, nil
}
