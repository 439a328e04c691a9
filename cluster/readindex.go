package cluster

import (
	"context"
	"fmt"
	"sync"

	"github.com/hashicorp/raft"

	"github.com/lbnode/lbnode/cluster/transport"
)

// ReadIndex returns an index such that a state machine that has applied it shows
// every write acknowledged before the call, on any node. The leader is asked;
// the error is ErrNoLeader.
//
// The leader confirms that it still leads by asking a majority of the voters for
// their term, after it has fixed its commit index. Raft's own VerifyLeader does
// not do: it counts non-voters, and it counts an answer to a heartbeat that was
// sent before the question, which a leader that was stopped for seconds finds in
// its socket when it is resumed.
func (n *Node) ReadIndex(ctx context.Context) (index uint64, err error) {
	err = n.onLeader(ctx,
		func(ctx context.Context) (err error) {
			index, err = n.reads.read(ctx, n)
			return err
		},
		func(ctx context.Context, addr string) error {
			ctx, stop := n.whileLeading(ctx, addr)
			defer stop()
			resp, err := callJSON[readResponse](ctx, n.mux, addr, methodRead, empty{})
			if err != nil {
				return fmt.Errorf("%w: %w", errNotTaken, err) // a read may always be repeated
			}
			index = resp.Index
			return nil
		})
	return index, err
}

type readResponse struct {
	Index uint64 `json:"index"`
}

func (n *Node) serveRead(ctx context.Context, _ transport.Peer, _ empty) (readResponse, error) {
	i, err := n.reads.read(ctx, n)
	return readResponse{Index: i}, err
}

// readBatcher lets all reads that arrive while one round of questions is under
// way share the next round.
type readBatcher struct {
	mu      sync.Mutex
	next    *readRound
	running bool
}

type readRound struct {
	done  chan struct{}
	index uint64
	err   error
}

func (b *readBatcher) read(ctx context.Context, n *Node) (uint64, error) {
	b.mu.Lock()
	if b.next == nil {
		b.next = &readRound{done: make(chan struct{})}
	}
	round := b.next
	if !b.running {
		b.running = n.spawn(func() { b.loop(n) })
		if !b.running {
			b.next = nil
			b.mu.Unlock()
			return 0, errNotTaken
		}
	}
	b.mu.Unlock()
	select {
	case <-round.done:
		return round.index, round.err
	case <-ctx.Done():
		return 0, fmt.Errorf("%w: %w", errNotTaken, ctx.Err())
	}
}

func (b *readBatcher) loop(n *Node) {
	for {
		b.mu.Lock()
		round := b.next
		b.next = nil
		if round == nil {
			b.running = false
			b.mu.Unlock()
			return
		}
		b.mu.Unlock()
		ctx, cancel := context.WithTimeout(n.ctx, n.timing.RPC)
		round.index, round.err = n.confirm(ctx)
		cancel()
		close(round.done)
	}
}

// confirm returns the commit index once a majority has shown that there is no
// newer leader. A voter votes only after it has stored the new term; so if the
// terms of a majority are not above ours now, none above ours was elected before
// we asked.
func (n *Node) confirm(ctx context.Context) (uint64, error) {
	term, ok := n.lead.ready(ctx)
	if !ok {
		return 0, fmt.Errorf("%w: %s does not lead", errNotTaken, n.ID())
	}
	r := n.raft.Load()
	index := r.CommitIndex()
	var ask []string
	voters, agree := 0, 0
	for _, s := range n.servers() {
		switch {
		case s.Suffrage != raft.Voter:
			continue
		case string(s.ID) == n.ID():
			agree++
		default:
			ask = append(ask, string(s.ID))
		}
		voters++
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answers := make(chan bool, len(ask))
	for _, id := range ask {
		if !n.spawn(func() { answers <- n.agrees(ctx, id, term.Number) }) {
			answers <- false
		}
	}
	for range ask {
		if agree > voters/2 {
			break
		}
		if <-answers {
			agree++
		}
	}
	if agree <= voters/2 || r.CurrentTerm() != term.Number || r.State() != raft.Leader {
		return 0, fmt.Errorf("%w: %d of %d voters confirm term %d", errNotTaken, agree, voters, term.Number)
	}
	return index, nil
}

type termResponse struct {
	NodeID string `json:"node_id"`
	Term   uint64 `json:"term"`
}

// agrees reports whether the voter id knows no term above term.
func (n *Node) agrees(ctx context.Context, id string, term uint64) bool {
	resp, err := callJSON[termResponse](ctx, n.mux, n.book.lookup(id), methodTerm, empty{})
	return err == nil && resp.NodeID == id && resp.Term <= term
}

func (n *Node) serveTerm(_ context.Context, _ transport.Peer, _ empty) (termResponse, error) {
	r := n.raft.Load()
	if r == nil || n.dead() {
		return termResponse{}, errNotTaken
	}
	return termResponse{NodeID: n.ID(), Term: r.CurrentTerm()}, nil
}
