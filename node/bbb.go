package node

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/bbb"
	"github.com/lbnode/lbnode/bbb/control"
	bbbload "github.com/lbnode/lbnode/bbb/load"
	"github.com/lbnode/lbnode/bbb/server"
	"github.com/lbnode/lbnode/bbb/sign"
	"github.com/lbnode/lbnode/state"
)

// bbbTimeout bounds what this node asks servers on its own account.
const bbbTimeout = 10 * time.Second

// buildServers makes what calls BigBlueButton servers: before health, whose checks use it.
func (n *Node) buildServers() (err error) {
	if n.servers, err = server.New(server.DefaultConfig()); err != nil {
		return err
	}
	n.cleanup.push(func() error { n.servers.Close(); return nil })
	return nil
}

// buildGateway makes what serves tenants, and mounts it.
func (n *Node) buildGateway() (err error) {
	n.bbbLoads = bbbload.NewTable(time.Now, n.bbbVeto)
	ccfg := control.DefaultConfig()
	ccfg.Store, ccfg.Table, ccfg.Call, ccfg.Logger = n.store, n.bbbLoads, n.callServer, n.log
	if n.bbbControl, err = control.New(ccfg); err != nil {
		return err
	}
	n.bbbPoller, err = bbbload.NewPoller(bbbload.Config{
		Table: n.bbbLoads, View: n.store.View, Call: n.callServer, Timeout: bbbTimeout, Logger: n.log, Now: time.Now,
		Jitter: rand.Float64, Polled: n.bbbControl.Polled,
	})
	if err != nil {
		return err
	}
	n.cluster.Handle(bbbNewsMethod, n.serveBBBNews)
	gcfg := bbb.DefaultConfig()
	gcfg.Store, gcfg.Client, gcfg.Loads, gcfg.Log = n.store, n.servers, n.bbbLoads, n.log
	gcfg.Recordings, gcfg.Callbacks = n.recordings, n.callbackProxy
	gcfg.CatchUp = n.catchUp
	g, err := bbb.New(gcfg)
	if err != nil {
		return err
	}
	n.proxy.Handle(string(state.CheckBBB), n.withJobs(g))
	return nil
}

// catchUp waits for what the leader has, and not for a leader.
func (n *Node) catchUp(ctx context.Context) error {
	switch n.cluster.Status().LeaderID {
	case "":
		return state.ErrNoLeader
	case n.ID():
		return nil
	}
	return apiReads{n.cluster}.CatchUp(ctx, api.ReadLeader)
}

// bbbVeto is why this node sends nothing new to a server: its own probes have just found it dead.
func (n *Node) bbbVeto(backendID string) string {
	if r, ok := n.proxy.Set().Runtime(backendID); ok && r.Vetoed {
		return r.VetoReason
	}
	return ""
}

// callServer implements [bbbload.Call].
func (n *Node) callServer(ctx context.Context, b *state.BackendSpec, call string, p sign.Params) ([]byte, error) {
	s, err := server.Of(b)
	if err != nil {
		return nil, err
	}
	a, err := n.servers.Call(ctx, s, call, p, nil)
	if err != nil {
		return nil, err
	}
	return a.Doc, nil
}

// checkServer is the health check of BigBlueButton servers: a signed call that succeeds.
func (n *Node) checkServer(ctx context.Context, backendID string) error {
	b, ok := n.store.View().Backend(backendID)
	if !ok {
		return errors.New("there is no such backend any more")
	}
	s, err := server.Of(&b.BackendSpec)
	if err != nil {
		return err
	}
	a, err := n.servers.Call(ctx, s, "getMeetings", nil, nil)
	if err == nil && !a.OK {
		err = fmt.Errorf("getMeetings: %s", a.Key)
	}
	return err
}
