// Command lbagent runs beside a server that lbnode balances. It only reads flags and hands over to package
// internal/agent.
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

	"github.com/lbnode/lbnode/internal/agent"
	"github.com/lbnode/lbnode/internal/buildinfo"
	"github.com/lbnode/lbnode/internal/telemetry"
)

// Exit codes, the same as lbctl's.
const (
	exitOK         = 0
	exitFailed     = 1
	exitUsage      = 2
	exitIncomplete = 7 // the server was not idle in time
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the next signal ends the process at once
	code := run(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args, environ []string, stdout, stderr io.Writer) int {
	if len(args) == 1 && (args[0] == "version" || args[0] == "--version") {
		fmt.Fprintln(stdout, "lbagent", buildinfo.Version())
		return exitOK
	}
	cfg, err := agent.Load(args, environ, stdout)
	if errors.Is(err, flag.ErrHelp) {
		return exitOK
	}
	if err != nil {
		fmt.Fprintln(stderr, "lbagent:", err)
		return exitUsage
	}
	a, err := agent.New(cfg, buildinfo.Version(), telemetry.NewLogger(stderr, cfg.LogFormat, cfg.LogLevel))
	if err != nil {
		fmt.Fprintln(stderr, "lbagent:", err)
		return exitUsage
	}
	if err := a.Run(ctx); err != nil {
		fmt.Fprintln(stderr, "lbagent:", err)
		if errors.Is(err, agent.ErrNotIdle) {
			return exitIncomplete
		}
		return exitFailed
	}
	return exitOK
}
