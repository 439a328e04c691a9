package cluster

import (
	"fmt"
	"strings"
)

// A command that a member does not understand stops that member. So the leader
// takes a command only once every member, voter or not, understands it: each says
// in its status, and in its claim, which is passed on and kept on disk, up to
// which protocol it does. A member that is dead counts with what it said last;
// one that was never heard of counts as the oldest. A leader that is older than the
// node which was asked cannot know what it does not understand, so that node looks
// at the leader's protocol before it sends it anything.

// oldestProtocol is what every lbnode understands.
const oldestProtocol = 1

// speaks returns the highest command protocol that a member is known to understand,
// and the version of its program, "" if that is not known.
func (n *Node) speaks(id string) (protocol uint8, version string) {
	if id == n.ID() {
		m := n.states.currentMeta()
		return m.Proto[1], m.Version
	}
	if p := n.peers.get(id); !p.at.IsZero() {
		return max(p.Meta.Proto[1], oldestProtocol), p.Meta.Version
	}
	return max(n.book.speaks(id), oldestProtocol), ""
}

// behind describes the members that do not understand protocol, in the order of
// the configuration.
func (n *Node) behind(protocol uint8) (who []string) {
	for _, s := range n.servers() {
		switch has, version := n.speaks(string(s.ID)); {
		case has >= protocol:
		case version != "":
			who = append(who, fmt.Sprintf("%s (lbnode %s, protocol %d)", s.ID, version, has))
		default:
			who = append(who, fmt.Sprintf("%s (protocol %d, as far as is known)", s.ID, has))
		}
	}
	return who
}

// Understands reports whether every member is known to understand a version of the
// command protocol.
func (n *Node) Understands(protocol uint8) bool { return len(n.behind(protocol)) == 0 }

// understood is nil if every member understands cmd, else an ErrOldMember that
// names those to upgrade.
func (n *Node) understood(cmd []byte) error {
	if n.cfg.Requires == nil {
		return nil
	}
	needs := n.cfg.Requires(cmd)
	if needs <= oldestProtocol {
		return nil
	}
	if who := n.behind(needs); len(who) > 0 {
		return fmt.Errorf("%w: the change needs command protocol %d; upgrade, or remove if it is gone for good: %s", ErrOldMember, needs, strings.Join(who, ", "))
	}
	return nil
}

// leaderUnderstands is nil if the leader, another node, understands cmd and can so
// judge whether all others do.
func (n *Node) leaderUnderstands(id string, cmd []byte) error {
	if n.cfg.Requires == nil {
		return nil
	}
	needs := n.cfg.Requires(cmd)
	has, version := n.speaks(id)
	switch {
	case has >= needs:
		return nil
	case version == "" && n.book.speaks(id) == 0:
		return fmt.Errorf("%w: it is not known yet whether the leader (%s) understands the change", errNotTaken, id)
	}
	return fmt.Errorf("%w: the change needs command protocol %d, the leader does %d; upgrade %s", ErrOldMember, needs, has, id)
}
