package gossip

import (
	"fmt"
	"time"

	"github.com/hashicorp/memberlist"
)

// delegate receives memberlist's callbacks. They run on its packet loop or
// under its lock, so none may block or call back into memberlist.
type delegate struct{ g *Gossip }

var (
	_ memberlist.Delegate         = delegate{}
	_ memberlist.EventDelegate    = delegate{}
	_ memberlist.AliveDelegate    = delegate{}
	_ memberlist.ConflictDelegate = delegate{}
	_ memberlist.PingDelegate     = delegate{}
)

// NodeMeta implements memberlist.Delegate.
func (d delegate) NodeMeta(limit int) []byte {
	return wireMeta{d.g.meta(), d.g.instance}.encode()
}

// NotifyMsg implements memberlist.Delegate. The buffer is memberlist's.
func (d delegate) NotifyMsg(b []byte) {
	d.g.inbound.push(append([]byte(nil), b...))
}

// GetBroadcasts implements memberlist.Delegate.
func (d delegate) GetBroadcasts(overhead, limit int) [][]byte {
	return d.g.packets.GetBroadcasts(overhead, limit)
}

// LocalState implements memberlist.Delegate. It runs on a stream's goroutine.
func (d delegate) LocalState(bool) []byte { return d.g.localState() }

// MergeRemoteState implements memberlist.Delegate. It runs on a stream's
// goroutine, and merging there makes Join mean that the states have arrived.
func (d delegate) MergeRemoteState(b []byte, _ bool) { d.g.mergeAll(b) }

// NotifyJoin implements memberlist.EventDelegate.
func (d delegate) NotifyJoin(n *memberlist.Node) { d.g.table.seen(n, time.Now()) }

// NotifyUpdate implements memberlist.EventDelegate.
func (d delegate) NotifyUpdate(n *memberlist.Node) { d.g.table.seen(n, time.Now()) }

// NotifyLeave implements memberlist.EventDelegate.
func (d delegate) NotifyLeave(n *memberlist.Node) { d.g.table.gone(n.Name, time.Now()) }

// NotifyAlive implements memberlist.AliveDelegate: what we could not use must
// not become a member. Its mere presence makes memberlist refuse messages
// whose short version list would panic it later.
func (d delegate) NotifyAlive(n *memberlist.Node) error {
	if len(n.Addr) != 4 && len(n.Addr) != 16 {
		return fmt.Errorf("address of %d bytes", len(n.Addr))
	}
	if n.Name == "" || len(n.Name) > memberlist.LabelMaxSize {
		return fmt.Errorf("node id of %d bytes", len(n.Name))
	}
	_, err := decodeMeta(n.Meta)
	return err
}

// NotifyConflict implements memberlist.ConflictDelegate.
func (d delegate) NotifyConflict(existing, other *memberlist.Node) {
	if !d.g.logs.allow("conflict "+existing.Name, time.Now()) {
		return
	}
	d.g.log.Warn("two addresses claim the same node id: a node that moved is let in once its old address has been dead for a while; two nodes with one id must be renamed",
		"node", existing.Name, "addr", existing.Address(), "claimed_by", other.Address(), "reclaim_after", d.g.cfg.ReclaimTime)
}

// AckPayload implements memberlist.PingDelegate.
func (d delegate) AckPayload() []byte { return nil }

// NotifyPingComplete implements memberlist.PingDelegate: a direct answer ends
// suspicion.
func (d delegate) NotifyPingComplete(n *memberlist.Node, _ time.Duration, _ []byte) {
	d.g.table.heard(n.Name, time.Now())
}

// packet is a queued message; every one is news of its own.
type packet []byte

// Invalidates implements memberlist.Broadcast.
func (packet) Invalidates(memberlist.Broadcast) bool { return false }

// Message implements memberlist.Broadcast.
func (p packet) Message() []byte { return p }

// Finished implements memberlist.Broadcast.
func (packet) Finished() {}

// UniqueBroadcast implements memberlist.UniqueBroadcast.
func (packet) UniqueBroadcast() {}
