package cluster

import (
	"sync/atomic"

	"github.com/hashicorp/raft"
)

// fsm stands between Raft and the state machine. Raft's own applied index runs
// ahead of the state machine, which does not do for "every node has applied it";
// this one counts what Apply has returned from. It also hears of every committed
// configuration.
type fsm struct {
	raft.FSM
	applied atomic.Uint64
	moved   bell                                        // rings after applied has moved
	onConf  func(index uint64, conf raft.Configuration) // must not block
}

// Apply implements raft.FSM.
func (f *fsm) Apply(l *raft.Log) any {
	resp := f.FSM.Apply(l)
	f.applied.Store(l.Index)
	f.moved.ring()
	return resp
}

// StoreConfiguration implements raft.ConfigurationStore.
func (f *fsm) StoreConfiguration(index uint64, conf raft.Configuration) {
	if cs, ok := f.FSM.(raft.ConfigurationStore); ok {
		cs.StoreConfiguration(index, conf)
	}
	f.applied.Store(index)
	f.moved.ring()
	f.onConf(index, conf)
}

// batchFSM is fsm for a state machine that takes many entries at once.
type batchFSM struct {
	*fsm
	batch raft.BatchingFSM
}

// ApplyBatch implements raft.BatchingFSM.
func (f *batchFSM) ApplyBatch(logs []*raft.Log) []any {
	resp := f.batch.ApplyBatch(logs)
	for _, l := range logs {
		if l.Type == raft.LogConfiguration {
			f.onConf(l.Index, raft.DecodeConfiguration(l.Data))
		}
	}
	f.applied.Store(logs[len(logs)-1].Index)
	f.moved.ring()
	return resp
}

// wrap returns what Raft gets to see.
func (f *fsm) wrap() raft.FSM {
	if b, ok := f.FSM.(raft.BatchingFSM); ok {
		return &batchFSM{fsm: f, batch: b}
	}
	return f
}
