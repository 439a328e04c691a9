// Command lbnode runs one node of a load balancer that is its own highly available control plane. It only
// reads flags and hands over: to package node, or to the demo.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/lbnode/lbnode/cluster/transport"
	"github.com/lbnode/lbnode/internal/buildinfo"
	"github.com/lbnode/lbnode/internal/config"
	"github.com/lbnode/lbnode/internal/demo"
	"github.com/lbnode/lbnode/internal/telemetry"
	"github.com/lbnode/lbnode/node"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1 // the node could not start, or had to stop
	exitUsage  = 2 // the settings are wrong
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	command := ""
	if len(args) > 0 && len(args[0]) > 0 && args[0][0] != '-' {
		command, args = args[0], args[1:]
	}
	switch command {
	case "", "run":
		return runNode(ctx, args, stdout, stderr)
	case "demo":
		if err := demo.Run(ctx, args, stdout, stderr); err != nil {
			fmt.Fprintln(stderr, "lbnode demo:", err)
			return exitFailed
		}
		return exitOK
	case "recover":
		return runRecover(args, stdout, stderr)
	case "rejoin":
		return runRejoin(ctx, args, stdout, stderr)
	case "keygen":
		fmt.Fprintln(stdout, transport.NewKey())
		return exitOK
	case "version":
		fmt.Fprintln(stdout, "lbnode", buildinfo.Version())
		return exitOK
	case "help":
		return runNode(ctx, []string{"-h"}, stdout, stderr)
	}
	fmt.Fprintf(stderr, "lbnode: unknown command %q; see lbnode --help\n", command)
	return exitUsage
}

func runNode(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	cfg, err := config.Load(args, os.Environ(), stdout)
	if errors.Is(err, flag.ErrHelp) {
		return exitOK
	}
	if err != nil {
		fmt.Fprintln(stderr, "lbnode:", err)
		return exitUsage
	}
	return serve(ctx, cfg, stdout, stderr)
}

// serve runs a node until ctx ends, or it cannot go on.
func serve(ctx context.Context, cfg config.Config, stdout, stderr io.Writer) int {
	log := telemetry.NewLogger(stderr, cfg.LogFormat, cfg.LogLevel)
	spareProcessor(cfg.Engine)
	n, err := node.New(cfg, node.Options{Version: buildinfo.Version(), Logger: log, Stdout: stdout})
	if err != nil {
		fmt.Fprintln(stderr, "lbnode:", err)
		return exitFailed
	}
	defer onHangup(n.Reload)()
	if err := n.Run(ctx); err != nil {
		fmt.Fprintln(stderr, "lbnode:", err)
		return exitFailed
	}
	return exitOK
}

// onHangup calls f for each SIGHUP, until stop is called.
func onHangup(f func()) (stop func()) {
	hangups, done := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(hangups, syscall.SIGHUP)
	go func() {
		defer close(done)
		for range hangups {
			f()
		}
	}()
	return func() {
		signal.Stop(hangups)
		close(hangups)
		<-done
	}
}
