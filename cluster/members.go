package cluster

import (
	"cmp"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"github.com/lbnode/lbnode/cluster/gossip"
)

// Member is one member of the cluster as this node sees it.
type Member struct {
	ID           string
	Addr         string // cluster address
	API          string // "" until it was heard of
	Proxy        string
	Version      string
	Voter        bool
	Leader       bool
	Self         bool
	Draining     bool
	Status       string        // alive, suspect, dead, left
	LastContact  time.Duration // since it last answered this node; < 0: never
	AppliedIndex uint64        // what its state machine had consumed then
	StoreFull    bool          // its disk is full: it takes no operators' changes as the leader
}

// Members lists Raft's configuration, joined with what gossip and the nodes'
// own answers say, sorted by id. It does not wait for anybody.
func (n *Node) Members() []Member {
	heard := make(map[string]gossip.Member)
	if g := n.gossip.Load(); g != nil {
		for _, m := range g.Members() {
			heard[m.ID] = m
		}
	}
	leader, _ := n.leader()
	var all []Member
	for _, s := range n.servers() {
		id := string(s.ID)
		m := Member{ID: id, Addr: n.book.lookup(id), Voter: s.Suffrage == raft.Voter, Leader: id == leader, Self: id == n.ID()}
		g, gossiped := heard[id]
		meta := g.Meta
		if m.Self {
			m.Status, m.AppliedIndex, m.StoreFull, meta = string(gossip.Alive), n.applied(), n.space.full(), n.states.currentMeta()
		} else {
			p := n.peers.get(id)
			if !gossiped || p.up && g.Status != gossip.Alive {
				meta = p.Meta
			}
			m.Status, m.LastContact, m.AppliedIndex, m.StoreFull = memberStatus(g.Status, n.live(id), !p.at.IsZero()), -1, p.Applied, p.Full
			if !p.at.IsZero() {
				m.LastContact = time.Since(p.at)
			}
		}
		m.API, m.Proxy, m.Version, m.Draining = meta.API, meta.Proxy, meta.Version, meta.Draining
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b Member) int { return cmp.Compare(a.ID, b.ID) })
	return all
}

// memberStatus weighs gossip's view against whether the node answers us: an
// answer proves life, and only both together prove death.
func memberStatus(heard gossip.Status, live, met bool) string {
	switch {
	case live:
		return string(gossip.Alive)
	case heard == gossip.Alive && met:
		return string(gossip.Suspect)
	case heard == "":
		return string(gossip.Dead)
	}
	return string(heard)
}

// Status is this node's view of itself and of the cluster.
type Status struct {
	ClusterID, NodeID    string
	LeaderID, LeaderAddr string // "" without a leader
	State                string // joining, leader, follower, candidate, stopped

	Term, CommitIndex, AppliedIndex, LastIndex uint64

	Voters, LiveVoters int
	FailureTolerance   int  // how many more voters may die
	Healthy            bool // there is a leader and every voter answers

	LastContact time.Duration // since the leader was heard, 0 on the leader; < 0: never
}

// Status does not wait for anybody.
func (n *Node) Status() Status {
	id := n.dir.get()
	s := Status{ClusterID: id.ClusterID, NodeID: id.NodeID, State: "joining", LastContact: -1}
	r := n.raft.Load()
	if r == nil {
		return s
	}
	s.LeaderID, s.LeaderAddr = n.leader()
	s.Term, s.CommitIndex, s.LastIndex, s.AppliedIndex = r.CurrentTerm(), r.CommitIndex(), r.LastIndex(), n.applied()
	for _, srv := range n.servers() {
		if srv.Suffrage != raft.Voter {
			continue
		}
		s.Voters++
		if n.live(string(srv.ID)) {
			s.LiveVoters++
		}
	}
	s.FailureTolerance = max(0, s.LiveVoters-(s.Voters/2+1))
	s.Healthy = s.LeaderID != "" && s.LiveVoters == s.Voters && s.Voters > 0
	switch state := r.State(); {
	case n.dead() || state == raft.Shutdown:
		s.State = "stopped"
	case state == raft.Leader:
		s.State, s.LastContact = "leader", 0
	case !n.isIn.Load():
	case state == raft.Candidate:
		s.State = "candidate"
	default:
		s.State = "follower"
	}
	if at := r.LastContact(); s.LastContact < 0 && !at.IsZero() {
		s.LastContact = time.Since(at)
	}
	return s
}

// Voters lists the ids of the members that vote, sorted.
func (n *Node) Voters() []string {
	return n.ids(func(s raft.Server) bool { return s.Suffrage == raft.Voter })
}

// Live lists the ids of the members, voters or not, that answer this node, this
// one included; sorted.
func (n *Node) Live() []string {
	return n.ids(func(s raft.Server) bool { return n.live(string(s.ID)) })
}

func (n *Node) ids(keep func(raft.Server) bool) []string {
	var ids []string
	for _, s := range n.servers() {
		if keep(s) {
			ids = append(ids, string(s.ID))
		}
	}
	slices.Sort(ids)
	return ids
}
