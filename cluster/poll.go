package cluster

import (
	"context"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/lbnode/lbnode/cluster/gossip"
	"github.com/lbnode/lbnode/cluster/transport"
)

// statusRequest introduces the asking node, member or not.
type statusRequest struct {
	Phase  phase            `json:"phase"`
	Expect int              `json:"expect,omitempty"`
	Claim  claim            `json:"claim"`
	Known  map[string]claim `json:"known,omitempty"`
}

// nodeStatus is what a node says about itself.
type nodeStatus struct {
	NodeID    string `json:"node_id"`
	ClusterID string `json:"cluster_id,omitempty"`
	Phase     phase  `json:"phase"`
	Expect    int    `json:"expect,omitempty"`
	Claim     claim  `json:"claim"`
	NonVoter  bool   `json:"non_voter,omitempty"`

	LeaderID   string `json:"leader_id,omitempty"`
	LeaderAddr string `json:"leader_addr,omitempty"`
	State      string `json:"state,omitempty"`
	Term       uint64 `json:"term,omitempty"`
	Full       bool   `json:"full,omitempty"` // its disk is
	Commit     uint64 `json:"commit,omitempty"`
	Applied    uint64 `json:"applied,omitempty"` // consumed by the state machine
	Last       uint64 `json:"last,omitempty"`

	// Leads is set by an established leader whose latest configuration, of index
	// ConfIndex, is committed. It knows whether the asking node is a Member.
	Leads     bool   `json:"leads,omitempty"`
	Member    bool   `json:"member,omitempty"`
	ConfIndex uint64 `json:"conf_index,omitempty"`

	// Heard is where other nodes without a cluster have called from, so that all of
	// them find each other through one known address.
	Heard []string `json:"heard,omitempty"`

	Keys  ringName         `json:"keys"`
	Meta  gossip.Meta      `json:"meta"`
	Known map[string]claim `json:"known,omitempty"`
}

// serveStatus never waits for anything.
func (n *Node) serveStatus(_ context.Context, p transport.Peer, req statusRequest) (nodeStatus, error) {
	id := n.dir.get()
	same := id.ClusterID != "" && p.ClusterID == id.ClusterID
	if same {
		n.learn(p.NodeID, req.Claim, req.Known)
	}
	if p.ClusterID == "" && req.Phase == phaseNew && req.Expect > 1 && req.Claim.Addr != "" {
		n.promises.hear(p.NodeID, req.Claim.Addr)
	}
	s := n.ownStatus(id)
	_, s.Member = n.server(p.NodeID)
	if same {
		s.Known = n.book.claims()
	}
	if id.Phase == phaseNew && n.cfg.BootstrapExpect > 1 {
		s.Heard = n.promises.heard()
	}
	return s, nil
}

func (n *Node) ownStatus(id identity) nodeStatus {
	s := nodeStatus{
		NodeID: id.NodeID, ClusterID: id.ClusterID, Phase: id.Phase, NonVoter: id.NonVoter,
		Expect: n.cfg.BootstrapExpect, Claim: n.book.own(), Meta: n.states.currentMeta(),
		Keys: n.keys.get().name(),
	}
	r := n.raft.Load()
	if r == nil {
		return s
	}
	s.LeaderID, s.LeaderAddr = n.leader()
	s.State, s.Full = r.State().String(), n.space.full()
	// In this order: a configuration that is committed is one that servers shows.
	s.ConfIndex = n.store.conf.Load()
	s.Term, s.Commit, s.Last, s.Applied = r.CurrentTerm(), r.CommitIndex(), r.LastIndex(), n.applied()
	s.Leads = s.ConfIndex <= s.Commit && n.lead.established()
	return s
}

// learn takes in what a node of this cluster says about addresses.
func (n *Node) learn(id string, c claim, known map[string]claim) {
	news := n.book.learn(known)
	if n.book.learn(map[string]claim{id: c}) || news {
		n.lead.poke()
	}
}

// ask asks the node at addr for its status.
func (n *Node) ask(ctx context.Context, addr string) (nodeStatus, error) {
	ctx, cancel := context.WithTimeout(ctx, n.timing.RPC)
	defer cancel()
	id := n.dir.get()
	req := statusRequest{Phase: id.Phase, Expect: n.cfg.BootstrapExpect, Claim: n.book.own()}
	if id.ClusterID != "" {
		req.Known = n.book.claims()
	}
	s, err := callJSON[nodeStatus](ctx, n.mux, addr, methodStatus, req)
	if err != nil {
		return s, err
	}
	if id.ClusterID != "" && s.ClusterID == id.ClusterID {
		n.learn(s.NodeID, s.Claim, s.Known)
		n.checkRemoval(id, s)
		n.catchUpKeys(ctx, addr, s.Keys)
	}
	if id.Phase == phaseNew && n.cfg.BootstrapExpect > 1 {
		for _, a := range s.Heard {
			n.promises.hear(a, a)
		}
	}
	return s, nil
}

// checkRemoval believes an established leader with a newer configuration than
// the one that made this node a member. A node that was down when it was removed
// learns of it this way.
func (n *Node) checkRemoval(id identity, s nodeStatus) {
	if id.Phase == phaseMember && s.Leads && !s.Member && s.ConfIndex > id.MemberSince && s.ConfIndex >= n.store.conf.Load() {
		n.removed("the leader " + s.NodeID + " does not list node " + id.NodeID + " any more")
	}
}

