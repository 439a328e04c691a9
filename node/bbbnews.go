package node

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	bbbload "github.com/lbnode/lbnode/bbb/load"
	"github.com/lbnode/lbnode/cluster/transport"
)

const (
	bbbNewsMethod = "bbb-news"
	bbbNewsEvery  = time.Second
)

// tellBBBNews tells the other nodes, once a second, what this one alone has learned of BigBlueButton servers: agents'
// words, and whom it sent where. What does not reach a node, the servers' next lists tell it.
func (n *Node) tellBBBNews(ctx context.Context) {
	tick := time.NewTicker(bbbNewsEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		news := n.bbbLoads.TakeNews()
		if news.Empty() {
			continue
		}
		body, err := json.Marshal(news)
		if err != nil { // numbers and strings
			n.log.Error("bug: news of servers cannot be encoded", "error", err)
			continue
		}
		n.tellAll(ctx, bbbNewsMethod, body)
	}
}

// tellAll calls all other nodes that are alive.
func (n *Node) tellAll(ctx context.Context, method string, body []byte) {
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	var told sync.WaitGroup
	for _, m := range n.cluster.Members() {
		if m.Self || m.Status != "alive" {
			continue
		}
		told.Go(func() {
			if _, err := n.cluster.Call(ctx, m.ID, method, body); err != nil {
				n.log.Debug("a node was not told", "method", method, "node", m.ID, "error", err)
			}
		})
	}
	told.Wait()
}

// serveBBBNews takes what another node has learned.
func (n *Node) serveBBBNews(_ context.Context, _ transport.Peer, body []byte) ([]byte, error) {
	var news bbbload.News
	if err := json.Unmarshal(body, &news); err != nil {
		return nil, fmt.Errorf("news of servers: %w", err)
	}
	n.bbbLoads.Merge(news)
	return nil, nil
}
