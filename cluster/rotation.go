package cluster

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/hashicorp/raft"

	"github.com/lbnode/lbnode/cluster/transport"
)

// The leader changes the ring and hands it to every member over calls between
// nodes; keys never enter the log or leave the data directories. A member that
// was not there takes the ring over from whoever it meets first: while a key is
// accepted, a node that knows no other still gets in.

// KeyInfo is one cluster key. Only nodes see the key itself.
type KeyInfo struct {
	ID     string
	InUse  bool     // on the node that answers: certificates and gossip rest on it
	Nodes  []string // members that accept it, sorted
	UsedBy []string // members that use it, sorted
}

// KeyStatus is what the members hold.
type KeyStatus struct {
	Generation uint64 // rises with each change; 0 = never rotated
	Keys       []KeyInfo
	Silent     []string // members that do not answer, sorted
}

// KeyChange says who has a change of the keys.
type KeyChange struct {
	ID                     string
	Confirmed, Unconfirmed []string // members, sorted
}

type keyOp string

const (
	keyInstall keyOp = "install"
	keyUse     keyOp = "use"
	keyRemove  keyOp = "remove"
)

type keyRequest struct {
	Op    keyOp  `json:"op"`
	ID    string `json:"id,omitempty"`
	Key   string `json:"key,omitempty"` // install: as in a key file, "" = a new one
	Force bool   `json:"force,omitempty"`
}

// ringMessage carries a ring between members.
type ringMessage struct {
	Generation uint64   `json:"generation"`
	Keys       []string `json:"keys"`
}

func (r keyRing) message() ringMessage {
	m := ringMessage{Generation: r.generation}
	for _, k := range r.keys {
		m.Keys = append(m.Keys, k.String())
	}
	return m
}

func (m ringMessage) ring() (keyRing, error) {
	keys, err := transport.ParseKeys([]byte(strings.Join(m.Keys, "\n")))
	return keyRing{m.Generation, keys}, err
}

// Keys lists the cluster keys and asks the members which of them they hold.
func (n *Node) Keys(ctx context.Context) KeyStatus {
	n.refresh(ctx)
	ring := n.keys.get()
	s := KeyStatus{Generation: ring.generation}
	held, silent := n.heldBy()
	s.Silent = silent
	ids := ring.ids()
	for _, m := range held {
		for _, id := range m.IDs {
			if !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
		}
	}
	for _, id := range ids {
		k := KeyInfo{ID: id, InUse: id == ring.ids()[0]}
		for _, node := range sortedKeys(held) {
			if slices.Contains(held[node].IDs, id) {
				k.Nodes = append(k.Nodes, node)
			}
			if held[node].IDs[0] == id {
				k.UsedBy = append(k.UsedBy, node)
			}
		}
		s.Keys = append(s.Keys, k)
	}
	return s
}

