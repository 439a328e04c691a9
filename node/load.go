package node

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	bbbload "github.com/lbnode/lbnode/bbb/load"
	"github.com/lbnode/lbnode/cluster/transport"
	"github.com/lbnode/lbnode/httpapi"
)

var _ httpapi.Loads = (*loads)(nil)

const (
	loadMethod  = "load"
	loadTimeout = 2 * time.Second
	// loadExpires is how old a report may become: an agent that says no more leaves its backend as if it had none.
	loadExpires = 30 * time.Second
	loadSweep   = 5 * time.Second
)

// loads takes what agents report on any node to all of them. It is kept in memory only.
type loads struct {
	n *Node

	mu   sync.Mutex
	news map[string]httpapi.LoadReport // to be told to the other nodes
	seen map[string]time.Time          // when a backend's load was last reported
	kick chan struct{}                 // cap 1; there are news
}

func newLoads(n *Node) *loads {
	return &loads{n: n, news: map[string]httpapi.LoadReport{}, seen: map[string]time.Time{}, kick: make(chan struct{}, 1)}
}

// Report implements httpapi.Loads. Of reports that come faster than they can be told, the last one is.
func (l *loads) Report(id string, r httpapi.LoadReport) {
	l.take(id, r)
	l.mu.Lock()
	l.news[id] = r
	l.mu.Unlock()
	select {
	case l.kick <- struct{}{}:
	default:
	}
}

// take uses a report on this node.
func (l *loads) take(id string, r httpapi.LoadReport) {
	l.n.proxy.Set().SetLoad(id, r.Load)
	if r.Counted {
		l.n.bbbLoads.Merge(bbbload.News{Reports: map[string]bbbload.Report{id: {Counted: true, Meetings: r.Meetings, Attendees: r.Attendees, Load: r.Load}}})
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen[id] = time.Now()
}

// run tells the other nodes, and forgets what is too old, until ctx ends.
func (l *loads) run(ctx context.Context) {
	sweep := time.NewTicker(loadSweep)
	defer sweep.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.kick:
			l.tell(ctx)
		case <-sweep.C:
			l.expire()
		}
	}
}

func (l *loads) expire() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, at := range l.seen {
		if time.Since(at) > loadExpires {
			l.n.proxy.Set().SetLoad(id, -1)
			delete(l.seen, id)
		}
	}
}

func (l *loads) tell(ctx context.Context) {
	l.mu.Lock()
	news := l.news
	l.news = map[string]httpapi.LoadReport{}
	l.mu.Unlock()
	body, err := json.Marshal(news)
	if err != nil { // numbers and strings
		return
	}
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	var told sync.WaitGroup
	for _, m := range l.n.cluster.Members() {
		if m.Self || m.Status != "alive" {
			continue
		}
		told.Go(func() {
			if _, err := l.n.cluster.Call(ctx, m.ID, loadMethod, body); err != nil {
				l.n.log.Debug("a node was not told of reported loads", "node", m.ID, "error", err)
			}
		})
	}
	told.Wait()
}

// serve takes what another node was told.
func (l *loads) serve(_ context.Context, _ transport.Peer, body []byte) ([]byte, error) {
	var news map[string]httpapi.LoadReport
	if err := json.Unmarshal(body, &news); err != nil {
		return nil, fmt.Errorf("reported loads: %w", err)
	}
	for id, r := range news {
		l.take(id, r)
	}
	return nil, nil
}
