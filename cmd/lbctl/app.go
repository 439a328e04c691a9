package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/client"
	"github.com/lbnode/lbnode/internal/buildinfo"
)

// Environment variables.
const (
	envAPI       = "LBCTL_API"
	envToken     = "LBCTL_TOKEN"
	envTokenFile = "LBCTL_TOKEN_FILE"
	envCACert    = "LBCTL_CACERT"
)

const defaultAPI = "http://127.0.0.1:9080"

// app is one run of lbctl.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	env            map[string]string
	tty            bool // stderr is a terminal
	now            func() time.Time
	pollPause      time.Duration   // between two looks at what --wait waits for
	transport      *http.Transport // nil = the client's default

	// Flags of all commands.
	api, token, output, requestID, consistency string
	files                                      connFiles
	timeout                                    time.Duration
	json, dry                                  bool

	client *client.Client     // nil until a command needs it
	cancel context.CancelFunc // of the command's context; nil until it is parsed
}

// run runs one command line and returns the exit code.
func (a *app) run(ctx context.Context, args []string) int {
	root := a.root()
	root.SetArgs(arrange(root, args))
	err := root.ExecuteContext(ctx)
	if a.cancel != nil {
		a.cancel()
	}
	if a.client != nil {
		a.client.Close()
	}
	a.report(err)
	return exitCode(err)
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "lbctl",
		Short: "Operate an lbnode cluster",
		Long: `lbctl operates a cluster of lbnode load balancers over the admin API of any of its nodes.

  lbctl add backend 10.0.1.15:8080 --id users-v1 --pool users
  lbctl add route --path /users --method GET --pool users --algorithm least_connections
  lbctl show backends
  lbctl disable backend users-v1 --wait
  lbctl cluster status

Nouns may be singular or plural, flags may stand anywhere, and the address of a backend is as good as its id.

Exit codes: 0 done, 1 other, 2 usage, 3 not found, 4 conflict, 5 not authorized, 6 no leader,
7 outcome unknown or wait incomplete, 8 invalid, 64 nothing to change.`,
		SilenceErrors: true, SilenceUsage: true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		Args:              cobra.ArbitraryArgs,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.checkFlags(); err != nil {
				return err
			}
			var ctx context.Context
			if cmd.Annotations[endless] != "" && !cmd.Flags().Changed("timeout") {
				ctx, a.cancel = context.WithCancel(cmd.Context())
			} else {
				ctx, a.cancel = context.WithTimeout(cmd.Context(), a.timeout)
			}
			cmd.SetContext(ctx)
			return nil
		},
		RunE: group,
	}
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usagef("%w; see %s --help", err, cmd.CommandPath())
	})
	f := root.PersistentFlags()
	f.StringVarP(&a.api, "api", "b", "", "API addresses of nodes, separated by commas; the next is tried when one fails (env "+envAPI+", else "+defaultAPI+")")
	f.StringVar(&a.token, "token", "", "token; others on this host can see it in the list of processes, so better env "+envToken+" or --token-file")
	f.StringVar(&a.files.token, "token-file", "", "file with the token (env "+envTokenFile+")")
	f.StringVar(&a.files.ca, "ca-file", "", "PEM file with the authorities of the nodes' certificates (env "+envCACert+", else the system's)")
	f.StringVar(&a.files.cert, "client-cert-file", "", "PEM file with lbctl's own certificate, for nodes that want one")
	f.StringVar(&a.files.key, "client-key-file", "", "PEM file with its private key")
	f.DurationVar(&a.timeout, "timeout", 30*time.Second, "bound of the whole command, waiting included")
	f.StringVarP(&a.output, "output", "o", "", "table, wide, json, yaml or name; json is the API's answer")
	f.StringVar(&a.consistency, "consistency", "", "how new what is shown must be: stale (what the node has, the default), leader or linearizable")
	f.BoolVar(&a.json, "json", false, "the same as -o json")
	f.BoolVar(&a.dry, "dry", false, "print the request that would be sent, and change nothing")
	f.StringVar(&a.requestID, "request-id", "", "Idempotency-Key of a change: repeats with the same one have their effect once")
	root.AddCommand(a.addCmd(), a.setCmd(), a.showCmd(), a.switchCmd(true), a.switchCmd(false), a.deleteCmd(), a.endCmd(),
		a.clusterCmd(), a.callbackCmd(), a.nodeCmd(), a.tokenCmd(), a.applyCmd(false), a.applyCmd(true), a.importCmd(), a.confirmCmd(), a.historyCmd(), a.explainCmd(), a.watchCmd(), a.topCmd(), a.rollbackCmd(), a.snapshotCmd(), a.keygenCmd(), a.versionCmd(), a.completionCmd())
	return root
}

// group is what a command does that only has others below it: say what they are.
func group(cmd *cobra.Command, args []string) error {
	if len(args) == 0 && !cmd.HasParent() {
		return cmd.Help()
	}
	var names []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	if len(args) == 0 {
		return usagef("%s what? One of %s", cmd.CommandPath(), strings.Join(names, ", "))
	}
	hint := ""
	cmd.SuggestionsMinimumDistance = 2
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		hint = "; did you mean " + strings.Join(near, " or ") + "?"
	}
	return usagef("unknown command %q for %q%s; there is %s", args[0], cmd.CommandPath(), hint, strings.Join(names, ", "))
}

// checkFlags completes the flags of all commands.
func (a *app) checkFlags() error {
	if a.json {
		if a.output != "" && a.output != formatJSON {
			return usagef("--json and -o %s contradict each other", a.output)
		}
		a.output = formatJSON
	}
	switch a.output {
	case "", formatTable, formatWide, formatJSON, formatYAML, formatName:
	default:
		return usagef("unknown output %q: -o takes table, wide, json, yaml or name", a.output)
	}
	switch a.consistency {
	case "", api.ReadStale, api.ReadLeader, api.ReadLinearizable:
	default:
		return usagef("--consistency takes stale, leader or linearizable, got %q", a.consistency)
	}
	if a.timeout <= 0 {
		return usagef("--timeout must be positive, got %s", a.timeout)
	}
	return nil
}

// connect makes the client, at its first use.
func (a *app) connect() (*client.Client, error) {
	if a.client != nil {
		return a.client, nil
	}
	list := firstOf(a.api, a.env[envAPI], defaultAPI)
	urls, err := client.ParseURLs(list)
	if err != nil {
		return nil, usagef("%w (--api or %s)", err, envAPI)
	}
	cfg := client.DefaultConfig()
	cfg.URLs, cfg.Timeout = urls, a.timeout
	if cfg.Token, err = a.bearer(); err != nil {
		return nil, err
	}
	cfg.Consistency = a.consistency
	cfg.UserAgent = "lbctl/" + buildinfo.Version()
	if a.transport != nil {
		cfg.Transport = a.transport
	}
	if err := a.trust(cfg.Transport); err != nil {
		return nil, err
	}
	if a.client, err = client.New(cfg); err != nil {
		return nil, usagef("%w", err)
	}
	return a.client, nil
}

func firstOf(s ...string) string {
	for _, v := range s {
		if v != "" {
			return v
		}
	}
	return ""
}

// notef tells the operator something that is not the answer.
func (a *app) notef(format string, args ...any) {
	fmt.Fprintf(a.stderr, "lbctl: "+format+"\n", args...)
}
