package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"time"
)

// asidePrefix begins the names of directories with what Rejoin moved away.
const asidePrefix = "aside-"

// Rejoining makes room in a data directory whose node cannot go on from it, so
// that it joins again with nothing, as another member, and then takes the member
// that it was out of the cluster. It must not come back as the one it was: that
// one has voted, and acknowledged entries, which are lost.
type Rejoining struct {
	DataDir string
	Name    string // the new node id; "" = made of the old one
	OldName string // needed only if the directory does not say it any more
	Force   bool   // also if the directory is sound
	Now     time.Time
}

// Rejoined is what Rejoin did.
type Rejoined struct {
	Old, New string // node ids
	Aside    string // directory with all that was there
	Damage   error  // what was wrong; nil = nothing, and it was forced
}

// ErrSound says that there is nothing wrong with a data directory.
var ErrSound = errors.New("the data directory is sound")

// Rejoin moves everything in the data directory to a directory inside of it and
// leaves an identity that joins. Nothing is deleted. The next start needs Join.
func Rejoin(r Rejoining) (out Rejoined, err error) {
	d := &dataDir{path: r.DataDir}
	if _, err := os.Stat(r.DataDir); err != nil {
		return out, err
	}
	if err := sameOwner(d.path); err != nil {
		return out, err
	}
	if d.lock, err = lockDir(d.file(lockFile)); err != nil {
		return out, err
	}
	defer d.close()
	if out.Damage = d.check(); out.Damage == nil && !r.Force {
		return out, fmt.Errorf("%w: start lbnode on it, or force", ErrSound)
	}
	if out.Old = d.oldName(r.OldName); out.Old == "" {
		return out, fmt.Errorf("%s does not say any more which node it was: give the name that lbctl show nodes has for it", r.DataDir)
	}
	if out.New = r.Name; out.New == "" || out.New == out.Old {
		out.New = nextName(out.Old)
	}
	if !nodeIDPattern.MatchString(out.New) {
		return out, fmt.Errorf("node id %q: want 1 to 63 of a-z 0-9 . _ -, beginning with a letter or digit", out.New)
	}
	out.Aside = d.file(asidePrefix + r.Now.UTC().Format("20060102T150405.000Z"))
	if err := d.moveTo(out.Aside); err != nil {
		return out, fmt.Errorf("move the data directory's files aside: %w", err)
	}
	if err := d.checkFormat(); err != nil {
		return out, err
	}
	return out, d.save(identity{NodeID: out.New, Phase: phaseNew, Replaces: out.Old})
}

// check is what a start would find wrong.
func (d *dataDir) check() error {
	if _, err := os.Stat(d.file(identityFile)); err != nil {
		return err
	}
	if err := d.checkFormat(); err != nil {
		return err
	}
	if err := d.load(""); err != nil {
		return err
	}
	_, err := survey(d)
	return err
}

// oldName is the node id in the directory, as far as it can be read, else given.
func (d *dataDir) oldName(given string) string {
	var id identity
	b, err := os.ReadFile(d.file(identityFile))
	if err == nil && json.Unmarshal(b, &id) == nil && nodeIDPattern.MatchString(id.NodeID) {
		return id.NodeID
	}
	return given
}

var lifePattern = regexp.MustCompile(`^(.+)-r([0-9]{1,4})$`)

// nextName is n1-r2 after n1, n1-r3 after n1-r2.
func nextName(old string) string {
	base, life := old, 1
	if m := lifePattern.FindStringSubmatch(old); m != nil {
		base = m[1]
		life, _ = strconv.Atoi(m[2]) // digits
	}
	suffix := "-r" + strconv.Itoa(life+1)
	return base[:min(len(base), 63-len(suffix))] + suffix
}

// moveTo moves all but what stays. The rotated cluster keys are copied back: they
// are what the others go by now.
func (d *dataDir) moveTo(dir string) error {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	for _, e := range entries {
		if d.stays(e.Name()) {
			continue
		}
		if err := os.Rename(d.file(e.Name()), filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	if b, err := os.ReadFile(filepath.Join(dir, keysFile)); err == nil {
		if _, err := decodeRing(b); err == nil {
			if err := writeFileSync(d.file(keysFile), b); err != nil {
				return err
			}
		}
	}
	return errors.Join(syncDir(dir), syncDir(d.path))
}

// makeRoom takes the member out that a node was before its directory was damaged.
// It has its address, and could not be removed later by a cluster of two.
func (n *Node) makeRoom(ctx context.Context, req joinRequest) error {
	if _, in := n.server(req.Replaces); !in {
		return nil
	}
	n.refresh(ctx)
	if req.Replaces == req.ID || n.live(req.Replaces) {
		return fmt.Errorf("%w: member %s, which %s is to replace, still answers", errNotTaken, req.Replaces, req.ID)
	}
	if err := n.removeHere(ctx, removeRequest{ID: req.Replaces}); err != nil {
		return fmt.Errorf("%w: member %s, which %s is to replace, cannot be removed: %w", errNotTaken, req.Replaces, req.ID, err)
	}
	return nil
}

// replace forgets the member that this node was before Rejoin once this node is a
// member itself and that one is out, for which it asks again if need be.
func (n *Node) replace() {
	old := n.dir.get().Replaces
	if old == "" {
		return
	}
	select {
	case <-n.joined:
	case <-n.ctx.Done():
		return
	}
	wait := n.timing.Retry
	for logged := ""; n.ctx.Err() == nil; wait = min(2*wait, 16*n.timing.Retry) {
		ctx, cancel := context.WithTimeout(n.ctx, n.timing.ApplyTimeout)
		err := n.Remove(ctx, old, false)
		cancel()
		if err == nil || errors.Is(err, ErrUnknownNode) {
			if err := n.dir.update(func(id *identity) { id.Replaces = "" }); err != nil {
				n.fail(fmt.Errorf("%w: %w", ErrStoreFailed, err))
				return
			}
			n.log.Info("the member that this node was before is out of the cluster", "node", n.ID(), "removed", old)
			return
		}
		if err.Error() != logged {
			n.log.Warn("the member that this node was before is still in the cluster, trying again", "member", old, "error", err)
			logged = err.Error()
		}
		pause(n.ctx, wait)
	}
}
