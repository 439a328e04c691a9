package state

import (
	"bytes"
	"slices"
	"testing"
)

// What an operator has ended is in the history, with who it was. What ends by itself is not, and what ended nothing
// neither.
func TestEnd_ordered(t *testing.T) {
	t.Parallel()
	l := bbbLog(t)
	l.one(bindOp("uni", "one", "a", "x"))
	l.one(bindOp("uni", "two", "a", "y"))
	before := len(slices.Collect(l.view.ChangesBefore(0)))
	l.one(BBBOp{End: &EndMeetings{Keys: []MeetingKey{{Frontend: "uni", ID: "one"}}}})
	if n := len(slices.Collect(l.view.ChangesBefore(0))); n != before {
		t.Errorf("the end of a meeting by itself is in the history: %d entries, want %d", n, before)
	}
	c := orderedEnd()
	res := l.do(c)
	if res.Refusal != nil || res.BBB[0].Ended != 1 {
		t.Fatalf("result %+v", res)
	}
	ch, ok := l.view.Change(res.Index)
	if !ok || ch.Actor != "token/ops" || ch.Summary != "end meeting two of uni on a" || len(ch.Objects) != 0 {
		t.Errorf("the history has %+v, %v", ch, ok)
	}
	if res = l.do(c); res.Refusal != nil || res.BBB[0].Ended != 0 {
		t.Errorf("once more: %+v", res)
	}
	if n := len(slices.Collect(l.view.ChangesBefore(0))); n != before+1 {
		t.Errorf("%d entries, want %d: the second ended nothing", n, before+1)
	}
}

func orderedEnd() Command {
	c := BBB(BBBOp{End: &EndMeetings{Keys: []MeetingKey{{Frontend: "uni", ID: "two"}}, Stale: true}})
	c.At, c.Actor, c.Note = at, "token/ops", "end meeting two of uni on a"
	return c
}

func TestGolden_ordered(t *testing.T) {
	t.Parallel()
	l := bbbLog(t)
	l.one(bindOp("uni", "two", "a", "y"))
	raw, err := Encode(orderedEnd())
	if err != nil {
		t.Fatal(err)
	}
	decoded, err := Decode(raw)
	if err != nil {
		t.Fatal(err)
	}
	if res := l.do(decoded); res.Refusal != nil {
		t.Fatal(res.Refusal)
	}
	var snap bytes.Buffer
	if err := WriteSnapshot(&snap, l.view); err != nil {
		t.Fatal(err)
	}
	golden(t, "v3/bbb-ordered-command.bin", append(raw, '\n'))
	golden(t, "v3/bbb-ordered-snapshot.jsonl", snap.Bytes())
	back, err := ReadSnapshot(bytes.NewReader(snap.Bytes()))
	if err != nil || Hash(back) != Hash(l.view) {
		t.Errorf("the snapshot reads as something else: %v", err)
	}
}
