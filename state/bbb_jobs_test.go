package state

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func callback(id string) Callback {
	return Callback{ID: id, Kind: CallbackEnd, Frontend: "uni", Method: "GET", URL: "https://lms.example.org/end?x=1"}
}

func enqueueOp(cs ...Callback) BBBOp { return BBBOp{Enqueue: &EnqueueCallbacks{Callbacks: cs}} }

func finishOp(o CallbackOutcome, ids ...string) BBBOp {
	return BBBOp{Finish: &FinishCallbacks{IDs: ids, Outcome: o, Tries: 9, Error: "refused"}}
}

func (l *log) queue() string {
	var out []string
	for c := range l.view.Callbacks() {
		s := c.ID
		if c.Failed {
			s += "!"
		}
		out = append(out, s)
	}
	return strings.Join(out, " ")
}

func TestCallbacks(t *testing.T) {
	t.Parallel()
	l := bbbLog(t)
	if r := l.one(enqueueOp(callback("a"), callback("b"), callback("a"))); r.Count != 2 || l.queue() != "a b" {
		t.Errorf("enqueued %d: %s", r.Count, l.queue())
	}
	if c, _ := l.view.Callback("a"); c.Index != 2 || c.At.IsZero() || c.Failed {
		t.Errorf("stored: %+v", c)
	}
	if r := l.one(enqueueOp(callback("a"))); r.Count != 0 {
		t.Errorf("the same one again counts: %+v", r)
	}
	l.one(finishOp(CallbackFailed, "a", "none"))
	if c, _ := l.view.Callback("a"); l.queue() != "a! b" || c.Tries != 9 || c.Error != "refused" {
		t.Errorf("after it was given up: %s, %+v", l.queue(), c)
	}
	if r := l.one(finishOp(CallbackAgain, "a", "b")); r.Count != 1 || l.queue() != "a b" {
		t.Errorf("again: %+v, %s", r, l.queue())
	}
	if c, _ := l.view.Callback("a"); c.Index <= 2 || c.Tries != 0 || c.Error != "" {
		t.Errorf("again it is not like new: %+v", c)
	}
	l.one(finishOp(CallbackDone, "a"))
	l.one(finishOp(CallbackDropped, "b", "b"))
	if l.queue() != "" || l.view.bbb.callbacks.bytes != 0 {
		t.Errorf("left: %q, %d bytes", l.queue(), l.view.bbb.callbacks.bytes)
	}
}

func TestCallbacks_refusals(t *testing.T) {
	t.Parallel()
	change := func(f func(*Callback)) BBBOp {
		c := callback("x")
		f(&c)
		return enqueueOp(c)
	}
	l := bbbLog(t)
	for name, tc := range map[string]struct {
		op   BBBOp
		code Code
	}{
		"id":         {change(func(c *Callback) { c.ID = "" }), CodeInvalid},
		"kind":       {change(func(c *Callback) { c.Kind = "x" }), CodeInvalid},
		"auth":       {change(func(c *Callback) { c.Auth = "x" }), CodeInvalid},
		"method":     {change(func(c *Callback) { c.Method = "PUT" }), CodeInvalid},
		"scheme":     {change(func(c *Callback) { c.URL = "file:///etc/passwd" }), CodeInvalid},
		"size":       {change(func(c *Callback) { c.Body = strings.Repeat("x", maxCallbackBytes) }), CodeInvalid},
		"tenant":     {change(func(c *Callback) { c.Frontend = "nobody" }), CodeNotFound},
		"bad tenant": {change(func(c *Callback) { c.Frontend = "../x" }), CodeInvalid},
		"outcome":    {finishOp("lost", "here"), CodeInvalid},
	} {
		l.one(enqueueOp(callback("here")))
		if res := l.bbb(tc.op); res.Refusal == nil || res.Refusal.Code != tc.code {
			t.Errorf("%s: %+v, want %s", name, res.Refusal, tc.code)
		}
	}
}

// The queue has an end: those that were given up go first, and what waits is never lost.
func TestCallbacks_bounded(t *testing.T) {
	t.Parallel()
	l := bbbLog(t)
	big := func(id string) Callback {
		c := callback(id)
		c.Body = strings.Repeat("x", maxCallbackBytes-200)
		return c
	}
	n := 0
	for ; ; n++ { // without l.do, which hashes all of it each time
		c := BBB(enqueueOp(big(fmt.Sprintf("c%03d", n))))
		c.At = at
		next, res := Apply(l.view, l.view.Index+1, 1, c)
		if res.Refusal != nil {
			if res.Refusal.Code != CodeQuota {
				t.Fatalf("refused: %+v", res.Refusal)
			}
			break
		}
		l.view = next
	}
	if n < 100 || l.view.bbb.callbacks.bytes > maxCallbacksBytes {
		t.Errorf("full at %d callbacks, %d bytes", n, l.view.bbb.callbacks.bytes)
	}
	l.one(finishOp(CallbackFailed, "c001"))
	l.one(finishOp(CallbackFailed, "c000"))
	l.one(enqueueOp(big("new")))
	_, first := l.view.Callback("c000")
	_, second := l.view.Callback("c001")
	if first || !second || l.view.LenCallbacks() != n {
		t.Errorf("the oldest that was given up is there: %v; the other: %v; %d in the queue, want %d", first, second, l.view.LenCallbacks(), n)
	}
}

