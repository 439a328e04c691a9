package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/lbnode/lbnode/cluster"
	"github.com/lbnode/lbnode/internal/config"
	"github.com/lbnode/lbnode/internal/telemetry"
	"github.com/lbnode/lbnode/node"
	"github.com/lbnode/lbnode/state"
)

// switches takes flags that only one command has out of args, so that the rest is what running a node takes.
func switches(args []string, known map[string]*string) (rest []string) {
	for i := 0; i < len(args); i++ {
		name, value, given := strings.Cut(strings.TrimLeft(args[i], "-"), "=")
		to, ok := known[name]
		switch {
		case !ok || !strings.HasPrefix(args[i], "-"):
			rest = append(rest, args[i])
		case given:
			*to = value
		case strings.HasSuffix(name, "-name") && i+1 < len(args):
			i++
			*to = args[i]
		default:
			*to = "true"
		}
	}
	return rest
}

const recoverUsage = `lbnode recover is for a cluster that has lost the majority of its voters for good.

Usage:
  lbnode recover --data-dir DIR                         show what this node knows; changes nothing
  lbnode recover --data-dir DIR --i-have-lost-quorum    make it the only member of a new cluster

Stop lbnode first. Show it on every survivor, and recover the one whose last entry has the highest term, and then the
highest index: only that one. The others, and new nodes, join it with an empty data dir. See
docs/backup-and-recovery.md.

Flags, besides those of lbnode:
  --i-have-lost-quorum   do it
  --ignore-answers       although a majority seems to answer: something else listens on their addresses
`

// runRecover shows a survivor of a lost quorum, or makes a cluster of it.
func runRecover(args []string, stdout, stderr io.Writer) int {
	var sure, ignore string
	rest := switches(args, map[string]*string{"i-have-lost-quorum": &sure, "ignore-answers": &ignore})
	cfg, code, done := offlineConfig(rest, recoverUsage, stdout, stderr)
	if done {
		return code
	}
	if sure != "true" {
		s, err := cluster.Inspect(cfg.DataDir)
		if err != nil {
			fmt.Fprintln(stderr, "lbnode recover:", err)
			return exitFailed
		}
		fmt.Fprintf(stdout, "%s\nNothing was changed. If the majority of the voters is lost for good, and no other survivor has a later last entry\n(the higher term counts, then the higher index), make this node the only member of a new cluster with\n  lbnode recover --data-dir %s --i-have-lost-quorum\n", &s, cfg.DataDir)
		return exitOK
	}
	out, err := node.Recover(cfg, ignore == "true", telemetry.NewLogger(stderr, cfg.LogFormat, max(cfg.LogLevel, slog.LevelWarn)))
	if err != nil {
		fmt.Fprintln(stderr, "lbnode recover:", err)
		return exitFailed
	}
	v := out.View
	fmt.Fprintf(stdout, `recovered: node %s is the only member of the new cluster %s
(before: cluster %s, last entry index %d, term %d)
it has %d backends, %d pools, %d routes and %d frontends
what was there before is in %s

Start lbnode on it as always. Then have the other nodes join with --join and an empty --data-dir, or with lbnode rejoin.
Never start an old member on its old data dir: it is of another cluster now.
`, out.Before.NodeID, out.ClusterID, out.Before.ClusterID, out.Before.LastIndex, out.Before.LastTerm,
		v.Len(state.KindBackend), v.Len(state.KindPool), v.Len(state.KindRoute), v.Len(state.KindFrontend), out.Copy)
	return exitOK
}

const rejoinUsage = `lbnode rejoin is for a node whose data dir is damaged, in a cluster that lives.

Usage:
  lbnode rejoin --data-dir DIR --join HOST:PORT [flags of lbnode]

Moves all files of the data dir to aside-TIME in it, joins the cluster as a new member, takes the one that the node was
before out of the cluster, and goes on running as lbnode does.

Flags, besides those of lbnode:
  --name NAME            the new name (default: the old one with -r2, -r3 …)
  --old-name NAME        the old name, if the data dir does not say it any more
  --force                also if the data dir is sound
`

// runRejoin makes a node with a damaged data dir a new member, and runs it.
func runRejoin(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var force, oldName string
	rest := switches(args, map[string]*string{"force": &force, "old-name": &oldName})
	cfg, code, done := offlineConfig(rest, rejoinUsage, stdout, stderr)
	if done {
		return code
	}
	if len(cfg.Join) == 0 {
		fmt.Fprintln(stderr, "lbnode rejoin: give --join with the cluster address of a member")
		return exitUsage
	}
	out, err := cluster.Rejoin(cluster.Rejoining{DataDir: cfg.DataDir, Name: cfg.Name, OldName: oldName, Force: force == "true", Now: time.Now()})
	if err != nil {
		fmt.Fprintln(stderr, "lbnode rejoin:", err)
		if errors.Is(err, cluster.ErrSound) {
			fmt.Fprintln(stderr, "lbnode rejoin: --force does it all the same")
		}
		return exitFailed
	}
	fmt.Fprintf(stdout, "the files of node %s are in %s\njoining as %s; the member %s is removed once that is done\n", out.Old, out.Aside, out.New, out.Old)
	if cfg.Name != "" && cfg.Name != out.New {
		fmt.Fprintf(stdout, "from now on start this node with --name %s\n", out.New)
	}
	cfg.Name = out.New
	return serve(ctx, cfg, stdout, stderr)
}

// offlineConfig reads the settings; done says that usage or an error was printed.
func offlineConfig(args []string, usage string, stdout, stderr io.Writer) (cfg config.Config, code int, done bool) {
	cfg, err := config.Load(args, os.Environ(), io.Discard)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, usage)
		return cfg, exitOK, true
	case err != nil:
		fmt.Fprintln(stderr, "lbnode:", err)
		return cfg, exitUsage, true
	}
	return cfg, exitOK, false
}
