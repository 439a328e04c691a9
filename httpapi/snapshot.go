package httpapi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/internal/backup"
	"github.com/lbnode/lbnode/internal/seal"
	"github.com/lbnode/lbnode/state"
)

const (
	paramOtherCluster = "other_cluster"
	paramKeep         = "keep"
	// maxRestore bounds the packed objects of a restore, in bytes, so that they fit into a log entry as text.
	maxRestore = 3<<20 - 64<<10
)

// Backups is what backups need of the node. The methods do not block and may be called concurrently.
type Backups interface {
	// Box has the cluster keys of now. open says that the first one is the well-known key of labs.
	Box() (box *seal.Box, open bool)
	// Status is how the scheduled backups of this node are doing.
	Status() api.BackupStatus
}

func snapshotEndpoints() []endpoint {
	return []endpoint{
		{method: http.MethodGet, path: "/snapshot", params: []string{paramMinIndex}, handle: getSnapshot},
		{method: http.MethodPut, path: "/snapshot", params: []string{paramDryRun, paramForce, paramOtherCluster, paramKeep}, handle: putSnapshot},
		{method: http.MethodGet, path: "/snapshot/schedule", handle: getSchedule},
	}
}

// getSnapshot does GET /snapshot: a backup of what this node has.
func getSnapshot(c *call) (answer, error) {
	v := c.s.cfg.Store.View()
	if v.ClusterID == "" {
		return answer{}, &failure{status: http.StatusServiceUnavailable, code: api.CodeNotReady, detail: "this node has not joined a cluster yet: there is nothing to save"}
	}
	box, open := c.s.cfg.Backups.Box()
	var buf bytes.Buffer
	h := backup.Header{Lbnode: c.s.cfg.Version, Node: c.s.cfg.NodeID, Time: c.now(), OpenKey: open}
	if err := backup.Write(&buf, h, v, box); err != nil {
		return answer{}, err
	}
	name := fmt.Sprintf("lbnode-%s-%d.lbbackup", c.now().Format("20060102T150405Z"), v.Index)
	return answer{body: buf.Bytes(), view: v, contentType: api.ContentBackup, header: http.Header{
		"Content-Disposition": {`attachment; filename="` + name + `"`},
	}}, nil
}

// getSchedule does GET /snapshot/schedule.
func getSchedule(c *call) (answer, error) { return answer{body: c.s.cfg.Backups.Status()}, nil }

// putSnapshot does PUT /snapshot: one change that makes everything what the backup says.
func putSnapshot(c *call) (answer, error) {
	dry, err := c.params.flag(paramDryRun)
	if err != nil {
		return answer{}, err
	}
	r, b, err := c.restoration()
	if err != nil {
		return answer{}, err
	}
	v := c.s.cfg.Store.View()
	out := api.RestoreResult{DryRun: dry, Index: v.Index, Objects: []api.ObjectChange{}, Backup: api.BackupInfo{
		ClusterID: b.ClusterID, Index: b.Index, Time: b.Time, Node: b.Node, Version: b.Lbnode, Objects: b.Len(), Size: b.Size, SHA256: b.SHA256,
	}}
	cmd := state.Command{
		Type: state.TypeRestore, Actor: c.actor(), At: c.now(), Restore: r,
		Note: fmt.Sprintf("restore of the backup of %s from index %d", b.Time.UTC().Format(time.RFC3339), b.Index),
	}
	if res, ok := c.done(v, cmd.Note); ok && !dry { // this very request has restored it before
		if ch, ok := v.Change(res.Index); ok {
			out.Applied, out.Index, out.Objects = true, res.Index, objectChanges(ch.Objects)
		}
		return answer{body: out}, nil
	}
	// What would happen is what Apply says on a copy; nothing of it is kept.
	next, res := state.Apply(v, v.Index+1, v.Term, cmd)
	if res.Refusal != nil {
		return answer{}, res.Refusal
	}
	ch, ok := next.Change(v.Index + 1)
	if !ok {
		return answer{body: out, view: v}, nil
	}
	out.Objects = objectChanges(ch.Objects)
	if dry {
		return answer{body: out, view: v}, nil
	}
	ctx, cancel := context.WithTimeout(c.r.Context(), c.s.cfg.WriteTimeout)
	defer cancel()
	cmd.RequestID = c.requestID()
	if res, err = c.s.cfg.Store.Do(ctx, cmd); err == nil && res.Refusal != nil {
		err = res.Refusal
	}
	if err != nil {
		return answer{}, err
	}
	out.Applied, out.Index = true, res.Index
	return answer{body: out}, nil
}

// restoration reads the backup in the body and makes what is to be restored of it.
func (c *call) restoration() (*state.Restoration, *backup.Backup, error) {
	force, err := c.params.flag(paramForce)
	if err != nil {
		return nil, nil, err
	}
	other, err := c.params.flag(paramOtherCluster)
	if err != nil {
		return nil, nil, err
	}
	keep, err := c.keep()
	if err != nil {
		return nil, nil, err
	}
	b, err := c.readBackup()
	if err != nil {
		return nil, nil, err
	}
	if v := c.s.cfg.Store.View(); !b.Of(v) && !other {
		return nil, nil, &failure{
			status: http.StatusConflict, code: api.CodeOtherCluster,
			detail: fmt.Sprintf("the backup is of cluster %s, this is %s; with ?other_cluster=true it is restored all the same", b.ClusterID, v.ClusterID),
		}
	}
	box, _ := c.s.cfg.Backups.Box()
	specs, err := b.Specs(box)
	if err != nil {
		return nil, nil, badBackup(err)
	}
	r, err := state.NewRestoration(slices.Values(specs))
	if err != nil {
		return nil, nil, err
	}
	if len(r.Data) > maxRestore {
		return nil, nil, &failure{status: http.StatusRequestEntityTooLarge, code: api.CodeTooLarge, detail: fmt.Sprintf(
			"the backup has %d bytes when compressed, and one change holds %d: restore it in parts with lbctl apply", len(r.Data), maxRestore)}
	}
	r.Force, r.Keep = force, keep
	return r, b, nil
}

// keep reads ?keep=token,certificate.
func (c *call) keep() ([]state.Kind, error) {
	var out []state.Kind
	for k := range strings.SplitSeq(c.params.get(paramKeep), ",") {
		switch k := state.Kind(k); k {
		case "":
		case state.KindToken, state.KindCertificate:
			out = append(out, k)
		default:
			return nil, badParam(paramKeep, "must be token, certificate, or both with a comma, got %q", k)
		}
	}
	return out, nil
}

func (c *call) readBackup() (*backup.Backup, error) {
	raw, err := io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, api.MaxBackup))
	if err != nil {
		var limit *http.MaxBytesError
		if errors.As(err, &limit) {
			return nil, &failure{status: http.StatusRequestEntityTooLarge, code: api.CodeTooLarge, detail: fmt.Sprintf("a backup has at most %d bytes", api.MaxBackup)}
		}
		return nil, invalid("the body could not be read: " + err.Error())
	}
	b, err := backup.Read(bytes.NewReader(raw))
	if err != nil {
		return nil, badBackup(err)
	}
	return b, nil
}

func badBackup(err error) error {
	switch {
	case errors.Is(err, backup.ErrKey):
		return invalid("the backup's secrets are " + err.Error() + "; lbctl snapshot restore --key-file takes the key of then")
	case errors.Is(err, backup.ErrDamaged), errors.Is(err, backup.ErrNewer):
		return invalid(err.Error())
	}
	return err
}
