package stats

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"slices"
	"sync"
	"time"
)

// Scope is what kind of thing a handle counts for.
type Scope string

// The scopes.
const (
	Total   Scope = "total"   // the whole node; its id is ""
	Route   Scope = "route"   // one route, by route id
	Backend Scope = "backend" // one backend, by backend id
)

// Key names a handle.
type Key struct {
	Scope Scope
	ID    string
}

// maxShards bounds Config.Shards: beyond it memory is spent for nothing.
const maxShards = 64

// Config says how a Registry counts.
type Config struct {
	// Now is the clock; its times must carry a monotonic reading, as those of time.Now do.
	Now func() time.Time
	// Shards is how many copies of the hot counters each handle has, a power of two from 1 to 64: about
	// one for each core that records. A copy takes 256 bytes.
	Shards int
}

// DefaultConfig counts by the system's clock, with a copy for each core but at most eight.
func DefaultConfig() Config {
	n := 1
	for n < runtime.GOMAXPROCS(0) && n < 8 {
		n *= 2
	}
	return Config{Now: time.Now, Shards: n}
}

// Validate names the first field that is out of bounds.
func (c Config) Validate() error {
	if c.Now == nil {
		return errors.New("stats: config: Now is nil, want a clock")
	}
	if c.Shards < 1 || c.Shards > maxShards || c.Shards&(c.Shards-1) != 0 {
		return fmt.Errorf("stats: config: Shards is %d, want a power of two from 1 to %d", c.Shards, maxShards)
	}
	return nil
}

// Registry owns the handles of a node. Its methods may be called concurrently. They take a lock and are
// meant for compiling a route table and for reading, not for each request.
type Registry struct {
	now    func() time.Time
	start  time.Time
	shards int
	total  *Handle

	mu      sync.Mutex // guards handles
	handles map[Key]*Handle
}

// New makes an empty registry; rates count from now on.
func New(cfg Config) (*Registry, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	r := &Registry{now: cfg.Now, start: cfg.Now(), shards: cfg.Shards, handles: map[Key]*Handle{}}
	// Every request of every core writes to this one, so its histogram is copied as well.
	r.total = newHandle(r, cfg.Shards)
	return r, nil
}

// Total is the handle of the whole node.
func (r *Registry) Total() *Handle { return r.total }

// Route is the handle of a route; it is made when it is asked for first.
func (r *Registry) Route(id string) *Handle { return r.handle(Key{Route, id}) }

// Backend is the handle of a backend; it is made when it is asked for first.
func (r *Registry) Backend(id string) *Handle { return r.handle(Key{Backend, id}) }

func (r *Registry) handle(k Key) *Handle {
	r.mu.Lock()
	defer r.mu.Unlock()
	h := r.handles[k]
	if h == nil {
		h = newHandle(r, 1)
		r.handles[k] = h
	}
	return h
}

// Prune forgets each handle that keep rejects, unless it has a request or a connection open, and gives
// the number forgotten. A holder of a forgotten handle may go on using it; it is just no longer reported.
// keep must not call the registry.
func (r *Registry) Prune(keep func(Key) bool) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for k, h := range r.handles {
		if !keep(k) && h.Active() == 0 && h.Conns() == 0 {
			delete(r.handles, k)
			n++
		}
	}
	return n
}

// entry is one handle with its key.
type entry struct {
	key Key
	h   *Handle
}

func (r *Registry) sorted() []entry {
	r.mu.Lock()
	list := make([]entry, 0, len(r.handles)+1)
	for k, h := range r.handles {
		list = append(list, entry{k, h})
	}
	r.mu.Unlock()
	slices.SortFunc(list, func(a, b entry) int {
		return cmp.Or(cmp.Compare(b.key.Scope, a.key.Scope), cmp.Compare(a.key.ID, b.key.ID))
	})
	return slices.Insert(list, 0, entry{Key{Scope: Total}, r.total})
}

// All yields a copy of every series: the total, then routes, then backends, each by rising id. Series are
// copied one by one as they are yielded, and no lock is held meanwhile.
func (r *Registry) All() iter.Seq2[Key, Series] {
	return func(yield func(Key, Series) bool) {
		now := r.now()
		for _, e := range r.sorted() {
			if !yield(e.key, e.h.snapshotAt(now)) {
				return
			}
		}
	}
}

// Snapshot copies everything this node has counted. node is put into Snapshot.Nodes.
func (r *Registry) Snapshot(node string) Snapshot {
	s := Snapshot{Nodes: []string{node}, Routes: map[string]Series{}, Backends: map[string]Series{}}
	for k, v := range r.All() {
		switch k.Scope {
		case Total:
			s.Total = v
		case Route:
			s.Routes[k.ID] = v
		case Backend:
			s.Backends[k.ID] = v
		}
	}
	return s
}
