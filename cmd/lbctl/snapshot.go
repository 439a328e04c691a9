package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/client"
	"github.com/lbnode/lbnode/cluster/transport"
	"github.com/lbnode/lbnode/internal/backup"
	"github.com/lbnode/lbnode/internal/seal"
	"github.com/lbnode/lbnode/state"
)

func (a *app) snapshotCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "snapshot", Aliases: []string{"backup"}, Short: "Save, check and restore backups", Args: cobra.ArbitraryArgs, RunE: group,
		Long: `A backup has everything that operators say: backends with their admin states, pools, routes, frontends, settings,
tokens and certificates. Secrets in it are sealed with the cluster key. What the cluster observes and the history are
not in it.`,
	}
	cmd.AddCommand(a.snapshotSaveCmd(), a.snapshotInspectCmd(), a.snapshotRestoreCmd(), a.snapshotScheduleCmd())
	return cmd
}

func (a *app) snapshotSaveCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "save FILE", Short: "Save a backup", Args: wantArgs(1, 1, "FILE"),
		Long: "Save a backup in a file that only you can read. The file is there whole or not at all; one that is there is kept, unless --force is given.",
	}
	force := cmd.Flags().BoolP("force", "f", false, "replace the file if there is one")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		path := args[0]
		if _, err := os.Lstat(path); err == nil && !*force {
			return existsError(path)
		}
		resp, err := a.do(cmd.Context(), client.Request{Method: http.MethodGet, Path: "/snapshot", ContentType: api.ContentBackup})
		if err != nil {
			return err
		}
		a.noteStale(resp)
		b, err := backup.WriteFile(path, backup.Overwrite(*force), func(w io.Writer) error { _, err := w.Write(resp.Body); return err })
		if errors.Is(err, backup.ErrExists) {
			return existsError(path)
		}
		if err != nil {
			return err
		}
		if a.output == formatJSON || a.output == formatYAML {
			return a.emitValue(infoOf(b))
		}
		fmt.Fprintf(a.stdout, "saved %s: index %d, %s, %s\nsha256 %s\n", path, b.Index, count(b.Len(), "object"), size(b.Size), b.SHA256)
		return nil
	}
	return cmd
}

func existsError(path string) error {
	return fmt.Errorf("%s exists, nothing was saved: choose another name, or give --force to replace it", path)
}

func infoOf(b *backup.Backup) api.BackupInfo {
	return api.BackupInfo{
		ClusterID: b.ClusterID, Index: b.Index, Time: b.Time, Node: b.Node, Version: b.Lbnode, Objects: b.Len(), Size: b.Size, SHA256: b.SHA256,
	}
}

// size is a number of bytes, for people.
func size(n int64) string {
	switch {
	case n < 1<<10:
		return fmt.Sprintf("%d B", n)
	case n < 1<<20:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}

func (a *app) snapshotInspectCmd() *cobra.Command {
	return &cobra.Command{
		Use: "inspect FILE", Short: "Check a backup and show what is in it, without a cluster", Args: wantArgs(1, 1, "FILE"),
		Long: "Read a whole backup file, check its form, its checksum and every object in it, and show what it is. No cluster and no key is needed.",
		RunE: func(_ *cobra.Command, args []string) error {
			b, err := backup.ReadFile(args[0])
			if err != nil {
				return badFile(err)
			}
			if a.output == formatJSON || a.output == formatYAML {
				return a.emitValue(infoOf(b))
			}
			a.sayBackup(b)
			return nil
		},
	}
}

// badFile is an invalid file: exit code 8.
func badFile(err error) error {
	if errors.Is(err, backup.ErrDamaged) || errors.Is(err, backup.ErrNewer) {
		return invalidError(err.Error())
	}
	return err
}

func (a *app) sayBackup(b *backup.Backup) {
	sealed := "sealed with the cluster key " + b.SealedWith
	switch {
	case b.OpenKey:
		sealed = "sealed with the open lab key: anybody can read them"
	case b.SealedWith == "":
		sealed = "not sealed"
	}
	facts := []fact{
		{"Cluster", b.ClusterID},
		{"Index", strconv.FormatUint(b.Index, 10)},
		{"Time", b.Time.UTC().Format("2006-01-02 15:04:05Z") + " (" + a.ago(b.Time) + ")"},
		{"Node", b.Node},
		{"lbnode", b.Lbnode},
		{"Secrets", sealed},
		{"Size", size(b.Size)},
		{"SHA-256", b.SHA256 + " (right)"},
		{"Objects", strconv.Itoa(b.Len())},
	}
	counts := b.Counts()
	for _, k := range state.Kinds() {
		if counts[k] > 0 {
			facts = append(facts, fact{"  " + string(k), strconv.Itoa(counts[k])})
		}
	}
	printFacts(a.stdout, facts)
}

func (a *app) snapshotRestoreCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "restore FILE", Short: "Make everything what a backup says, in one change", Args: wantArgs(1, 1, "FILE"),
		Long: `Make everything that operators say what a backup says, in one change. What would change is shown first, and asked about
unless --yes is given. Objects that are not in the backup are removed at once, without drain; those that are the same are not
touched. "lbctl rollback" undoes the restore as any change. Exit code 64 if nothing would change.`,
	}
	f := cmd.Flags()
	yes := f.BoolP("yes", "y", false, "do not ask")
	var o client.RestoreOptions
	f.BoolVarP(&o.Force, "force", "f", false, "even if the backup has no token of an admin, and this cluster has one")
	f.BoolVar(&o.OtherCluster, "other-cluster", false, "even if the backup is of another cluster")
	f.StringSliceVar(&o.Keep, "keep", nil, "kinds that stay as they are: token, certificate")
	keyFile := f.String("key-file", "", "the cluster key of when the backup was made, if it is another one now")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		raw, err := readBackup(args[0], *keyFile)
		if err != nil {
			return badFile(err)
		}
		return a.restore(cmd.Context(), raw, o, *yes)
	}
	return cmd
}

