package node

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/lbnode/lbnode/cluster/transport"
	"github.com/lbnode/lbnode/internal/seal"
	"github.com/lbnode/lbnode/state"
)

// protocolReseal is from which version of the command protocol on there is state.TypeReseal.
const protocolReseal = 2

const (
	resealBatch   = 128 << 10 // bytes of secrets in one command
	resealTimeout = 10 * time.Second
	resealAgain   = time.Second     // between two attempts, and to look whether all members can follow
	resealedWait  = 5 * time.Second // for an operator's answer
)

// rekeyed tells those who depend on the cluster keys that they are others. Each channel has one place and one reader.
type rekeyed struct{ tickets, views, seals chan struct{} }

func newRekeyed() rekeyed {
	one := func() chan struct{} { return make(chan struct{}, 1) }
	return rekeyed{one(), one(), one()}
}

// followKeys puts a rotation of the cluster keys in force on this node: sticky cookies, session tickets and
// certificates. It returns when ctx ends.
func (n *Node) followKeys(ctx context.Context) {
	changes := n.cluster.Changes()
	var had []transport.Key // whatever it was when the node was built: it may have changed since
	for {
		if has := n.cluster.KeyRing(); !slices.Equal(has, had) {
			had = has
			n.proxy.SetStickyKeys(n.stickySecrets())
			for _, ch := range []chan struct{}{n.rekeyed.tickets, n.rekeyed.views, n.rekeyed.seals} {
				select {
				case ch <- struct{}{}:
				default: // one is waiting to be seen
				}
			}
		}
		select {
		case <-changes:
		case <-ctx.Done():
			return
		}
	}
}

// stickySecrets sign the cookies of sticky sessions, that of the cluster key in use first.
func (n *Node) stickySecrets() [][]byte {
	var out [][]byte
	for _, k := range n.cluster.KeyRing() {
		out = append(out, k.Sticky())
	}
	return out
}

// purpose is what a secret of the state is sealed for.
func purpose(s state.Secret) string { return fmt.Sprintf("%s %s %s", s.Kind, s.ID, s.Field) }

// sealedWith names what the state has that only one of the cluster keys opens.
func (n *Node) sealedWith(k transport.Key) []string {
	box, err := seal.New(k[:])
	if err != nil { // the length is right
		return nil
	}
	var names []string
	for s := range n.fsm.View().Secrets() {
		if id, err := seal.KeyOf(s.Sealed); err != nil || id != box.KeyID() {
			continue
		}
		name := fmt.Sprintf("%s/%s", s.Kind, s.ID)
		if s.Past != 0 {
			name += fmt.Sprintf(" as it was at index %d", s.Past)
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// toReseal is what is sealed with another key than the one in use, and can be opened. secrets has what is tried, in
// the same order; lost those that no key opens.
func toReseal(v *state.View, box *seal.Box) (list []state.Reseal, secrets, lost []state.Secret, err error) {
	for s := range v.Secrets() {
		id, err := seal.KeyOf(s.Sealed)
		if err != nil || id == box.KeyID() {
			continue // what is no sealed text is not ours to touch
		}
		plain, err := box.Open(purpose(s), s.Sealed)
		if err != nil {
			lost = append(lost, s)
			continue
		}
		sealed, err := box.Seal(purpose(s), plain)
		if err != nil {
			return nil, nil, nil, fmt.Errorf("seal %s %q: %w", s.Kind, s.ID, err)
		}
		list, secrets = append(list, state.Reseal{From: s.Sealed, To: sealed}), append(secrets, s)
	}
	return list, secrets, lost, nil
}

// resealAll keeps, while this node leads, everything sealed with the cluster key in use, so that any other can be
// removed without loss. What is written meanwhile with an older key is found with the next view.
func (n *Node) resealAll(ctx context.Context) {
	views := n.store.Watch(ctx)
	again := time.NewTimer(0)
	defer again.Stop()
	var clean struct { // nothing was to be done for these
		key string
		gen uint64
	}
	told := map[string]bool{} // secrets that were reported as lost
	for {
		select {
		case _, ok := <-views:
			if !ok {
				return
			}
		case <-n.rekeyed.seals:
		case <-again.C:
		case <-ctx.Done():
			return
		}
		box, _ := n.box()
		v := n.store.View()
		if clean.key == box.KeyID() && clean.gen == v.ConfigGen {
			continue
		}
		done, err := n.reseal(ctx, v, box, told)
		if err != nil && ctx.Err() == nil {
			n.log.Warn("secrets are not sealed with the cluster key in use yet", "error", err)
		}
		if done {
			clean.key, clean.gen = box.KeyID(), v.ConfigGen
			continue
		}
		again.Reset(resealAgain)
	}
}

// reseal makes one attempt, and says whether the view has nothing more to be sealed anew.
func (n *Node) reseal(ctx context.Context, v *state.View, box *seal.Box, told map[string]bool) (done bool, err error) {
	list, secrets, lost, err := toReseal(v, box)
	if err != nil {
		return false, err
	}
	for _, s := range lost {
		if !told[s.Sealed] {
			told[s.Sealed] = true
			n.log.Error("a secret cannot be opened with any cluster key: set it again", "kind", s.Kind, "id", s.ID, "field", s.Field, "index", s.Past)
		}
	}
	if len(list) == 0 {
		return true, nil
	}
	if !n.cluster.KeyAccepted() || !n.cluster.Understands(protocolReseal) {
		return false, nil // as in the middle of an upgrade, or of a change of key files
	}
	for len(list) > 0 {
		size, end := 0, 0
		for end < len(list) && (end == 0 || size+len(list[end].To) <= resealBatch) {
			size += len(list[end].From) + len(list[end].To)
			end++
		}
		ctx, cancel := context.WithTimeout(ctx, resealTimeout)
		_, err := n.store.Do(ctx, state.Command{Type: state.TypeReseal, Actor: "lbnode@" + n.ID(), Reseal: list[:end]})
		cancel()
		if err != nil {
			return false, err
		}
		for _, s := range secrets[:end] {
			n.log.Info("a secret was sealed with the cluster key in use", "kind", s.Kind, "id", s.ID, "field", s.Field, "index", s.Past, "seal", box.KeyID())
		}
		list, secrets = list[end:], secrets[end:]
	}
	return false, nil // look again: something may have been written meanwhile
}

// awaitResealed waits until this node sees nothing any more that is to be sealed anew, but not for long.
func (n *Node) awaitResealed(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, resealedWait)
	defer cancel()
	for v := range n.store.Watch(ctx) {
		box, _ := n.box()
		if list, _, _, err := toReseal(v, box); err != nil || len(list) == 0 {
			return
		}
	}
}