func recording(id string) Recording {
	return Recording{
		ID: id, Frontend: "uni", MeetingID: "room", InternalMeetingID: id, Name: "Room", Published: true, Visibility: VisibilityPublished,
		Start: at, End: at.Add(time.Hour), Metadata: map[string]string{"a": "1", "b": "2"}, XML: "<recording/>",
		Formats: []RecordingFormat{{Type: "video", URL: "https://bbb/video", Length: 3}, {Type: "presentation", Node: "n1", Files: 7, Bytes: 70}},
	}
}

func TestRecordings(t *testing.T) {
	t.Parallel()
	l := bbbLog(t)
	if r := l.one(BBBOp{PutRecordings: &PutRecordings{Recordings: []Recording{recording("r-1"), recording("r-2")}}}); r.Count != 2 {
		t.Errorf("put: %+v", r)
	}
	stranger := recording("r-1")
	stranger.Frontend = "school"
	if res := l.bbb(BBBOp{PutRecordings: &PutRecordings{Recordings: []Recording{stranger}}}); res.Refusal == nil || res.Refusal.Code != CodeExists {
		t.Errorf("another tenant took a recording: %+v", res)
	}
	no := false
	if r := l.one(BBBOp{PatchRecordings: &PatchRecordings{IDs: []string{"r-1"}, Frontend: "school", Published: &no}}); r.Count != 0 {
		t.Errorf("another tenant changed a recording: %+v", r)
	}
	r := l.one(BBBOp{PatchRecordings: &PatchRecordings{IDs: []string{"r-1", "none"}, Frontend: "uni", Published: &no, Metadata: map[string]string{"a": "", "c": "3"}}})
	got, _ := l.view.Recording("r-1")
	if r.Count != 1 || got.Effective() != VisibilityUnpublished || got.Visibility != VisibilityPublished {
		t.Errorf("unpublished: %+v, %+v", r, got)
	}
	if d := cmp.Diff(map[string]string{"b": "2", "c": "3"}, got.Metadata); d != "" {
		t.Error(d)
	}
	if old, _ := l.view.Recording("r-2"); len(old.Metadata) != 2 {
		t.Errorf("a patch reached another recording: %+v", old)
	}

	// What is imported again stays as visible as it is, and gets the format that it did not have.
	again := recording("r-1")
	again.Formats = []RecordingFormat{{Type: "podcast"}, {Type: "presentation", Length: 9}}
	l.one(BBBOp{PutRecordings: &PutRecordings{Recordings: []Recording{again}}})
	got, _ = l.view.Recording("r-1")
	var formats []string
	for _, f := range got.Formats {
		formats = append(formats, fmt.Sprint(f.Type, f.Length, f.Files))
	}
	if got.Published || strings.Join(formats, " ") != "podcast0 0 presentation9 7 video3 0" {
		t.Errorf("imported again: published %v, formats %v", got.Published, formats)
	}

	l.one(BBBOp{PatchRecordings: &PatchRecordings{IDs: []string{"r-1"}, Visibility: VisibilityProtected}})
	if got, _ = l.view.Recording("r-1"); !got.Published || !got.Protected() {
		t.Errorf("protected: %+v", got)
	}
	if n := len(slices.Collect(l.view.RecordingsOf("uni", "r-"))); n != 2 {
		t.Errorf("%d recordings by prefix, want 2", n)
	}
	if r := l.one(BBBOp{DeleteRecordings: &DeleteRecordings{IDs: []string{"r-1", "r-2"}, Frontend: "school"}}); r.Count != 0 {
		t.Errorf("another tenant deleted recordings: %+v", r)
	}
	if res := l.ops(parse(t, `delete frontend uni`)); res.Refusal == nil || res.Refusal.Code != CodeInUse {
		t.Errorf("a tenant with recordings was deleted: %+v", res)
	}
	l.one(BBBOp{DeleteRecordings: &DeleteRecordings{IDs: []string{"r-1"}, Frontend: "uni"}})
	l.one(enqueueOp(callback("c")))
	l.must(parse(t, `delete! frontend uni`))
	if l.view.LenRecordings() != 0 || l.view.bbb.recordings.bytes != 0 || l.view.LenCallbacks() != 0 {
		t.Errorf("left: %d recordings, %d bytes, %d callbacks", l.view.LenRecordings(), l.view.bbb.recordings.bytes, l.view.LenCallbacks())
	}
}

