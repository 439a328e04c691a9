package node

import (
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/lbnode/lbnode/cluster/gossip"
)

var _ gossip.State = (*promises)(nil)

// promises is which settings each node has promised to keep, by modify_index, spread by gossip. Whoever leads
// can so tell of a node that it has never talked to when that node is fenced.
type promises struct {
	mu        sync.Mutex
	by        map[string]kept
	broadcast func([]byte)
}

type kept struct {
	index uint64
	at    time.Time // when this node heard of it
}

func newPromises() *promises { return &promises{by: map[string]kept{}, broadcast: func([]byte) {}} }

// note takes in a promise of this node.
func (p *promises) note(node string, index uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.by[node] = kept{index, time.Now()}
	p.tell(map[string]uint64{node: index})
}

func (p *promises) of(node string) kept {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.by[node]
}

func (p *promises) tell(news map[string]uint64) {
	if b, err := json.Marshal(news); err == nil { // a map of numbers always encodes
		p.broadcast(b)
	}
}

// MarshalBinary implements gossip.State.
func (p *promises) MarshalBinary() ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make(map[string]uint64, len(p.by))
	for node, k := range p.by {
		all[node] = k.index
	}
	return json.Marshal(all)
}

// Merge implements gossip.State: of two promises of a node the one of the newer settings holds.
func (p *promises) Merge(b []byte) error {
	var in map[string]uint64
	if err := json.Unmarshal(b, &in); err != nil {
		return fmt.Errorf("decode promises: %w", err)
	}
	p.hear(in)
	return nil
}

// hear takes in what was not known, and tells it on.
func (p *promises) hear(in map[string]uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	news := map[string]uint64{}
	for node, index := range in {
		if index > p.by[node].index {
			p.by[node] = kept{index, time.Now()}
			news[node] = index
		}
	}
	if len(news) > 0 {
		p.tell(news)
	}
}
