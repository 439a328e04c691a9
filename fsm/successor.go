package fsm

import "github.com/hashicorp/raft"

// Successor is an FSM for a recovery from a lost quorum: its snapshots are of the cluster that begins with what
// the old one's log holds.
type Successor struct {
	*FSM
	ClusterID string
}

// Snapshot implements [raft.FSM]. The view has the new cluster id from then on.
func (s Successor) Snapshot() (raft.FSMSnapshot, error) {
	if v := s.View(); v.ClusterID != s.ClusterID {
		s.Seed(v.Renamed(s.ClusterID))
	}
	return s.FSM.Snapshot()
}