// peerTable holds the last status of each other member.
type peerTable struct {
	mu sync.Mutex
	m  map[string]*peer
}

type peer struct {
	nodeStatus
	asked bool      // a question is under way
	at    time.Time // of the last answer, zero without
	since time.Time // answers have come without a break since then
	up    bool      // the last question was answered
}

// begin says whether id should be asked now.
func (t *peerTable) begin(id string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.m == nil {
		t.m = make(map[string]*peer)
	}
	p := t.m[id]
	if p == nil {
		p = &peer{}
		t.m[id] = p
	}
	if p.asked {
		return false
	}
	p.asked = true
	return true
}

// end records an answer, or with ok false that there was none. It reports
// whether anything that members look at has changed.
func (t *peerTable) end(id string, s nodeStatus, ok bool, now time.Time) (changed bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.m[id]
	if p == nil {
		return false
	}
	p.asked = false
	if !ok {
		changed, p.up = p.up, false
		return changed
	}
	if !p.up {
		p.since = now
	}
	// The question may be older than a change of the keys that the member has confirmed.
	if p.Keys.outdates(s.Keys) {
		s.Keys = p.Keys
	}
	changed = !p.up || p.State != s.State || p.Full != s.Full || p.Meta != s.Meta
	p.nodeStatus, p.at, p.up = s, now, true
	return changed
}

// holds notes that a member has confirmed these keys.
func (t *peerTable) holds(id string, keys ringName) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if p := t.m[id]; p != nil {
		p.Keys = keys
	}
}

func (t *peerTable) get(id string) peer {
	t.mu.Lock()
	defer t.mu.Unlock()
	if p := t.m[id]; p != nil {
		return *p
	}
	return peer{}
}

// keep forgets everybody else.
func (t *peerTable) keep(servers []raft.Server) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id := range t.m {
		if !slices.ContainsFunc(servers, func(s raft.Server) bool { return string(s.ID) == id }) {
			delete(t.m, id)
		}
	}
}

// poll keeps the table fresh. It is also how nodes tell each other where they are.
func (n *Node) poll() {
	tick := time.NewTicker(n.timing.Poll)
	defer tick.Stop()
	for {
		n.pollOnce()
		select {
		case <-tick.C:
		case <-n.ctx.Done():
			return
		}
	}
}

func (n *Node) pollOnce() {
	servers := n.servers()
	n.noteJoined()
	if len(servers) > 0 {
		n.peers.keep(servers)
		if err := n.book.keep(servers); err != nil {
			n.log.Warn("keep the list of known peers", "error", err)
		}
	}
	for _, s := range servers {
		if id := string(s.ID); id != n.ID() {
			n.spawn(func() { n.askPeer(n.ctx, id) })
		}
	}
	// Without a leader the others may all have moved; whoever answers at the
	// configured addresses knows more.
	if id, _ := n.leader(); id == "" {
		n.spawn(func() {
			for _, addr := range expand(n.ctx, n.cfg.Join) {
				if addr != n.Advertise() {
					n.spawn(func() { _, _ = n.ask(n.ctx, addr) })
				}
			}
		})
	}
}

// askPeer asks one member, unless somebody is at it.
func (n *Node) askPeer(ctx context.Context, id string) {
	addr := n.book.lookup(id)
	if addr == "" || !n.peers.begin(id) {
		return
	}
	s, err := n.ask(ctx, addr)
	// Another node may have taken over the address.
	ok := err == nil && s.NodeID == id && s.ClusterID == n.ClusterID()
	if n.peers.end(id, s, ok, time.Now()) {
		n.changes.tell()
	}
	n.lead.poke()
}

// refresh asks all members now and waits for the answers of those that are up.
func (n *Node) refresh(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, n.timing.RPC/2)
	defer cancel()
	var wg sync.WaitGroup
	for _, s := range n.servers() {
		if id := string(s.ID); id != n.ID() {
			wg.Add(1)
			if !n.spawn(func() { defer wg.Done(); n.askPeer(ctx, id) }) {
				wg.Done()
			}
		}
	}
	wg.Wait()
}

// live reports whether a member answers. One that has just missed a question
// still counts for a moment.
func (n *Node) live(id string) bool {
	if id == n.ID() {
		return !n.dead()
	}
	p := n.peers.get(id)
	return p.up || !p.at.IsZero() && time.Since(p.at) < 2*n.timing.Poll
}

// expand resolves names to all of their addresses; addresses stay as they are.
func expand(ctx context.Context, addrs []string) []string {
	var all []string
	for _, a := range addrs {
		host, port, err := net.SplitHostPort(a)
		if err != nil || net.ParseIP(host) != nil {
			all = append(all, a)
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		ips, err := net.DefaultResolver.LookupHost(ctx, host)
		cancel()
		if err != nil || len(ips) == 0 {
			all = append(all, a) // dialing it will tell what is wrong
			continue
		}
		for _, ip := range ips {
			all = append(all, net.JoinHostPort(ip, port))
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}
