package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/cluster/transport"
	"github.com/lbnode/lbnode/httpapi"
	"github.com/lbnode/lbnode/internal/backup"
	"github.com/lbnode/lbnode/internal/config"
	"github.com/lbnode/lbnode/internal/seal"
	"github.com/lbnode/lbnode/state"
)

var _ httpapi.Backups = (*backups)(nil)

// backups seals backups with the cluster keys and writes them on a schedule. Every node that has a directory writes
// its own files there: what one disk or one node loses, another has.
type backups struct {
	n        *Node
	dir      string // "" = none
	interval time.Duration
	keep     int // files
	success  prometheus.Gauge
	failures prometheus.Counter

	mu     sync.Mutex // guards status
	status api.BackupStatus
}

func newBackups(n *Node, cfg config.Config) *backups {
	return &backups{
		n: n, dir: cfg.BackupDir, interval: cfg.BackupInterval, keep: cfg.BackupKeep,
		success: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "lb_backup_last_success_timestamp_seconds", Help: "When the newest scheduled backup was last found or made up to date; 0 = never.",
		}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{Name: "lb_backup_failures_total", Help: "Scheduled backups that could not be written."}),
		status: api.BackupStatus{
			Enabled: cfg.BackupDir != "", Dir: cfg.BackupDir, Interval: cfg.BackupInterval.String(), Keep: cfg.BackupKeep,
		},
	}
}

// Box implements httpapi.Backups.
func (b *backups) Box() (*seal.Box, bool) {
	ring := b.n.cluster.KeyRing()
	keys := make([][]byte, len(ring))
	for i, k := range ring {
		keys[i] = k[:]
	}
	box, err := seal.New(keys...)
	if err != nil { // there is always a key, and of the right length
		panic(err)
	}
	return box, ring[0] == transport.LabKey()
}

// Status implements httpapi.Backups.
func (b *backups) Status() api.BackupStatus {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.status
}

// follow writes a backup at once, when the node has a state, and then once per interval if an operator changed
// something. It returns when ctx ends.
func (b *backups) follow(ctx context.Context) {
	if b.dir == "" || !b.n.waitForState(ctx) {
		return
	}
	tick := time.NewTicker(b.interval)
	defer tick.Stop()
	for {
		b.attempt(b.n.store.View(), time.Now())
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// waitForState blocks until this node has a state; false when ctx ended before.
func (n *Node) waitForState(ctx context.Context) bool {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for v := range n.store.Watch(ctx) {
		if v.ClusterID != "" {
			return true
		}
	}
	return false
}

// attempt is one round. What goes wrong is told in the log, the metrics and the status, and tried again next time;
// the node itself goes on.
func (b *backups) attempt(v *state.View, now time.Time) {
	made, path, err := b.save(v, now)
	b.mu.Lock()
	defer b.mu.Unlock()
	if err != nil {
		b.failures.Inc()
		b.status.LastError, b.status.LastErrorAt = err.Error(), &now
		b.n.log.Error("the scheduled backup could not be written", "dir", b.dir, "error", err)
		return
	}
	b.success.Set(float64(now.UnixMilli()) / 1000)
	b.status.LastSuccess, b.status.LastFile, b.status.LastIndex = &now, path, made.Index
	b.status.LastError, b.status.LastErrorAt = "", nil
}

// save writes a backup unless the newest one has all that operators have said, and forgets the oldest.
func (b *backups) save(v *state.View, now time.Time) (*backup.Backup, string, error) {
	dir := b.dir
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, "", err
	}
	files, err := b.files()
	if err != nil {
		return nil, "", err
	}
	box, open := b.Box()
	if len(files) > 0 {
		newest := filepath.Join(dir, files[len(files)-1])
		last, err := backup.ReadFile(newest)
		switch {
		case err != nil:
			b.n.log.Error("the newest backup is damaged, another one is written", "error", err)
		case last.ClusterID == v.ClusterID && last.ConfigGen == v.ConfigGen && last.SealedWith == box.KeyID():
			return last, newest, nil
		}
	}
	name := fmt.Sprintf("lbnode-%s-%s-%d.lbbackup", b.n.ID(), now.UTC().Format("20060102T150405.000Z"), v.Index)
	path := filepath.Join(dir, name)
	h := backup.Header{Lbnode: b.n.opts.Version, Node: b.n.ID(), Time: now, OpenKey: open}
	made, err := backup.WriteFile(path, backup.KeepFile, func(w io.Writer) error { return backup.Write(w, h, v, box) })
	if err != nil {
		return nil, "", err
	}
	b.n.log.Info("scheduled backup written", "file", path, "index", made.Index, "objects", made.Len(), "bytes", made.Size)
	return made, path, b.prune(append(files, name))
}

// files lists what this node has written, the oldest first, and removes what it left half-written in a crash.
func (b *backups) files() ([]string, error) {
	entries, err := os.ReadDir(b.dir)
	if err != nil {
		return nil, err
	}
	own := `lbnode-` + regexp.QuoteMeta(b.n.ID()) + `-\d{8}T\d{6}\.\d{3}Z-\d+\.lbbackup`
	whole, half := regexp.MustCompile(`^`+own+`$`), regexp.MustCompile(`^\.`+own+`\.\d+\.tmp$`)
	var out []string
	for _, e := range entries {
		switch {
		case whole.MatchString(e.Name()):
			out = append(out, e.Name())
		case half.MatchString(e.Name()):
			if err := os.Remove(filepath.Join(b.dir, e.Name())); err != nil {
				return nil, err
			}
		}
	}
	slices.Sort(out) // by time, as the names are
	return out, nil
}

// prune removes the oldest files of this node beyond those to keep. A failure is one of the backup: the disk would
// fill up unseen.
func (b *backups) prune(files []string) error {
	slices.Sort(files)
	var errs []error
	for _, name := range files[:max(len(files)-b.keep, 0)] {
		errs = append(errs, os.Remove(filepath.Join(b.dir, name)))
	}
	return errors.Join(errs...)
}