// heldBy is what the members that answer hold, by id, and who does not answer.
func (n *Node) heldBy() (held map[string]ringName, silent []string) {
	held = map[string]ringName{n.ID(): n.keys.get().name()}
	for _, s := range n.servers() {
		id := string(s.ID)
		if id == n.ID() {
			continue
		}
		if p := n.peers.get(id); p.up && len(p.Keys.IDs) > 0 {
			held[id] = p.Keys
		} else {
			silent = append(silent, id)
		}
	}
	slices.Sort(silent)
	return held, silent
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// InstallKey makes every member accept one more key, a new one if key is nil.
// Installing a key that is there hands it to the members that lack it. Any node
// may be asked. The errors are ErrNotSafe, ErrBusy, ErrNoLeader, or those of the
// leader's disk.
func (n *Node) InstallKey(ctx context.Context, key *transport.Key) (KeyChange, error) {
	req := keyRequest{Op: keyInstall}
	if key != nil {
		req.Key = key.String()
	}
	return n.changeKeys(ctx, req)
}

// UseKey makes every member use a key that all of them accept. ErrUnknownKey:
// there is none. ErrNotSafe: a member does not accept it yet, or does not answer;
// force overrides the second.
func (n *Node) UseKey(ctx context.Context, id string, force bool) (KeyChange, error) {
	return n.changeKeys(ctx, keyRequest{Op: keyUse, ID: id, Force: force})
}

// RemoveKey makes every member refuse a key. ErrNotSafe: it is in use, or some
// member may still use it, or the state has something that only this key opens;
// force overrides all but the first: such a member will not get in again, and what
// is sealed is lost.
func (n *Node) RemoveKey(ctx context.Context, id string, force bool) (KeyChange, error) {
	return n.changeKeys(ctx, keyRequest{Op: keyRemove, ID: id, Force: force})
}

func (n *Node) changeKeys(ctx context.Context, req keyRequest) (change KeyChange, err error) {
	err = n.onLeader(ctx,
		func(ctx context.Context) (err error) {
			change, err = n.changeKeysHere(ctx, req)
			return err
		},
		func(ctx context.Context, addr string) (err error) {
			change, err = callJSON[KeyChange](ctx, n.mux, addr, methodKeyChange, req)
			return fromRemote(err)
		})
	return change, err
}

func (n *Node) serveKeyChange(ctx context.Context, _ transport.Peer, req keyRequest) (KeyChange, error) {
	return n.changeKeysHere(ctx, req)
}

// changeKeysHere makes one change as the leader.
func (n *Node) changeKeysHere(ctx context.Context, req keyRequest) (KeyChange, error) {
	if _, ok := n.lead.ready(ctx); !ok {
		return KeyChange{}, fmt.Errorf("%w: %s does not lead", errNotTaken, n.ID())
	}
	if err := n.lockMembership(ctx); err != nil {
		return KeyChange{}, err
	}
	defer n.endMembership()
	n.refresh(ctx)
	held, silent := n.heldBy()
	ring := n.keys.get()
	for _, id := range sortedKeys(held) {
		if held[id].outdates(ring.name()) {
			return KeyChange{}, fmt.Errorf("%w: %s has newer keys than the leader, which is about to take them over", ErrBusy, id)
		}
	}
	next, id, err := nextRing(ring, req, held, silent)
	if err != nil {
		return KeyChange{}, err
	}
	// One that was deposed without noticing would make a generation of its own.
	if _, err := n.reads.read(ctx, n); err != nil {
		return KeyChange{}, err
	}
	if err := n.checkSealed(ring, req); err != nil {
		return KeyChange{}, err
	}
	if next, err = n.setRing(next); err != nil {
		return KeyChange{}, err
	}
	n.log.Info("cluster keys are being changed", "op", string(req.Op), "key", id, "force", req.Force)
	return n.spreadRing(ctx, next, id), nil
}

// checkSealed refuses to remove a key while something is sealed with it, unless
// forced. It comes after a read that has brought the state up to date.
func (n *Node) checkSealed(ring keyRing, req keyRequest) error {
	i := ring.find(req.ID)
	if req.Op != keyRemove || req.Force || n.cfg.Sealed == nil || i < 0 {
		return nil
	}
	const most = 5
	names := n.cfg.Sealed(ring.keys[i])
	if len(names) == 0 {
		return nil
	}
	text := strings.Join(names[:min(len(names), most)], ", ")
	if len(names) > most {
		text += fmt.Sprintf(" and %d more", len(names)-most)
	}
	return fmt.Errorf("%w: key %s still seals %s, which would be of no use without it: the leader seals it anew with the key in use, so wait for a moment; or force the change",
		ErrNotSafe, req.ID, text)
}

// KeyAccepted reports whether what is sealed with the key in use can be opened by
// every member: those that were heard of accept it, and those that were not will
// take it over, if it was rotated by command.
func (n *Node) KeyAccepted() bool {
	ring := n.keys.get()
	held, silent := n.heldBy()
	first := ring.ids()[0]
	lack := lacking(held, func(r ringName) bool { return slices.Contains(r.IDs, first) })
	return len(lack) == 0 && (len(silent) == 0 || ring.generation > 0)
}

// nextRing decides what a change makes of the ring, and which key it is about.
func nextRing(ring keyRing, req keyRequest, held map[string]ringName, silent []string) (next keyRing, id string, err error) {
	lack := lacking(held, func(r ringName) bool { return slices.Contains(r.IDs, req.ID) })
	switch req.Op {
	case keyInstall:
		return installed(ring, req.Key, held)
	case keyUse:
		if next, err = ring.using(req.ID); err != nil {
			return ring, "", err
		}
		switch {
		case len(lack) > 0:
			return ring, "", fmt.Errorf("%w: %s does not accept key %s yet: wait, or install it again", ErrNotSafe, strings.Join(lack, ", "), req.ID)
		case len(silent) > 0 && !req.Force:
			return ring, "", fmt.Errorf("%w: %s does not answer, so that nobody knows whether it accepts key %s: bring it back, remove it from the cluster, or force the change",
				ErrNotSafe, strings.Join(silent, ", "), req.ID)
		}
		return next, req.ID, nil
	case keyRemove:
		if next, err = ring.without(req.ID); err != nil {
			return ring, "", err
		}
		others := lacking(held, func(r ringName) bool { return r.IDs[0] == ring.keys[0].Fingerprint() })
		if others = append(others, silent...); len(others) > 0 && !req.Force {
			return ring, "", fmt.Errorf("%w: %s is not known to use key %s, and may need key %s to get in: bring it back, remove it from the cluster, or force the change",
				ErrNotSafe, strings.Join(others, ", "), ring.keys[0].Fingerprint(), req.ID)
		}
		return next, req.ID, nil
	}
	return ring, "", fmt.Errorf("%w: unknown change of keys %q: upgrade the leader", ErrNotSafe, req.Op)
}

// installed is the ring with one more key.
func installed(ring keyRing, text string, held map[string]ringName) (keyRing, string, error) {
	key := transport.NewKey()
	if text != "" {
		keys, err := transport.ParseKeys([]byte(text))
		if err != nil || len(keys) != 1 {
			return ring, "", fmt.Errorf("%w: no cluster key: want the base64 of 32 bytes, as `lbnode keygen` prints it", ErrBadKey)
		}
		key = keys[0]
	}
	id := key.Fingerprint()
	// A node whose key file has a key that the others lack would lose it.
	for node, r := range held {
		for _, has := range r.IDs {
			if ring.find(has) < 0 {
				return ring, "", fmt.Errorf("%w: %s accepts key %s, which the leader does not: make the key files of all nodes equal and restart them first", ErrNotSafe, node, has)
			}
		}
	}
	if ring.find(id) >= 0 {
		if ring.generation == 0 {
			return keyRing{1, ring.keys}, id, nil
		}
		return ring, id, nil
	}
	next, err := ring.with(key)
	return next, id, err
}

// lacking lists the members of whose ring has is not true, sorted.
func lacking(held map[string]ringName, has func(ringName) bool) (ids []string) {
	for _, id := range sortedKeys(held) {
		if !has(held[id]) {
			ids = append(ids, id)
		}
	}
	return ids
}

// spreadRing hands the ring to every other member at once.
func (n *Node) spreadRing(ctx context.Context, ring keyRing, id string) KeyChange {
	var mu sync.Mutex
	var asked sync.WaitGroup
	c := KeyChange{ID: id, Confirmed: []string{n.ID()}, Unconfirmed: []string{}}
	for _, s := range n.servers() {
		if string(s.ID) == n.ID() {
			continue
		}
		asked.Go(func() {
			err := n.handRing(ctx, s.ID, ring)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				c.Confirmed = append(c.Confirmed, string(s.ID))
				return
			}
			n.log.Warn("a member has not confirmed the change of the cluster keys", "node", string(s.ID), "error", err)
			c.Unconfirmed = append(c.Unconfirmed, string(s.ID))
		})
	}
	asked.Wait()
	slices.Sort(c.Confirmed)
	slices.Sort(c.Unconfirmed)
	return c
}

