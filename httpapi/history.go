package httpapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/gorilla/mux"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/state"
)

const (
	paramBefore = "before"
	paramKind   = "kind"
	paramID     = "id"
	paramFrom   = "from"
	paramTo     = "to"

	defaultHistory = 100  // entries of one answer
	maxHistory     = 1000 // there are never more
)

// listHistory does GET /history: the newest changes first.
func listHistory(c *call) (answer, error) {
	if err := oneOf(c.params, paramKind, state.Kinds()...); err != nil {
		return answer{}, err
	}
	limit, limited, err := c.params.number(paramLimit, 1, maxHistory)
	if err != nil {
		return answer{}, err
	}
	if !limited {
		limit = defaultHistory
	}
	before, _, err := c.params.number(paramBefore, 1, 1<<63-1)
	if err != nil {
		return answer{}, err
	}
	v := c.s.cfg.Store.View()
	kind, id := c.params.get(paramKind), c.params.get(paramID)
	out := []api.Change{}
	header := http.Header{}
	for ch := range v.ChangesBefore(before) {
		touches := kind == "" && id == "" || slices.ContainsFunc(ch.Objects, func(o state.ObjectChange) bool {
			return (kind == "" || string(o.Kind) == kind) && (id == "" || o.ID == id)
		})
		if !touches {
			continue
		}
		if uint64(len(out)) == limit {
			q := url.Values{}
			for k, val := range c.params {
				q[k] = val
			}
			for _, p := range readParams() {
				q.Del(p)
			}
			q.Set(paramBefore, strconv.FormatUint(out[len(out)-1].Index, 10))
			header.Set("Link", api.NextLink(c.r.URL.EscapedPath()+"?"+q.Encode()))
			break
		}
		out = append(out, changeAnswer(ch))
	}
	return answer{body: out, view: v, header: header}, nil
}

// getChange does GET /history/{index}.
func getChange(c *call) (answer, error) {
	v := c.s.cfg.Store.View()
	ch, err := c.change(v)
	if err != nil {
		return answer{}, err
	}
	return answer{body: changeAnswer(ch), view: v}, nil
}

// change is the entry of the history that the path names.
func (c *call) change(v *state.View) (*state.Change, error) {
	text := mux.Vars(c.r)["index"]
	index, err := strconv.ParseUint(text, 10, 63)
	if err != nil {
		return nil, &failure{status: http.StatusNotFound, code: api.CodeNotFound, detail: fmt.Sprintf("there is no change %q: an index is a number", text)}
	}
	ch, ok := v.Change(index)
	switch {
	case ok:
		return ch, nil
	case index <= v.HistoryBase():
		return nil, compacted(v, index)
	}
	return nil, &failure{status: http.StatusNotFound, code: api.CodeNotFound, detail: fmt.Sprintf("log entry %d changed nothing that an operator sets, or does not exist", index)}
}

func compacted(v *state.View, index uint64) error {
	return &failure{status: http.StatusGone, code: api.CodeCompacted, detail: fmt.Sprintf("the history begins after index %d; %d is not kept any more", v.HistoryBase(), index)}
}

func tooLargeChange(index uint64) error {
	return &failure{status: http.StatusGone, code: api.CodeCompacted, detail: fmt.Sprintf("change %d was too large to be kept whole", index)}
}

// diffHistory does GET /history/diff.
func diffHistory(c *call) (answer, error) {
	v := c.s.cfg.Store.View()
	from, ok, err := c.params.number(paramFrom, 0, 1<<63-1)
	if err == nil && !ok {
		err = badParam(paramFrom, "must be given: the index to compare from")
	}
	if err != nil {
		return answer{}, err
	}
	to, ok, err := c.params.number(paramTo, from, v.Index)
	if err != nil {
		return answer{}, err
	}
	if !ok {
		to = v.Index
	}
	if from > to {
		return answer{}, badParam(paramFrom, "must be at most %d, got %d", to, from)
	}
	if from < v.HistoryBase() {
		return answer{}, compacted(v, from)
	}
	objects, truncated := state.Compose(func(yield func(*state.Change) bool) {
		for ch := range v.ChangesAfter(from) {
			if ch.Index > to || !yield(ch) {
				return
			}
		}
	})
	if truncated != nil {
		return answer{}, tooLargeChange(truncated.Index)
	}
	return answer{body: api.Diff{From: from, To: to, Objects: objectChanges(objects)}, view: v}, nil
}

func changeAnswer(ch *state.Change) api.Change {
	return api.Change{
		Index: ch.Index, Time: ch.At.UTC(), Actor: ch.Actor, RequestID: ch.RequestID, Summary: ch.Summary,
		Truncated: ch.Truncated, Objects: objectChanges(ch.Objects),
	}
}

