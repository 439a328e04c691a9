package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"sync"

	"github.com/hashicorp/raft"
)

// addressBook knows where the members are now. The addresses in Raft's
// configuration lag behind when nodes move, and when all of them move at once
// they are of no use; so each node says itself where it is, the others pass it
// on, and the last known state is kept on disk.
type addressBook struct {
	path string
	self string
	// configured is where Raft's configuration has a node, the last resort.
	configured func(id string) string

	mu      sync.Mutex
	entries map[string]claim
	written string            // what is on disk
	gossip  map[string]string // what gossip says of members that are alive
}

// claim is what a node said of itself. Epoch orders the claims of one node.
type claim struct {
	Addr  string `json:"addr"`
	Epoch uint64 `json:"epoch"`
	// Proto is the highest command protocol that the node understands; 0 = not said.
	Proto uint8 `json:"proto,omitempty"`
}

func openAddressBook(path, self string) (*addressBook, error) {
	b := &addressBook{path: path, self: self, entries: make(map[string]claim), gossip: make(map[string]string)}
	b.configured = func(string) string { return "" }
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return b, nil
	}
	if err != nil {
		return nil, fmt.Errorf("known peers: %w", err)
	}
	// These are hints; a file that does not read is as good as none.
	if err := json.Unmarshal(data, &b.entries); err != nil || b.entries == nil {
		b.entries = make(map[string]claim)
	}
	return b, nil
}

// learn takes claims in and reports whether any was news.
func (b *addressBook) learn(claims map[string]claim) (news bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for id, c := range claims {
		old, known := b.entries[id]
		if id == b.self && c.Epoch >= old.Epoch && c.Addr != old.Addr {
			// A copy of this directory got further than we did; outrank what it said.
			b.entries[id] = claim{Addr: old.Addr, Epoch: c.Epoch + 1, Proto: old.Proto}
		}
		if id == "" || id == b.self || c.Addr == "" || known && c.Epoch <= old.Epoch {
			continue
		}
		b.entries[id] = c
		news = true
	}
	return news
}

// announce sets this node's own claim.
func (b *addressBook) announce(c claim) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.entries[b.self] = c
}

// own returns this node's own claim.
func (b *addressBook) own() claim {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.entries[b.self]
}

// heard sets what gossip says.
func (b *addressBook) heard(addrs map[string]string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.gossip = addrs
}

// claimed returns where a node says it is.
func (b *addressBook) claimed(id string) (string, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	c, ok := b.entries[id]
	return c.Addr, ok
}

// speaks returns the highest command protocol that a node said it understands, 0
// if it did not say.
func (b *addressBook) speaks(id string) uint8 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.entries[id].Proto
}

// lookup returns the best known address: the node's own word, else gossip's,
// else the configured one, else "".
func (b *addressBook) lookup(id string) string {
	b.mu.Lock()
	c, claimed := b.entries[id]
	heard := b.gossip[id]
	b.mu.Unlock()
	switch {
	case claimed:
		return c.Addr
	case heard != "":
		return heard
	}
	return b.configured(id)
}

// claims returns a copy of all claims.
func (b *addressBook) claims() map[string]claim {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.entries)
}

// others returns the addresses of all nodes but this one, sorted.
func (b *addressBook) others() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	seen := make(map[string]bool)
	for id, c := range b.entries {
		if id != b.self {
			seen[c.Addr] = true
		}
	}
	for id, a := range b.gossip {
		if id != b.self {
			seen[a] = true
		}
	}
	return slices.Sorted(maps.Keys(seen))
}

// keep forgets nodes that are no members and writes the rest to disk.
func (b *addressBook) keep(members []raft.Server) error {
	b.mu.Lock()
	maps.DeleteFunc(b.entries, func(id string, _ claim) bool {
		return id != b.self && !slices.ContainsFunc(members, func(s raft.Server) bool { return string(s.ID) == id })
	})
	data, err := json.MarshalIndent(b.entries, "", "  ")
	same := string(data) == b.written
	b.written = string(data)
	b.mu.Unlock()
	if err != nil {
		return fmt.Errorf("encode known peers: %w", err)
	}
	if same {
		return nil
	}
	return writeFileSync(b.path, append(data, '\n'))
}

// ServerAddr implements raft.ServerAddressProvider.
func (b *addressBook) ServerAddr(id raft.ServerID) (raft.ServerAddress, error) {
	addr := b.lookup(string(id))
	if addr == "" {
		return "", fmt.Errorf("node %s has not said where it is", id)
	}
	return dialTarget(id, addr), nil
}
