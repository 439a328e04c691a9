package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/lbnode/lbnode/api"
)

const (
	maxStreams    = 1000             // open watches of a node
	streamWrite   = 20 * time.Second // for a client to take what it is sent
	streamMaximum = 256              // events written before the time to take them begins anew
)

// streams counts the open watches and ends them when the node stops.
type streams struct {
	mu     sync.Mutex
	open   int
	closed bool
	done   chan struct{} // closed with closed
	idle   chan struct{} // closed when closed and none is open
}

func newStreams() *streams { return &streams{done: make(chan struct{}), idle: make(chan struct{})} }

func (s *streams) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.open >= maxStreams {
		return false
	}
	s.open++
	return true
}

func (s *streams) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open--; s.closed && s.open == 0 {
		close(s.idle)
	}
}

func (s *streams) refusal() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return "this node is stopping; ask another one"
	}
	return fmt.Sprintf("%d watches are open on this node already; ask another one", s.open)
}

// EndStreams tells every open watch to go on elsewhere and refuses new ones. It returns when all have been told,
// or ctx ends. It may be called several times.
func (s *Server) EndStreams(ctx context.Context) {
	st := s.streams
	st.mu.Lock()
	if !st.closed {
		st.closed = true
		close(st.done)
		if st.open == 0 {
			close(st.idle)
		}
	}
	st.mu.Unlock()
	select {
	case <-st.idle:
	case <-ctx.Done():
	}
}

// streamEvents writes events until the client goes away, the node stops, or the client has become too slow. It
// reads views and keeps nothing: however slow the client is, nobody waits for it.
func (c *call) streamEvents(f watchFilter, from uint64) {
	ctx, cancel := context.WithCancel(c.r.Context())
	defer cancel()
	out := &eventWriter{w: c.w, ctl: http.NewResponseController(c.w)}
	_ = out.ctl.SetReadDeadline(time.Time{}) // it is a bound of the request, which is over; not every writer has one
	views := c.s.cfg.Store.Watch(ctx)
	beat := time.NewTicker(api.WatchHeartbeat)
	defer beat.Stop()
	err := out.send(event{api.EventStart, from, api.WatchStart{Node: c.s.cfg.NodeID, From: from}})
	for err == nil {
		select {
		case v, ok := <-views:
			if !ok {
				return
			}
			events, reaches := eventsAfter(v, from, f)
			if !reaches {
				_ = out.send(event{api.EventCompacted, 0, complete(problemOf(compacted(v, from), false), c.w.Header())}) // the last one, either way
				return
			}
			err = out.send(events...)
			from = max(from, v.Index)
		case <-beat.C:
			err = out.send(event{index: from})
		case <-c.s.streams.done:
			_ = out.send(event{api.EventEnd, 0, api.WatchEnd{Reason: "this node is stopping; go on with another one"}}) // the last one, either way
			return
		case <-ctx.Done():
			return
		}
	}
	c.s.cfg.Logger.LogAttrs(ctx, slog.LevelDebug, "watch ended", slog.Any("error", err), slog.Uint64("index", from))
}

// eventWriter writes server-sent events.
type eventWriter struct {
	w   http.ResponseWriter
	ctl *http.ResponseController
	buf bytes.Buffer
}

// send writes events and sees to it that they leave. Of several with the same index only the last one has an id:
// who goes on after an id must not miss the others.
func (o *eventWriter) send(events ...event) error {
	for i, e := range events {
		o.buf.Reset()
		last := i+1 == len(events) || events[i+1].index != e.index
		if err := e.encode(&o.buf, last && e.name != api.EventEnd && e.name != api.EventCompacted); err != nil {
			return err
		}
		if i%streamMaximum == 0 {
			_ = o.ctl.SetWriteDeadline(time.Now().Add(streamWrite)) // not every writer has one
		}
		if _, err := o.w.Write(o.buf.Bytes()); err != nil {
			return err
		}
	}
	if len(events) == 0 {
		return nil
	}
	return o.ctl.Flush()
}

// encode writes an event as text: https://html.spec.whatwg.org/multipage/server-sent-events.html. Data in JSON has
// no line breaks.
func (e event) encode(buf *bytes.Buffer, id bool) error {
	if e.name == "" {
		buf.WriteString(": heartbeat\n") // a comment; with the id the position moves, and nobody is told
	} else {
		fmt.Fprintf(buf, "event: %s\n", e.name)
	}
	if id {
		fmt.Fprintf(buf, "id: %d\n", e.index)
	}
	if e.data != nil {
		buf.WriteString("data: ")
		enc := json.NewEncoder(buf)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(e.data); err != nil { // with a line's end
			return fmt.Errorf("encode event %s: %w", e.name, err)
		}
	}
	buf.WriteByte('\n')
	return nil
}
