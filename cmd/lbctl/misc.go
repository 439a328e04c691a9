package main

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/lbnode/lbnode/internal/buildinfo"
)

// keygenCmd makes a cluster key, as `lbnode keygen` does.
func (a *app) keygenCmd() *cobra.Command {
	return &cobra.Command{
		Use: "keygen", Short: "Make a key for --cluster-key-file", Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			var key [32]byte
			_, _ = rand.Read(key[:]) // never fails: crypto/rand ends the process instead
			fmt.Fprintln(a.stdout, base64.StdEncoding.EncodeToString(key[:]))
			return nil
		},
	}
}

func (a *app) versionCmd() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version of lbctl", Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			fmt.Fprintf(a.stdout, "lbctl %s (%s %s/%s)\n", buildinfo.Version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return nil
		},
	}
}

func (a *app) completionCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "completion", Aliases: []string{"completions"}, Short: "Print a completion script for a shell", Args: cobra.ArbitraryArgs, RunE: group,
		Long: `Print a completion script. For this shell only:

  bash:  source <(lbctl completion bash)
  zsh:   source <(lbctl completion zsh)
  fish:  lbctl completion fish | source`,
	}
	for shell, write := range map[string]func(*cobra.Command) error{
		"bash": func(root *cobra.Command) error { return root.GenBashCompletionV2(a.stdout, true) },
		"zsh":  func(root *cobra.Command) error { return root.GenZshCompletion(a.stdout) },
		"fish": func(root *cobra.Command) error { return root.GenFishCompletion(a.stdout, true) },
	} {
		cmd.AddCommand(&cobra.Command{
			Use: shell, Short: "Print a completion script for " + shell, Args: noArgs,
			RunE: func(cmd *cobra.Command, _ []string) error { return write(cmd.Root()) },
		})
	}
	return cmd
}

// noArgs refuses objects where a command takes none.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("%s takes no %q", cmd.CommandPath(), args[0])
	}
	return nil
}

// wantArgs says what is missing, or too much, by name.
func wantArgs(least, most int, name string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return usagef("%s needs %s", cmd.CommandPath(), name)
		case most >= 0 && len(args) > most:
			return usagef("%s takes one %s, got %q too", cmd.CommandPath(), name, args[most])
		}
		return nil
	}
}
