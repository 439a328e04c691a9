package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/client"
)

// goal is what --wait waits for.
type goal string

const (
	goalCommitted goal = "committed" // the change is in the log
	goalApplied   goal = "applied"   // every live node has it
	goalIdle      goal = "idle"      // disable: nothing runs on the backend, on any node
	goalReady     goal = "ready"     // enable: the backend is in use
	goalRemoved   goal = "removed"   // delete: the backend is gone
	goalDefault   goal = "true"      // the last of those that the verb has
)

func waitStages() []string {
	return []string{string(goalCommitted), string(goalApplied), string(goalIdle), string(goalReady), string(goalRemoved), string(goalDefault)}
}

func waitFlag(cmd *cobra.Command, until string) {
	cmd.Flags().String(flagWait, "", "wait "+until)
	cmd.Flags().Lookup(flagWait).NoOptDefVal = string(goalDefault)
}

// wait is what is waited for, and by which backends.
type wait struct {
	goal    goal // "" = nothing
	targets []target
}

type target struct {
	id    string
	index uint64 // log index of the change
}

func (w *wait) add(t target) {
	if t.id != "" && !slices.ContainsFunc(w.targets, func(o target) bool { return o.id == t.id }) {
		w.targets = append(w.targets, t)
	}
}

// waitOf reads --wait; last is the most that the verb can wait for.
func waitOf(cmd *cobra.Command, last goal) (wait, error) {
	v, err := cmd.Flags().GetString(flagWait)
	if err != nil {
		return wait{}, err
	}
	switch g := goal(v); {
	case !cmd.Flags().Changed(flagWait) || v == "false":
		return wait{}, nil
	case g == goalDefault, g == goalIdle && last == goalRemoved:
		return wait{goal: last}, nil
	case g == goalCommitted, g == goalApplied, g == last:
		return wait{goal: g}, nil
	}
	return wait{}, usagef("%s --wait takes committed, applied or %s, got %q", cmd.CommandPath(), last, v)
}

// waitFor waits until all targets have reached the goal. sent is what came of the changes: what went wrong
// there stays wrong, but a wait that is over makes "nothing to change" a success.
func (a *app) waitFor(ctx context.Context, n *noun, w wait, sent error) error {
	// An answer to a write means that it is committed.
	if w.goal == "" || w.goal == goalCommitted || len(w.targets) == 0 || a.dry {
		return sent
	}
	pending, last := slices.Clone(w.targets), map[string]string{}
	for {
		var failed error
		pending = slices.DeleteFunc(pending, func(t target) bool {
			missing, err := a.reached(ctx, n, w.goal, t)
			if err != nil && failed == nil && !a.temporary(err) {
				failed = err
			}
			if err == nil {
				last[t.id] = missing
			}
			return err == nil && missing == ""
		})
		a.progress(pending, last)
		switch {
		case failed != nil && ctx.Err() == nil:
			a.progress(nil, nil)
			return failed
		case len(pending) == 0:
			if a.output == "" {
				for _, t := range w.targets {
					fmt.Fprintf(a.stdout, "backend %s is %s\n", t.id, reachedText(w.goal))
				}
			}
			if exitCode(sent) == exitUnchanged {
				return nil
			}
			return sent
		}
		pause := time.NewTimer(a.pollPause)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			a.progress(nil, nil)
			return a.incomplete(ctx, w.goal, pending, last)
		}
	}
}

// temporary says that asking again may help: a node went away, or an election is on.
func (a *app) temporary(err error) bool {
	return errors.Is(err, client.ErrUnreachable) || errors.Is(err, client.ErrNoLeader)
}

// waitRound is how long a node may hold one question: short enough for progress to be live.
const waitRound = time.Second

