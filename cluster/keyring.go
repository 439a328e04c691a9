package cluster

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/lbnode/lbnode/cluster/transport"
)

// keysFile holds the cluster's keys once they were rotated by command. It has the
// form of a key file, so that a copy of it lets a new node in.
const keysFile = "cluster-keys"

// generationMark is how the file says which rotation it is of. To a reader of key
// files it is a comment.
const generationMark = "# generation "

// keyRing is the cluster's keys as one node has them; the first one is in use.
// Each change makes a new generation. The highest one wins wherever two meet, so
// that a node which was down for a while gets the keys that it missed.
type keyRing struct {
	generation uint64 // 0: from the key file, never rotated
	keys       []transport.Key
}

// ids names the keys, in order, without revealing them.
func (r keyRing) ids() []string {
	ids := make([]string, len(r.keys))
	for i, k := range r.keys {
		ids[i] = k.Fingerprint()
	}
	return ids
}

// ringName is what a node says of its ring to the others.
type ringName struct {
	Generation uint64   `json:"generation,omitempty"`
	IDs        []string `json:"ids,omitempty"`
}

func (r keyRing) name() ringName { return ringName{r.generation, r.ids()} }

// compare orders rings; rings of one generation that differ, as two leaders may
// make them, have an order too, so that all nodes end up with the same.
func (a ringName) compare(b ringName) int {
	return cmp.Or(cmp.Compare(a.Generation, b.Generation), slices.Compare(a.IDs, b.IDs))
}

// outdates reports whether a node with b has to take over a. What key files say
// before the first rotation is not spread.
func (a ringName) outdates(b ringName) bool { return a.Generation > 0 && a.compare(b) > 0 }

func (r keyRing) find(id string) int {
	return slices.IndexFunc(r.keys, func(k transport.Key) bool { return k.Fingerprint() == id })
}

// with accepts one more key.
func (r keyRing) with(k transport.Key) (keyRing, error) {
	if len(r.keys) == transport.MaxKeys {
		return r, fmt.Errorf("%w: there are %d keys already, and no more are possible: remove one that is not in use", ErrNotSafe, len(r.keys))
	}
	return keyRing{r.generation + 1, append(slices.Clone(r.keys), k)}, nil
}

// using puts the key with that id first.
func (r keyRing) using(id string) (keyRing, error) {
	i := r.find(id)
	if i < 0 {
		return r, fmt.Errorf("%w: %s; there is %s", ErrUnknownKey, id, strings.Join(r.ids(), ", "))
	}
	keys := slices.Delete(slices.Clone(r.keys), i, i+1)
	return keyRing{r.generation + 1, slices.Insert(keys, 0, r.keys[i])}, nil
}

// without drops the key with that id.
func (r keyRing) without(id string) (keyRing, error) {
	switch i := r.find(id); {
	case i < 0:
		return r, fmt.Errorf("%w: %s; there is %s", ErrUnknownKey, id, strings.Join(r.ids(), ", "))
	case i == 0:
		return r, fmt.Errorf("%w: key %s is in use: install another one and use that first", ErrNotSafe, id)
	default:
		return keyRing{r.generation + 1, slices.Delete(slices.Clone(r.keys), i, i+1)}, nil
	}
}

// encode writes the file.
func (r keyRing) encode() []byte {
	var b strings.Builder
	b.WriteString("# Keys of the cluster, the one in use first. lbnode writes this file when keys are rotated; it stands\n" +
		"# instead of --cluster-key-file. A copy of it is a key file for new nodes.\n")
	fmt.Fprintf(&b, "%s%d\n", generationMark, r.generation)
	for _, k := range r.keys {
		fmt.Fprintln(&b, k)
	}
	return []byte(b.String())
}

// decodeRing reads the file.
func decodeRing(b []byte) (r keyRing, err error) {
	if r.keys, err = transport.ParseKeys(b); err != nil {
		return r, err
	}
	for line := range strings.Lines(string(b)) {
		if n, ok := strings.CutPrefix(strings.TrimSpace(line), generationMark); ok {
			if _, err := fmt.Sscan(n, &r.generation); err != nil {
				return r, fmt.Errorf("key file: the generation is %q", n)
			}
		}
	}
	if r.generation == 0 {
		return r, errors.New("key file: the generation is missing")
	}
	return r, nil
}

// heldKeys is the node's ring and where it is kept.
type heldKeys struct {
	mu   sync.Mutex // held over a change
	ring atomic.Pointer[keyRing]
}

func (h *heldKeys) get() keyRing { return *h.ring.Load() }

// loadKeys takes the keys of the data directory instead of the configured ones,
// if there are any.
func (n *Node) loadKeys() error {
	given := &keyRing{keys: slices.Clone(n.cfg.Keys)}
	if len(given.keys) == 0 {
		given.keys = []transport.Key{transport.LabKey()}
	}
	n.keys.ring.Store(given)
	path := n.dir.file(keysFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cluster keys: %w", err)
	}
	ring, err := decodeRing(b)
	if err != nil {
		return fmt.Errorf("%w: %s: %w: put a copy of another member's there, or remove it to go by --cluster-key-file", ErrDamagedStore, path, err)
	}
	n.keys.ring.Store(&ring)
	n.cfg.Keys = ring.keys
	n.log.Info("cluster keys were rotated, the data directory's stand instead of the key file's", "file", path, "generation", ring.generation, "in_use", ring.ids()[0], "key_file", given.ids()[0])
	return nil
}

// setRing makes ring the node's, on disk and then in force, unless the node has
// that or a newer one. It returns what the node has then.
func (n *Node) setRing(ring keyRing) (keyRing, error) {
	n.keys.mu.Lock()
	defer n.keys.mu.Unlock()
	has := n.keys.get()
	if !ring.name().outdates(has.name()) {
		return has, nil
	}
	path := n.dir.file(keysFile)
	if err := writeFileSync(path, ring.encode()); err != nil {
		return has, fmt.Errorf("keep the cluster keys: %w", err)
	}
	if err := n.SetKeys(ring.keys); err != nil {
		return has, err
	}
	n.keys.ring.Store(&ring)
	n.changes.tell()
	n.log.Info("cluster keys changed", "generation", ring.generation, "in_use", ring.ids()[0], "accepted", strings.Join(ring.ids(), ","), "file", path)
	return ring, nil
}

// KeyRing returns the keys that this node accepts, the one in use first. There is
// always one, if only the open key of labs.
func (n *Node) KeyRing() []transport.Key { return slices.Clone(n.keys.get().keys) }
