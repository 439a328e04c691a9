package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/client"
)

// endless marks commands that run until they are stopped: --timeout bounds their single calls only.
const endless = "endless"

func (a *app) watchCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "watch", Short: "Follow what changes, as it happens", Args: noArgs, Annotations: map[string]string{endless: "true"},
		Long: `Follow what changes, until Ctrl-C: what operators change, and what the cluster sees of backends. When a node goes away it
goes on with the next one of --api, and misses nothing. With -o json each event is a line, with what changed before and after.`,
	}
	f := cmd.Flags()
	from := f.Uint64("from", 0, "begin after this index, as `lbctl history` shows it; left out: now")
	types := f.StringSlice("types", nil, "only config (what operators change) or state (what the cluster sees of backends)")
	kinds := f.StringSlice("kinds", nil, "only these kinds of objects: backend, pool, route, frontend")
	most := f.Int("count", 0, "end after so many events; 0 = never")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		switch a.output {
		case "", formatWide, formatJSON:
		default:
			return usagef("%s takes -o wide or -o json, got %q", cmd.CommandPath(), a.output)
		}
		o := client.WatchOptions{Types: *types, Kinds: *kinds}
		if f.Changed("from") {
			o.From = from
		}
		return a.watch(cmd, o, *most)
	}
	return cmd
}

// watch prints events until it is stopped or has printed so many.
func (a *app) watch(cmd *cobra.Command, o client.WatchOptions, most int) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	w := &watcher{app: a, seen: map[string]string{}, left: most}
	for {
		err := w.follow(cmd, c, o)
		var gone *client.Error
		if !errors.As(err, &gone) || gone.Problem.Code != api.CodeCompacted {
			return err
		}
		a.notef("%s; it starts anew, and what was in between is not shown", clean(gone.Problem.Detail))
		o.From = nil
	}
}

// watcher prints what a watch sees.
type watcher struct {
	*app
	seen map[string]string // the last known state of each backend, in words
	left int               // events until the end; 0 = no end
	node string            // that tells, and has been named
	lost bool              // no node tells at the moment, and that has been said
}

func (w *watcher) follow(cmd *cobra.Command, c *client.Client, o client.WatchOptions) error {
	for e, err := range c.Watch(cmd.Context(), o) {
		if err != nil {
			var problem *client.Error
			if errors.As(err, &problem) && problem.Status >= 300 && problem.Status < 500 {
				return err
			}
			if !w.lost {
				w.notef("%s; looking for another node", clean(err.Error()))
			}
			w.lost = true
			continue
		}
		shown, err := w.print(e)
		if err != nil {
			return err
		}
		if shown && w.left > 0 {
			if w.left--; w.left == 0 {
				return nil
			}
		}
	}
	return nil
}

// print writes one event, and says whether it did.
func (w *watcher) print(e client.Event) (bool, error) {
	if e.Name == api.EventStart {
		if w.node != e.Node || w.lost {
			w.notef("watching %s after index %d", e.Node, e.Index)
		}
		w.node, w.lost = e.Node, false
		return false, nil
	}
	if w.output == formatJSON {
		b, err := json.Marshal(struct {
			Event string          `json:"event"`
			Data  json.RawMessage `json:"data"`
		}{e.Name, e.Data})
		if err != nil {
			return false, fmt.Errorf("decode an event: %w", err)
		}
		fmt.Fprintf(w.stdout, "%s\n", b)
		return true, nil
	}
	switch e.Name {
	case api.EventChange:
		var ch api.Change
		if err := json.Unmarshal(e.Data, &ch); err != nil {
			return false, fmt.Errorf("decode an event: %w", err)
		}
		return true, w.printChange(ch)
	case api.EventState:
		var s api.BackendState
		if err := json.Unmarshal(e.Data, &s); err != nil {
			return false, fmt.Errorf("decode an event: %w", err)
		}
		return w.printState(s), nil
	}
	return false, nil // of a newer lbnode
}

func (w *watcher) line(t time.Time, index uint64, text string) {
	fmt.Fprintf(w.stdout, "%s  %6s  %s\n", t.In(w.now().Location()).Format("15:04:05"), strconv.FormatUint(index, 10), clean(text))
}

func (w *watcher) printChange(ch api.Change) error {
	w.line(ch.Time, ch.Index, ch.Summary+"  ("+firstOf(ch.Actor, "unknown")+")")
	if w.output == formatWide {
		return printObjectChanges(w.stdout, ch.Objects)
	}
	return nil
}

// printState tells a state that is another one than the last.
func (w *watcher) printState(s api.BackendState) bool {
	now, was := stateText(s), w.seen[s.ID]
	if now == was {
		return false
	}
	w.seen[s.ID] = now
	if was == "" && s.Verdict == "unknown" { // a new backend, of which the change tells
		return false
	}
	text := "backend " + s.ID + ": "
	if was != "" {
		text += was + " -> "
	}
	text += now
	if s.VerdictText != "" {
		text += "  (" + s.VerdictText + ")"
	}
	w.line(s.Since, s.Index, text)
	return true
}

func stateText(s api.BackendState) string {
	if s.Draining {
		return s.NodeState + ", draining"
	}
	return s.NodeState
}
