package httpapi

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/state"
)

const (
	paramTypes = "types"
	paramKinds = "kinds"
)

// tooFar is how far beyond the log's end ?from may be before it is taken for a mistake instead of for a node that
// lags.
const tooFar = 1_000_000

// watchFilter is what a watch is about.
type watchFilter struct {
	config, state bool
	kinds         []string // of objects in changes; none = all
}

// event is one server-sent event. The one without a name moves the position only.
type event struct {
	name  string
	index uint64
	data  any
}

// eventsAfter lists what happened after a log index, in the order of the log: every change, and of each backend
// whose state changed the state that it has now. It has no memory: what it says follows from the view alone, so
// that every node gives the same and no consumer can hold anything up. ok is false if the history does not reach
// back so far. Of one entry the states come before the change, which thereby is the one with the id: it comes
// once, while a state may come again.
func eventsAfter(v *state.View, from uint64, f watchFilter) (events []event, ok bool) {
	if f.config && from < v.HistoryBase() {
		return nil, false
	}
	if f.state && (v.StateGen > from || v.ConfigGen > from) && f.wants(state.KindBackend) {
		for b := range v.Backends() {
			if s := backendState(b); s.Index > from {
				events = append(events, event{api.EventState, s.Index, s})
			}
		}
	}
	if f.config {
		for ch := range v.ChangesAfter(from) {
			if out, about := f.change(ch); about {
				events = append(events, event{api.EventChange, ch.Index, out})
			}
		}
	}
	slices.SortStableFunc(events, func(a, b event) int { return cmp.Compare(a.index, b.index) })
	return events, true
}

func (f watchFilter) wants(k state.Kind) bool {
	return len(f.kinds) == 0 || slices.Contains(f.kinds, string(k))
}

// change is an entry of the history with the objects that the watch is about.
func (f watchFilter) change(ch *state.Change) (api.Change, bool) {
	if len(f.kinds) == 0 {
		return changeAnswer(ch), true
	}
	some := *ch
	some.Objects = slices.DeleteFunc(slices.Clone(ch.Objects), func(o state.ObjectChange) bool { return !f.wants(o.Kind) })
	return changeAnswer(&some), len(some.Objects) > 0
}

// backendState is as of the last entry that changed verdict, drain or admin_state.
func backendState(b *state.Backend) api.BackendState {
	s := api.BackendState{
		Index: b.StateIndex, ID: b.ID, Pool: b.Pool, Address: b.Address, AdminState: string(b.AdminState), NodeState: string(b.NodeState()),
		Draining: b.Draining(), Drained: b.Drained, Verdict: string(b.Verdict), VerdictText: b.VerdictText, Since: b.StateSince.UTC(),
	}
	if b.AdminIndex > s.Index {
		s.Index, s.Since = b.AdminIndex, b.AdminSince.UTC()
	}
	return s
}

// watch does GET /watch.
func watch(c *call) (answer, error) {
	f, err := c.watchFilter()
	if err != nil {
		return answer{}, err
	}
	from, given, err := c.watchFrom()
	if err != nil {
		return answer{}, err
	}
	v := c.s.cfg.Store.View()
	if !given {
		from = v.Index
	}
	if v, err = c.reachFrom(v, from); err != nil {
		return answer{}, err
	}
	if f.config && from < v.HistoryBase() {
		return answer{}, compacted(v, from)
	}
	if c.r.Method == http.MethodHead {
		return answer{view: v, header: http.Header{"Content-Type": {api.ContentEvents}}}, nil
	}
	if !c.s.streams.enter() {
		return answer{}, &failure{status: http.StatusServiceUnavailable, code: api.CodeBusy, detail: c.s.streams.refusal()}
	}
	return answer{view: v, stream: func() {
		defer c.s.streams.leave()
		c.streamEvents(f, from)
	}}, nil
}

func (c *call) watchFilter() (watchFilter, error) {
	var f watchFilter
	types, err := c.listParam(paramTypes, api.WatchConfig, api.WatchState)
	if err != nil {
		return f, err
	}
	f.config = len(types) == 0 || slices.Contains(types, api.WatchConfig)
	f.state = len(types) == 0 || slices.Contains(types, api.WatchState)
	var kinds []string
	for _, k := range state.Kinds() {
		kinds = append(kinds, string(k))
	}
	f.kinds, err = c.listParam(paramKinds, kinds...)
	return f, err
}

// listParam reads words separated by commas.
func (c *call) listParam(name string, allowed ...string) ([]string, error) {
	if !url.Values(c.params).Has(name) {
		return nil, nil
	}
	list := strings.Split(c.params.get(name), ",")
	for _, w := range list {
		if !slices.Contains(allowed, w) {
			return nil, badParam(name, "takes some of %s, separated by commas, got %q", strings.Join(allowed, ", "), c.params.get(name))
		}
	}
	return list, nil
}

// watchFrom is where the watch begins: after Last-Event-ID, which a browser sends when it connects again, else
// after ?from.
func (c *call) watchFrom() (from uint64, given bool, err error) {
	if from, given, err = c.params.number(paramFrom, 0, 1<<63-1); err != nil {
		return 0, false, err
	}
	last := c.r.Header.Get(api.HeaderLastEventID)
	if last == "" {
		return from, given, nil
	}
	if from, err = strconv.ParseUint(last, 10, 63); err != nil {
		return 0, false, invalid(fmt.Sprintf("the header %s must be the id of an event, which is a log index, got %q", api.HeaderLastEventID, last))
	}
	return from, true, nil
}

// reachFrom waits for a node that lags behind the one where the client was before.
func (c *call) reachFrom(v *state.View, from uint64) (*state.View, error) {
	if from <= v.Index {
		return v, nil
	}
	st := c.s.cfg.Cluster.Status()
	if end := max(v.Index, st.LastIndex, st.CommitIndex); from > end+tooFar {
		return nil, badParam(paramFrom, "is beyond the end of the log, which is at %d, got %d: was it another cluster's?", end, from)
	}
	limit, err := c.readTimeout(endpoint{})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(c.r.Context(), limit)
	defer cancel()
	_ = http.NewResponseController(c.w).SetReadDeadline(time.Time{}) // as in catchUp
	if err := c.waitFor(ctx, limit, from); err != nil {
		return nil, err
	}
	return c.s.cfg.Store.View(), nil
}