// rollback does POST /history/{index}/rollback: a new change that restores what was before that one.
func rollback(c *call) (answer, error) {
	force, err := c.params.flag(paramForce)
	if err != nil {
		return answer{}, err
	}
	if err := c.noBody(); err != nil {
		return answer{}, err
	}
	v := c.s.cfg.Store.View()
	ch, err := c.change(v)
	if err != nil {
		return answer{}, err
	}
	if c.who.role != state.RoleAdmin && slices.ContainsFunc(ch.Objects, func(o state.ObjectChange) bool { return o.Kind == state.KindToken }) {
		return answer{}, forbidden(fmt.Sprintf("this needs the role %s, since the change is one of tokens; %s has the role %s", state.RoleAdmin, c.actor(), c.who.role))
	}
	note := fmt.Sprintf("rollback of %d", ch.Index)
	if res, ok := c.done(v, note); ok { // the objects have changed since, but by this very request
		return answer{body: api.RollbackResult{Index: res.Index, Ops: opsAnswer(res.Ops), Kept: []string{}}}, nil
	}
	if ch.Truncated {
		return answer{}, tooLargeChange(ch.Index)
	}
	u := undoing{v: v, change: ch, force: force, kept: []string{}}
	u.plan()
	if len(u.changed) > 0 {
		return answer{}, changedSince(ch.Index, u.changed)
	}
	out := api.RollbackResult{Ops: []api.OpResult{}, Kept: u.kept}
	if _, waits := v.Pending(ch.Index); waits { // there is nothing left to undo later
		u.settle = &state.Settlement{Index: ch.Index}
	}
	if len(u.ops) > 0 {
		res, err := c.propose(&u.batch, note)
		if !force && (isRefused(err, state.CodeMismatch) || isRefused(err, state.CodeExists) || isRefused(err, state.CodeNotFound)) {
			return answer{}, changedSince(ch.Index, nil)
		}
		if err != nil {
			return answer{}, err
		}
		out.Index, out.Ops = res.Index, opsAnswer(res.Ops)
	}
	return answer{body: out}, nil
}

// done finds what came of this request if it was made before.
func (c *call) done(v *state.View, note string) (state.Result, bool) {
	res, ok := v.ResultOf(c.requestID())
	if !ok || res.Refusal != nil {
		return res, false
	}
	ch, ok := v.Change(res.Index)
	return res, ok && ch.Note == note && ch.RequestID == c.requestID()
}

func changedSince(index uint64, refs []string) error {
	return &failure{
		status: http.StatusConflict, code: api.CodeChanged, refs: refs,
		detail: fmt.Sprintf("what change %d changed has been changed again since; with ?force=true that is overwritten", index),
	}
}

// undoing makes the operations that undo a change.
type undoing struct {
	batch
	v       *state.View
	change  *state.Change
	force   bool
	changed []string        // objects that are not as the change left them
	kept    []string        // pools that stay
	drained map[string]bool // pools in which a backend drains by this
}

// plan restores first, pools before what names them, and then deletes, pools last.
func (u *undoing) plan() {
	u.drained = map[string]bool{}
	first := []state.Kind{state.KindSettings, state.KindCertificate, state.KindPool, state.KindBackend, state.KindRoute, state.KindFrontend, state.KindToken}
	last := []state.Kind{state.KindToken, state.KindRoute, state.KindFrontend, state.KindBackend, state.KindPool, state.KindCertificate, state.KindSettings}
	for _, k := range first {
		u.each(k, func(o state.ObjectChange, cur state.Object) {
			if o.Before != nil {
				u.restore(o, cur)
			}
		})
	}
	for _, k := range last {
		u.each(k, func(o state.ObjectChange, cur state.Object) {
			if o.Before == nil && cur != nil {
				u.remove(o, cur)
			}
		})
	}
}

func (u *undoing) each(k state.Kind, f func(state.ObjectChange, state.Object)) {
	for _, o := range u.change.Objects {
		if o.Kind == k {
			f(o, u.v.Get(o.Kind, o.ID))
		}
	}
}

// match is the modify_index to insist on. It notes objects that have changed since.
func (u *undoing) match(o state.ObjectChange, cur state.Object) uint64 {
	if u.force {
		return 0
	}
	same := cur == nil
	if o.After != nil {
		same = cur != nil && cur.Stamps().ModifyIndex == u.change.Index
	}
	if !same {
		u.changed = append(u.changed, string(o.Kind)+"/"+o.ID)
	}
	if cur == nil {
		return 0
	}
	return cur.Stamps().ModifyIndex
}

func (u *undoing) restore(o state.ObjectChange, cur state.Object) {
	op := state.Op{Verb: state.VerbPut, Kind: o.Kind, ID: o.ID, Value: o.Before, IfMatch: u.match(o, cur)}
	if cur == nil && !u.force {
		op.Verb = state.VerbCreate
	}
	if cur != nil && (o.Kind == state.KindFrontend || o.Kind == state.KindBackend) {
		u.clear(&op, cur)
	}
	u.push(op, "", "", nil)
}

// clear takes secrets away first that were not there, since a put without secrets keeps those there are. What is
// undone is then what comes second, in the same entry.
func (u *undoing) clear(op *state.Op, cur state.Object) {
	var before struct {
		Secret string `json:"secret"`
		BBB    struct {
			Secrets []string `json:"secrets"`
		} `json:"bbb"`
	}
	if json.Unmarshal(op.Value, &before) != nil {
		return
	}
	var value string
	switch cur := cur.(type) {
	case *state.Backend:
		if len(before.BBB.Secrets) == 0 && len(cur.BBB.Secrets) > 0 {
			value = `{"bbb":null}`
		}
	case *state.Frontend:
		if before.Secret == "" && cur.Secret != "" || len(before.BBB.Secrets) == 0 && len(cur.BBB.Secrets) > 0 {
			value = `{"secret":null,"bbb":null}`
		}
	}
	if value != "" {
		u.push(state.Op{Verb: state.VerbPatch, Kind: op.Kind, ID: op.ID, Value: json.RawMessage(value), IfMatch: op.IfMatch}, "", "", nil)
		op.IfMatch = 0
	}
}

func (u *undoing) remove(o state.ObjectChange, cur state.Object) {
	match := u.match(o, cur)
	if b, ok := cur.(*state.Backend); ok {
		u.drained[b.Pool] = true
	}
	if o.Kind == state.KindPool && u.drained[o.ID] {
		u.kept = append(u.kept, string(o.Kind)+"/"+o.ID)
		return
	}
	u.push(state.Op{Verb: state.VerbDelete, Kind: o.Kind, ID: o.ID, IfMatch: match}, "", "", nil)
}