// reached says what is missing for a backend's goal; "" = nothing.
func (a *app) reached(ctx context.Context, n *noun, g goal, t target) (missing string, err error) {
	if g == goalApplied || g == goalIdle {
		return a.confirmed(ctx, n, g, t)
	}
	resp, err := a.get(ctx, client.Path(n.path, t.id), nil)
	if g == goalRemoved && errors.Is(err, client.ErrNotFound) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	b, err := client.Decode[api.Backend](resp)
	if err != nil {
		return "", err
	}
	if err := undone(g, b); err != nil {
		return "", err
	}
	if g == goalReady {
		if b.NodeState == string(goalReady) {
			return "", nil
		}
		return fmt.Sprintf("%s, %s", b.NodeState, firstOf(b.VerdictText, "no verdict yet")), nil
	}
	if b.InFlight > 0 {
		return count(int(b.InFlight), "request") + " in flight", nil
	}
	return "nothing in flight, not yet confirmed by every node", nil
}

// confirmed asks the nodes themselves, for up to waitRound.
func (a *app) confirmed(ctx context.Context, n *noun, g goal, t target) (missing string, err error) {
	q := url.Values{"wait": {string(g)}, "index": {strconv.FormatUint(t.index, 10)}, "timeout": {waitRound.String()}}
	resp, err := a.get(ctx, client.Path(n.path, t.id, "wait"), q)
	if err != nil {
		return "", err
	}
	w, err := client.Decode[api.WaitResult](resp)
	if err != nil {
		return "", err
	}
	if w.Backend != nil && g == goalIdle {
		if err := undone(g, *w.Backend); err != nil {
			return "", err
		}
	}
	switch {
	case w.Reached:
		return "", nil
	case g == goalIdle && w.InFlight > 0:
		return count(int(w.InFlight), "request") + " in flight", nil
	}
	return "not yet confirmed by " + strings.Join(w.Unconfirmed, ", "), nil
}

// undone says that what is waited for will not come: the operator's wish is another one by now.
func undone(g goal, b api.Backend) error {
	if slices.Contains(wantedState(g), b.AdminState) {
		return nil
	}
	return fmt.Errorf("backend %s is now %s: somebody else changed its admin_state", b.ID, b.AdminState)
}

func wantedState(g goal) []string {
	switch g {
	case goalReady:
		return []string{"ready"}
	case goalIdle:
		return []string{"stopped", "decommissioned"}
	}
	return []string{"decommissioned"}
}

func reachedText(g goal) string {
	if g == goalApplied {
		return "in effect on every live node"
	}
	return string(g)
}

// progress draws one line over the last one on a terminal, and nothing elsewhere. Without targets it wipes it.
func (a *app) progress(pending []target, last map[string]string) {
	if !a.tty {
		return
	}
	line := ""
	for i, t := range pending {
		if i == 3 {
			line += fmt.Sprintf(" · %d more", len(pending)-i)
			break
		}
		if i > 0 {
			line += " · "
		}
		line += t.id + ": " + firstOf(last[t.id], "no answer")
	}
	if line != "" {
		// A line that wraps could not be drawn over: only its last row would be wiped.
		line = cut("waiting: "+clean(line), columns(a.stderr)-1)
	}
	fmt.Fprint(a.stderr, "\r\x1b[K"+line)
}

// incomplete says what is still missing, and that the cluster goes on without lbctl.
func (a *app) incomplete(ctx context.Context, g goal, pending []target, last map[string]string) error {
	goesOn := map[goal]string{
		goalIdle: "the drain goes on", goalRemoved: "the drain goes on, then it is removed",
		goalReady: "it stays enabled", goalApplied: "the change is committed",
	}[g]
	why := "after " + a.timeout.String()
	if errors.Is(ctx.Err(), context.Canceled) {
		why = "interrupted"
	}
	for _, t := range pending {
		a.notef("%s: backend %s is not yet %s: %s; %s, `lbctl show backend %s` shows how far it is",
			why, t.id, reachedText(g), clean(firstOf(last[t.id], "no node answered")), goesOn, t.id)
	}
	return errIncomplete
}
