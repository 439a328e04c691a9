package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lbnode/lbnode/api"
)

// smallDisk is a file system of 48 MiB.
type smallDisk struct {
	t   *testing.T
	dir string
}

func newSmallDisk(t *testing.T) *smallDisk {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount a small file system")
	}
	d := &smallDisk{t, t.TempDir()}
	if err := syscall.Mount("tmpfs", d.dir, "tmpfs", 0, "size=48m"); err != nil {
		t.Skipf("cannot mount a tmpfs here: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(d.dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", d.dir, err)
		}
	})
	return d
}

// fill writes until nothing more goes in.
func (d *smallDisk) fill() {
	d.t.Helper()
	f, err := os.OpenFile(filepath.Join(d.dir, "filler"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 64<<10)
	for len(block) > 0 {
		if _, err = f.Write(block); err != nil {
			block = block[:len(block)/2]
		}
	}
	if !errors.Is(err, syscall.ENOSPC) {
		d.t.Fatal(err)
	}
}

func (d *smallDisk) clear() {
	d.t.Helper()
	if err := os.Remove(filepath.Join(d.dir, "filler")); err != nil {
		d.t.Fatal(err)
	}
}

// A full disk costs no request. The leader's is somebody else's turn to lead; when all are full, changes are
// refused with the way out, and when there is room again, all is as before.
func TestDisk_full(t *testing.T) {
	t.Parallel()
	disks := map[*node]*smallDisk{}
	c := &cluster{t: t}
	for i := range 3 {
		d := newSmallDisk(t)
		n := newNode(t, fmt.Sprintf("n%d", i+1), "--disk-reserve", "16MiB")
		n.dir = filepath.Join(d.dir, n.name)
		if i > 0 {
			n.flags = append(n.flags, "--join", c.nodes[0].cluster)
		}
		c.nodes, disks[n] = append(c.nodes, n), d
		n.start()
	}
	c.formed(c.nodes...)
	c.serve(2)
	traffic := startLoad(t, "/", c.nodes...)
	traffic.more(t, 20, c.nodes...)

	full := func(n *node) bool {
		t.Helper()
		members, err := c.nodes[0].members()
		return err == nil && members[n.name].StoreFull
	}
	leader := c.leader()
	begun := time.Now()
	disks[leader].fill()
	put(t, leader, "one-full", formTime)
	wrote := time.Since(begun)
	eventually(t, formTime, "another node leads", func() error {
		if now := c.leader(); now == leader {
			return fmt.Errorf("%s still leads", now.name)
		}
		return nil
	})
	put(t, leader, "another-leads", formTime)
	t.Logf("disk of the leader full: a write took %s, another node led after %s", wrote.Round(time.Millisecond), time.Since(begun).Round(time.Millisecond))
	if !full(leader) {
		t.Errorf("GET /nodes does not say that the disk of %s is full", leader.name)
	}

	for n, d := range disks {
		if n != leader {
			d.fill()
		}
	}
	eventually(t, formTime, "writes are refused", func() error {
		a, err := leader.call(http.MethodPut, "/frontends/until-refused", `{}`)
		if err == nil && a.status != http.StatusServiceUnavailable {
			err = fmt.Errorf("PUT = %s", a)
		}
		if err == nil && a.problem(t).Code != api.CodeStoreFull {
			err = fmt.Errorf("PUT = %s", a)
		}
		return err
	})
	p := leader.must(503, http.MethodPut, "/frontends/refused", `{}`).problem(t)
	named := false // by who led then: with all disks full leadership may move on meanwhile
	for n, d := range disks {
		named = named || strings.Contains(p.Detail, "node "+n.name+" leads") && strings.Contains(p.Detail, "free space under "+d.dir)
	}
	if p.Code != api.CodeStoreFull || p.Outcome != api.OutcomeNotApplied || !named {
		t.Errorf("refusal = %+v, want the leader's directory and the way out", p)
	}
	traffic.more(t, 20, c.nodes...)
	for _, n := range c.nodes {
		n.must(200, http.MethodGet, "/frontends/another-leads", nil)
		n.must(404, http.MethodGet, "/frontends/refused", nil)
		disks[n].fill() // what the reserve held
	}
	traffic.more(t, 20, c.nodes...)

	for _, d := range disks {
		d.clear()
	}
	begun = time.Now()
	put(t, leader, "again", formTime)
	t.Logf("room again: a write went through after %s", time.Since(begun).Round(time.Millisecond))
	for _, n := range c.nodes {
		eventually(t, formTime, n.name+" is as before", func() error {
			if full(n) {
				return fmt.Errorf("GET /nodes says that its disk is full")
			}
			return nil
		})
	}
	c.formed(c.nodes...)
	traffic.stop()
	traffic.wantAtMost(t, 0, time.Time{}, c.nodes...)
	c.same()
}