// readBackup reads and checks a file before anything is sent. With a key file its secrets are opened.
func readBackup(path, keyFile string) ([]byte, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	b, err := backup.Read(bytes.NewReader(raw))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if keyFile == "" {
		return raw, nil
	}
	text, err := os.ReadFile(keyFile)
	if err != nil {
		return nil, err
	}
	keys, err := transport.ParseKeys(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", keyFile, err)
	}
	list := make([][]byte, len(keys))
	for i, k := range keys {
		list[i] = k[:]
	}
	box, err := seal.New(list...)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := b.WriteOpened(&out, box); err != nil {
		return nil, fmt.Errorf("%s with %s: %w", path, keyFile, err)
	}
	return out.Bytes(), nil
}

func (a *app) restore(ctx context.Context, raw []byte, o client.RestoreOptions, sure bool) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	quiet := a.output == formatJSON || a.output == formatYAML
	plan := o
	plan.DryRun = true
	out, err := c.Restore(ctx, raw, plan)
	if err != nil {
		return withRestoreHint(err)
	}
	if !quiet {
		b := out.Backup
		fmt.Fprintf(a.stdout, "backup of cluster %s at index %d, %s by %s\n", clean(b.ClusterID), b.Index, b.Time.UTC().Format("2006-01-02 15:04:05Z"), clean(b.Node))
		if err := printObjectChanges(a.stdout, out.Objects); err != nil {
			return err
		}
	}
	if len(out.Objects) == 0 || a.dry {
		return a.sayRestore(out, quiet)
	}
	if !quiet {
		fmt.Fprintf(a.stdout, "to restore: %s\n", effects(out.Objects))
	}
	if !sure {
		if err := a.ask(ctx, "restore the backup?"); err != nil {
			return err
		}
	}
	resp, err := a.do(ctx, client.Request{Method: http.MethodPut, Path: "/snapshot", Query: o.Query(), Body: raw, ContentType: api.ContentBackup})
	if err != nil {
		return err
	}
	if out, err = client.Decode[api.RestoreResult](resp); err != nil {
		return err
	}
	return a.sayRestore(out, quiet)
}

func withRestoreHint(err error) error {
	var e *client.Error
	if errors.As(err, &e) && e.Problem.Code == api.CodeOtherCluster {
		return &hintedError{err, "give --other-cluster to restore it all the same"}
	}
	return err
}

func effects(objects []api.ObjectChange) string {
	n := map[string]int{}
	for _, o := range objects {
		n[o.Effect]++
	}
	return fmt.Sprintf("%d created, %d updated, %d deleted", n[api.EffectCreated], n[api.EffectUpdated], n[api.EffectDeleted])
}

func (a *app) sayRestore(out api.RestoreResult, quiet bool) error {
	switch {
	case quiet:
		if err := a.emitValue(out); err != nil {
			return err
		}
	case len(out.Objects) == 0:
		fmt.Fprintln(a.stdout, "no changes: everything is as the backup says")
	case out.DryRun:
		fmt.Fprintf(a.stdout, "plan: %s; nothing was changed\n", effects(out.Objects))
	default:
		fmt.Fprintf(a.stdout, "restored: %s by change %d; lbctl rollback %d undoes it\n", effects(out.Objects), out.Index, out.Index)
	}
	if len(out.Objects) == 0 {
		return errUnchanged
	}
	return nil
}

// ask wants a yes on standard input.
func (a *app) ask(ctx context.Context, question string) error {
	fmt.Fprintf(a.stderr, "%s [y/N] ", question)
	answers := make(chan string, 1)
	go func() { // ends with the process, if nobody answers
		line, _ := bufio.NewReader(a.stdin).ReadString('\n')
		answers <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case answer := <-answers:
		if answer == "y" || answer == "yes" {
			return nil
		}
	case <-ctx.Done():
		fmt.Fprintln(a.stderr)
	}
	return errors.New("not confirmed, nothing was changed; --yes does not ask")
}

func (a *app) snapshotScheduleCmd() *cobra.Command {
	return &cobra.Command{
		Use: "schedule", Short: "Show how the scheduled backups of the node are doing", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			resp, err := a.get(cmd.Context(), "/snapshot/schedule", nil)
			if err != nil {
				return err
			}
			if a.output == formatJSON || a.output == formatYAML {
				return a.emitDocument(resp.Body)
			}
			s, err := client.Decode[api.BackupStatus](resp)
			if err != nil {
				return err
			}
			if !s.Enabled {
				fmt.Fprintf(a.stdout, "off: start lbnode with --backup-dir DIR\n")
				return nil
			}
			facts := []fact{
				{"Node", resp.Header.Get(api.HeaderNode)},
				{"Directory", s.Dir},
				{"Interval", s.Interval},
				{"Keep", strconv.Itoa(s.Keep)},
				{"Last success", a.when(s.LastSuccess)},
				{"Newest file", s.LastFile},
				{"Index", strconv.FormatUint(s.LastIndex, 10)},
			}
			if s.LastError != "" {
				facts = append(facts, fact{"FAILING", s.LastError + ", " + a.when(s.LastErrorAt)})
			}
			printFacts(a.stdout, facts)
			return nil
		},
	}
}

func (a *app) when(t *time.Time) string {
	if t == nil {
		return "never"
	}
	return a.ago(*t)
}

// emitValue prints a value as the API would.
func (a *app) emitValue(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return a.emitDocument(b)
}