// handRing gives the ring to one member, twice if the first call broke: taking it
// over may close the connection that it came by.
func (n *Node) handRing(ctx context.Context, id raft.ServerID, ring keyRing) (err error) {
	for range 2 {
		var has ringName
		has, err = func() (ringName, error) {
			ctx, cancel := context.WithTimeout(ctx, n.timing.RPC)
			defer cancel()
			return callJSON[ringName](ctx, n.mux, n.book.lookup(string(id)), methodKeysSet, ring.message())
		}()
		if err == nil && has.compare(ring.name()) != 0 {
			return fmt.Errorf("it has generation %d with %s", has.Generation, strings.Join(has.IDs, ", "))
		}
		if err == nil {
			n.peers.holds(string(id), has)
		}
		if err == nil || ctx.Err() != nil {
			return err
		}
	}
	return err
}

// serveKeysSet takes a ring over.
func (n *Node) serveKeysSet(_ context.Context, _ transport.Peer, m ringMessage) (ringName, error) {
	ring, err := m.ring()
	if err != nil {
		return ringName{}, err
	}
	ring, err = n.setRing(ring)
	return ring.name(), err
}

// serveKeys gives the ring to a member that has an older one.
func (n *Node) serveKeys(context.Context, transport.Peer, empty) (ringMessage, error) {
	return n.keys.get().message(), nil
}

// catchUpKeys takes over the ring of the member at addr, which says that it has
// a newer one.
func (n *Node) catchUpKeys(ctx context.Context, addr string, theirs ringName) {
	if !theirs.outdates(n.keys.get().name()) {
		return
	}
	m, err := callJSON[ringMessage](ctx, n.mux, addr, methodKeys, empty{})
	var ring keyRing
	if err == nil {
		ring, err = m.ring()
	}
	if err == nil {
		_, err = n.setRing(ring)
	}
	if err != nil {
		n.log.Warn("take over newer cluster keys", "from", addr, "error", err)
	}
}
