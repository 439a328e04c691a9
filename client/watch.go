package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/lbnode/lbnode/api"
)

// WatchOptions say what to follow, and from where.
type WatchOptions struct {
	From  *uint64  // events after this log index; nil = from now on
	Types []string // some of api.WatchConfig, api.WatchState; none = both
	Kinds []string // of objects; none = all
}

// Event is something that a watch has seen.
type Event struct {
	Name  string          // one of api's Event constants
	Index uint64          // up to where everything has been seen: where another watch would go on
	Data  json.RawMessage // what Name says
	Node  string          // URL of the node that told
}

const (
	watchDead  = 3 * api.WatchHeartbeat // a stream that is silent for so long is not alive
	watchPause = time.Second            // before all nodes are asked again
)

// Watch follows what changes, for as long as the loop runs and ctx allows. When a node goes away it goes on with
// the next one, where it was: no change is lost, and none comes twice. An error that passes by itself, such as
// no node that answers, is yielded with the loop going on; with any other one the loop ends. That is one with
// the code api.CodeCompacted when the history does not reach back to where the watch was: read everything anew,
// and watch from the index of that.
func (c *Client) Watch(ctx context.Context, o WatchOptions) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		w := watching{c: c, o: o, yield: yield, at: int(c.at.Load())}
		if o.From != nil {
			w.index, w.placed = *o.From, true
		}
		for short := 1; ctx.Err() == nil; short++ { // streams in a row that soon ended
			began := time.Now()
			err := w.follow(ctx)
			switch {
			case errors.Is(err, errEnough), ctx.Err() != nil:
				return
			case hopeless(err):
				yield(Event{}, err)
				return
			case err != nil && !yield(Event{}, err):
				return
			}
			w.at = (w.at + 1) % len(c.cfg.URLs)
			if time.Since(began) > watchPause {
				short = 0
			} else if short%len(c.cfg.URLs) == 0 {
				pause(ctx, watchPause)
			}
		}
	}
}

// errEnough says that the loop has been left.
var errEnough = errors.New("enough")

// watching is a watch across nodes.
type watching struct {
	c      *Client
	o      WatchOptions
	yield  func(Event, error) bool
	at     int    // of the node
	index  uint64 // position
	placed bool   // there is one
}

// hopeless says that asking another node, or later, is of no use.
func hopeless(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Status >= 300 && e.Status < 500
}

// follow reads the stream of one node to its end; nil is an orderly one.
func (w *watching) follow(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	node := w.c.cfg.URLs[w.at]
	silent := time.AfterFunc(watchDead, cancel)
	defer silent.Stop()
	resp, err := w.open(ctx, node)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	w.c.at.Store(int32(w.at))
	stream := newSSEReader(resp.Body)
	for {
		e, err := stream.next()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = errors.New("the stream ended")
			}
			return w.failure(node, err)
		}
		silent.Reset(watchDead)
		if e.hasID {
			w.index, w.placed = e.id, true
		}
		switch e.name {
		case "":
			continue
		case api.EventCompacted:
			return w.compacted(node, e.data)
		case api.EventEnd:
			return nil
		}
		if !w.yield(Event{Name: e.name, Index: w.index, Data: json.RawMessage(e.data), Node: node}, nil) {
			return errEnough
		}
	}
}

// open asks one node for its stream.
func (w *watching) open(ctx context.Context, node string) (*http.Response, error) {
	q := url.Values{}
	if len(w.o.Types) > 0 {
		q.Set("types", strings.Join(w.o.Types, ","))
	}
	if len(w.o.Kinds) > 0 {
		q.Set("kinds", strings.Join(w.o.Kinds, ","))
	}
	k := call{c: w.c, r: Request{Method: http.MethodGet, Path: "/watch", Query: q}}
	req, err := k.request(ctx, node)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", api.ContentEvents)
	if w.placed {
		req.Header.Set(api.HeaderLastEventID, strconv.FormatUint(w.index, 10))
	}
	resp, err := w.c.http.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err
		}
		return nil, w.failure(node, err)
	}
	if resp.StatusCode == http.StatusOK && strings.HasPrefix(resp.Header.Get("Content-Type"), api.ContentEvents) {
		return resp, nil
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return nil, w.failure(node, err)
	}
	k.judge(&Response{Status: resp.StatusCode, Header: resp.Header, Body: body, Node: node})
	return nil, k.last
}

// failure is a stream that broke.
func (w *watching) failure(node string, err error) error {
	return &Error{
		Method: http.MethodGet, Path: "/watch", Node: node, kind: ErrUnreachable, cause: fmt.Errorf("%s: %w", node, err),
		Problem: api.Problem{Title: "Unreachable", Detail: "the watch was interrupted"},
	}
}

// compacted is the last event of a stream that was too slow, as the error that a new one would get.
func (w *watching) compacted(node, data string) error {
	e := &Error{Method: http.MethodGet, Path: "/watch", Node: node, Status: http.StatusGone, Problem: api.Problem{Code: api.CodeCompacted}}
	if err := json.Unmarshal([]byte(data), &e.Problem); err != nil {
		e.Problem.Detail = "the history does not reach back so far"
	}
	return e
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
