package node

import (
	"context"
	"encoding/json"
	"time"

	"github.com/lbnode/lbnode/bbb/callback"
	"github.com/lbnode/lbnode/cluster/transport"
	"github.com/lbnode/lbnode/httpapi"
)

var _ httpapi.Callbacks = apiCallbacks{}

const callbacksMethod = "callbacks"

// buildCallbacks makes what takes and delivers BigBlueButton's callbacks.
func (n *Node) buildCallbacks() (err error) {
	cfg := callback.DefaultConfig()
	transport := callback.NewTransport(n.cfg.CallbackNetworks)
	n.cleanup.push(func() error { transport.CloseIdleConnections(); return nil })
	cfg.Store, cfg.Transport, cfg.Log = n.store, transport, n.log
	if n.callbacks, err = callback.NewSender(cfg); err != nil {
		return err
	}
	n.callbackProxy = &callback.Proxy{Store: n.store, Log: n.log, Now: time.Now}
	n.cluster.Handle(callbacksMethod, n.serveCallbacks)
	return nil
}

// apiCallbacks asks the node that leads.
type apiCallbacks struct{ n *Node }

// Progress implements httpapi.Callbacks.
func (a apiCallbacks) Progress(ctx context.Context) map[string]httpapi.CallbackProgress {
	leader := a.n.cluster.Status().LeaderID
	if leader == "" {
		return nil
	}
	var out map[string]httpapi.CallbackProgress
	b, err := json.Marshal(a.n.callbacks.Progress())
	if leader != a.n.ID() {
		b, err = a.n.cluster.Call(ctx, leader, callbacksMethod, nil)
	}
	if err == nil {
		err = json.Unmarshal(b, &out)
	}
	if err != nil {
		a.n.log.Debug("the leader does not say how far callbacks are", "leader", leader, "error", err)
	}
	return out
}

// serveCallbacks answers another node's question.
func (n *Node) serveCallbacks(context.Context, transport.Peer, []byte) ([]byte, error) {
	return json.Marshal(n.callbacks.Progress())
}