func TestRecordings_refusals(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Recording){
		"id":         func(r *Recording) { r.ID = "../x" },
		"dot":        func(r *Recording) { r.ID = ".hidden" },
		"visibility": func(r *Recording) { r.Visibility = "secret" },
		"xml":        func(r *Recording) { r.XML = strings.Repeat("x", maxRecordingXML+1) },
		"format":     func(r *Recording) { r.Formats[0].Type = "a/b" },
		"formats":    func(r *Recording) { r.Formats = manyFormats() },
		"metadata":   func(r *Recording) { r.Metadata["x"] = strings.Repeat("x", maxRecordingBytes) },
		"meeting":    func(r *Recording) { r.MeetingID = "" },
	} {
		r := recording("r-1")
		change(&r)
		if res := bbbLog(t).bbb(BBBOp{PutRecordings: &PutRecordings{Recordings: []Recording{r}}}); res.Refusal == nil || res.Refusal.Code != CodeInvalid {
			t.Errorf("%s: %+v, want it refused", name, res.Refusal)
		}
	}
}

func manyFormats() []RecordingFormat {
	out := make([]RecordingFormat, maxFormats+1)
	for i := range out {
		out[i].Type = fmt.Sprintf("f%d", i)
	}
	return out
}

// jobCommands has one command of each operation.
func jobCommands(t testing.TB) []Command {
	yes := true
	full := callback("c-2")
	full.Kind, full.Auth, full.Method, full.Body, full.ContentType, full.MeetingID = CallbackRecording, AuthSigned, "POST", `{"record_id":"r-1"}`, "application/x-www-form-urlencoded", "room"
	r := recording("r-1")
	r.Participants = 4
	r.Formats[1].Preview = []Image{{URL: "/1.png", Alt: "x", Width: 176, Height: 136}}
	commands := []Command{
		{Type: TypeTxn, RequestID: "r1", Actor: "ann", Ops: parseAll(t, `put frontend uni {"key":"uni","secret":"s"}`)},
		BBB(enqueueOp(callback("c-1"), full, callback("c-3"))),
		BBB(finishOp(CallbackFailed, "c-1"), finishOp(CallbackDone, "c-3")),
		BBB(BBBOp{PutRecordings: &PutRecordings{Recordings: []Recording{r, recording("r-2")}}}),
		BBB(BBBOp{PatchRecordings: &PatchRecordings{IDs: []string{"r-1"}, Frontend: "uni", Published: &yes, Visibility: VisibilityPublicProtected, Metadata: map[string]string{"c": "3"}}}),
		BBB(BBBOp{DeleteRecordings: &DeleteRecordings{IDs: []string{"r-2"}, Frontend: "uni"}}),
	}
	for i := range commands {
		commands[i].At = at
	}
	return commands
}

func TestGolden_bbbJobs(t *testing.T) {
	t.Parallel()
	v := NewView()
	var all []byte
	for i, c := range jobCommands(t) {
		b, err := Encode(c)
		if err != nil {
			t.Fatal(err)
		}
		all = append(append(all, b...), '\n')
		decoded, err := Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(c, decoded); d != "" {
			t.Errorf("command %d reads as another one: %s", i, d)
		}
		var res Result
		if v, res = Apply(v, uint64(i+1), 1, decoded); res.Refusal != nil {
			t.Fatalf("command %d: %v", i, res.Refusal)
		}
	}
	var snap bytes.Buffer
	if err := WriteSnapshot(&snap, v); err != nil {
		t.Fatal(err)
	}
	golden(t, "v3/bbb-jobs-commands.bin", all)
	golden(t, "v3/bbb-jobs-snapshot.jsonl", snap.Bytes())
	golden(t, "v3/bbb-jobs-hash.txt", []byte(Hash(v)+"\n"))
	stored, err := os.ReadFile("testdata/v3/bbb-jobs-snapshot.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	back, err := ReadSnapshot(bytes.NewReader(stored))
	if err != nil {
		t.Fatal(err)
	}
	if Hash(back) != Hash(v) || back.LenRecordings() != 1 || back.LenCallbacks() != 2 || back.bbb.recordings.bytes != v.bbb.recordings.bytes || back.bbb.callbacks.bytes != v.bbb.callbacks.bytes {
		t.Errorf("the snapshot reads as something else: %d recordings, %d callbacks", back.LenRecordings(), back.LenCallbacks())
	}
	for _, rec := range []snapshotRecord{{Callback: &Callback{}}, {Recording: &Recording{}}} {
		if known, err := NewView().loadBBB(rec); !known || err == nil {
			t.Errorf("%+v was read", rec)
		}
	}
}
