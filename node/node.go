package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/lbnode/lbnode/bbb/callback"
	"github.com/lbnode/lbnode/bbb/control"
	bbbload "github.com/lbnode/lbnode/bbb/load"
	"github.com/lbnode/lbnode/bbb/recording"
	"github.com/lbnode/lbnode/bbb/server"
	"github.com/lbnode/lbnode/cluster"
	"github.com/lbnode/lbnode/cluster/gossip"
	"github.com/lbnode/lbnode/cluster/transport"
	"github.com/lbnode/lbnode/fsm"
	"github.com/lbnode/lbnode/health"
	"github.com/lbnode/lbnode/httpapi"
	"github.com/lbnode/lbnode/internal/config"
	"github.com/lbnode/lbnode/internal/reload"
	"github.com/lbnode/lbnode/internal/telemetry"
	"github.com/lbnode/lbnode/proxy"
	"github.com/lbnode/lbnode/proxy/accesslog"
	"github.com/lbnode/lbnode/proxy/portable"
	"github.com/lbnode/lbnode/state"
	"github.com/lbnode/lbnode/stats"
	"github.com/lbnode/lbnode/tlsstore"
)

// Options are what a process adds to an operator's settings.
type Options struct {
	Version string
	Logger  *slog.Logger
	Timing  cluster.Timing // zero = the defaults
	Stdout  io.Writer      // of --access-log stdout; nil = the process's
}

// Node is one assembled process. New makes it, Run runs it once.
type Node struct {
	cfg  config.Config
	opts Options
	log  *slog.Logger

	fsm      *fsm.FSM
	store    *fsm.Store
	cluster  *cluster.Node
	requests *stats.Registry
	proxy    *proxy.Proxy
	engine   proxy.Engine
	health   *health.Health
	admin    *httpapi.Server
	backups  *backups
	api      *http.Server
	apiAddr  net.Listener

	accessLog *accesslog.Log // nil = none

	files   []*reload.Files
	reloads chan struct{}
	token   atomic.Pointer[string] // of --api-token-file
	certs   *tlsstore.Store

	b3Secret atomic.Pointer[[]byte] // of --b3scale-jwt-secret-file
	rekeyed  rekeyed
	guards   guardMetrics
	apiTLS   *tls.Config // nil = the API speaks clear text

	stopping atomic.Bool   // the process ends
	drained  atomic.Bool   // by an operator
	drainMu  sync.Mutex    // one change of these two at a time
	leave    chan struct{} // cap 1; the node is to leave for good

	marksFile marksFile
	marksMu   sync.Mutex
	marks     marks
	fence     *fence
	deadlines *deadlines
	loads     *loads

	callbacks     *callback.Sender
	servers       *server.Client
	bbbLoads      *bbbload.Table
	bbbPoller     *bbbload.Poller
	bbbControl    *control.Control
	callbackProxy *callback.Proxy
	recordings    *recording.Service

	fatal   chan error // the first reason to end the process
	cleanup stack
	loops   sync.WaitGroup
}

// stack holds what New has opened, to be closed in reverse order.
type stack struct{ closers []func() error }

func (s *stack) push(f func() error) { s.closers = append(s.closers, f) }

func (s *stack) close() error {
	var errs []error
	for i := len(s.closers) - 1; i >= 0; i-- {
		errs = append(errs, s.closers[i]())
	}
	s.closers = nil
	return errors.Join(errs...)
}

// New builds a node and opens its listeners. It reads the data dir, refusing one that is damaged or
// belongs to somebody else, and starts nothing. On error everything is closed again.
func New(cfg config.Config, opts Options) (_ *Node, err error) {
	n := &Node{cfg: cfg, opts: opts, log: opts.Logger, fatal: make(chan error, 1), reloads: make(chan struct{}, 1), leave: make(chan struct{}, 1), rekeyed: newRekeyed()}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.cleanup.close())
		}
	}()
	for _, build := range []func() error{n.buildState, n.buildAccess, n.buildAPITLS, n.listenAPI, n.buildCluster, n.buildProxy, n.buildServers, n.buildHealth, n.buildCallbacks, n.buildRecordings, n.buildGateway, n.buildAPI} {
		if err := build(); err != nil {
			return nil, err
		}
	}
	return n, nil
}

func (n *Node) fail(err error) {
	select {
	case n.fatal <- err:
	default: // an earlier reason is being acted on
	}
}

func (n *Node) buildState() error {
	view, err := fsm.ViewFile{Path: n.cfg.ViewFile()}.Load()
	if err != nil {
		return err
	}
	n.fsm = fsm.NewFSM(fsm.Config{Fatal: n.fail, Logger: n.log})
	n.fsm.Seed(view)
	n.marksFile = marksFile{n.cfg.MarksFile()}
	if n.marks, err = n.marksFile.load(); err != nil {
		return err
	}
	n.drained.Store(n.marks.Drained)
	n.fence, n.deadlines = newFence(n), newDeadlines(n.endDrain)
	return nil
}

func (n *Node) buildProxy() (err error) {
	if n.requests, err = stats.New(stats.DefaultConfig()); err != nil {
		return err
	}
	pcfg := proxy.DefaultConfig()
	pcfg.NodeID, pcfg.Logger, pcfg.Stats = n.ID(), n.log, n.requests
	pcfg.Observer, pcfg.TrustedProxies = passive{n}, n.cfg.TrustedProxies
	if pcfg.AccessLog, err = n.buildAccessLog(); err != nil {
		return err
	}
	pcfg.BodyTimeout, pcfg.BodyRate = n.cfg.Limits.Body, n.cfg.Limits.BodyRate
	pcfg.Upstream.StickyKeys = n.stickySecrets()
	if err := n.buildCertificates(); err != nil {
		return err
	}
	pcfg.Upstream.ClientCertificate = n.certs.ByID
	if n.proxy, err = proxy.New(pcfg); err != nil {
		return err
	}
	n.cleanup.push(func() error { n.proxy.Close(); return nil })
	n.cluster.Handle(drainMethod, n.serveDrain)
	n.cluster.Handle(explainMethod, n.serveExplain)
	n.loads = newLoads(n)
	n.cluster.Handle(loadMethod, n.loads.serve)
	ecfg := portable.Config{
		Proxy: n.proxy, Addrs: n.cfg.ProxyAddrs, TLSAddrs: n.cfg.ProxyTLSAddrs, Limits: limitsOf(n.cfg.Limits), Logger: n.log,
		ProxyFrom: n.cfg.ProxyProtocol,
	}
	ecfg.TLS = n.certs.Server()
	engine, err := newEngine(n.cfg.Engine, ecfg)
	if err != nil {
		return err
	}
	n.engine = engine
	n.cleanup.push(func() error {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := engine.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
		return nil // requests were cut off; drain has said so, and that is how an operator bounded it
	})
	n.fence.start(n.fsm.View())
	return n.proxy.Update(n.fsm.View())
}

func (n *Node) listenAPI() (err error) {
	if n.apiAddr, err = net.Listen("tcp", n.cfg.APIAddr); err != nil {
		return fmt.Errorf("--api-addr: %w", err)
	}
	n.cleanup.push(func() error { return ignoreClosed(n.apiAddr.Close()) })
	return nil
}

func (n *Node) buildCluster() error {
	keys, err := readKeys(n.cfg.ClusterKeyFile)
	if err != nil {
		return err
	}
	n.cluster, err = cluster.New(cluster.Config{
		NodeID: n.cfg.Name, DataDir: n.cfg.DataDir, Addr: n.cfg.ClusterAddr, Advertise: n.cfg.AdvertiseAddr,
		Join: n.cfg.Join, BootstrapExpect: n.cfg.BootstrapExpect, NonVoter: n.cfg.NonVoter,
		Keys: keys, Meta: n.meta(), FSM: n.fsm, InitCommand: initCommand, Logger: n.log, Timing: n.opts.Timing,
		Reserve: n.cfg.DiskReserve, Essential: essential, Requires: state.Requires, Sealed: n.sealedWith,
	})
	if err != nil {
		return err
	}
	n.cleanup.push(func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		return n.cluster.Stop(ctx)
	})
	n.store = fsm.NewStore(n.fsm, proposer{n.cluster}, time.Now)
	n.cluster.Handle(statsMethod, n.serveStats)
	n.cluster.Handle(nodeOrderMethod, n.serveOrder)
	n.cluster.Handle(confirmMethod, n.fence.serveConfirm)
	n.cluster.Handle(fencedMethod, n.fence.serveFenced)
	n.fence.promises.broadcast = n.cluster.AddState("fence", n.fence.promises)
	return nil
}

// readKeys reads the cluster key file; no file means the open key of a lab on loopback.
func readKeys(path string) ([]transport.Key, error) {
	if path == "" {
		return nil, nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("--cluster-key-file: %w", err)
	}
	keys, err := transport.ParseKeys(b)
	if err != nil {
		return nil, fmt.Errorf("--cluster-key-file %s: %w", path, err)
	}
	return keys, nil
}

// initCommand is the first entry of a new cluster's log.
func initCommand(clusterID string) []byte {
	b, err := state.Encode(state.Command{Type: state.TypeInit, ClusterID: clusterID, Actor: "lbnode", At: time.Now().UTC()})
	if err != nil { // a command without operations always encodes
		panic(err)
	}
	return b
}

// essential says of an encoded command that the nodes themselves need it, also while a disk is full.
func essential(cmd []byte) bool {
	t := state.TypeOf(cmd)
	return t == state.TypeInit || t == state.TypeStates || t == state.TypeReseal
}

func (n *Node) meta() gossip.Meta {
	return gossip.Meta{
		API: n.apiURL(), Proxy: n.proxyAddr(), Version: n.opts.Version,
		Proto: [2]uint8{1, state.CommandProtocol}, Voter: !n.cfg.NonVoter, Draining: n.draining(),
	}
}

// proxyAddr is what the others show as this node's proxy: where it is bound, or, before that, is going to be.
func (n *Node) proxyAddr() string {
	if n.engine != nil {
		for _, a := range append(n.engine.Addrs(), n.engine.TLSAddrs()...) {
			return n.reachable(a.String())
		}
	}
	return n.reachable(append(n.cfg.ProxyAddrs, n.cfg.ProxyTLSAddrs...)[0])
}

// reachable puts the host that the other nodes dial in the place of a wildcard, which says nothing to
// somebody on another host.
func (n *Node) reachable(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	ip, _ := netip.ParseAddr(host)
	if err != nil || host != "" && !ip.IsUnspecified() {
		return addr
	}
	cluster := n.cfg.AdvertiseAddr
	if n.cluster != nil {
		cluster = n.cluster.Advertise()
	}
	if host, _, err = net.SplitHostPort(cluster); err != nil || host == "" {
		return addr
	}
	return net.JoinHostPort(host, port)
}

func (n *Node) buildHealth() (err error) {
	cfg := health.DefaultConfig()
	cfg.NodeID, cfg.Version, cfg.Logger = n.ID(), n.opts.Version, n.log
	cfg.Voter, cfg.Score = n.votes, n.cluster.HealthScore
	cfg.Committer, cfg.Electorate, cfg.Overlay = n.store, electorate{n.cluster}, n.proxy.Set()
	cfg.ClientCertificate, cfg.BBB = n.certs.ByID, n.checkServer
	cfg.InFlight, cfg.Applied = n.proxy.Set().InFlight, n.proxy.Set().Applied
	if n.health, err = health.New(cfg); err != nil {
		return err
	}
	n.cleanup.push(n.health.Close)
	table := n.health.Table()
	table.SetBroadcast(n.cluster.AddState("health", table))
	return nil
}

func (n *Node) votes() bool {
	id := n.ID()
	for _, v := range n.cluster.Voters() {
		if v == id {
			return true
		}
	}
	return false
}

func (n *Node) buildAPI() error {
	reg, err := telemetry.NewRegistry(n.requests, n.opts.Version)
	if err != nil {
		return err
	}
	if err := telemetry.ExportLibraries(reg); err != nil {
		return err
	}
	if n.accessLog != nil {
		if err := telemetry.ExportAccessLog(reg, n.accessLog.Counters); err != nil {
			return err
		}
	}
	if err := reg.Register(newPoolMetrics(n.proxy.Set())); err != nil {
		return err
	}
	n.guards = newGuardMetrics(n.cluster.Disk)
	if err := reg.Register(n.guards); err != nil {
		return err
	}
	n.backups = newBackups(n, n.cfg)
	for _, c := range []prometheus.Collector{n.backups.success, n.backups.failures} {
		if err := reg.Register(c); err != nil {
			return err
		}
	}
	cfg := httpapi.DefaultConfig()
	cfg.NodeID, cfg.Version, cfg.Logger = n.ID(), n.opts.Version, n.log
	cfg.Store, cfg.Cluster, cfg.Stats, cfg.Runtime, cfg.Ready = apiStore{n.store, n.cluster, new(atomic.Bool)}, apiCluster{n.cluster}, apiStats{n}, apiRuntime{n}, n.ready
	cfg.Explain = apiExplain{n}
	cfg.Loads, cfg.Callbacks, cfg.Meetings = n.loads, apiCallbacks{n}, apiMeetings{n}
	cfg.Drain, cfg.Reads, cfg.Keys = apiDrain{n}, apiReads{n.cluster}, apiKeys{n}
	cfg.Access = n.access(cfg.Access)
	cfg.Backups = n.backups
	cfg.Nodes = apiNodes{n}
	cfg.Metrics = promhttp.HandlerFor(reg, promhttp.HandlerOpts{})
	if n.admin, err = httpapi.New(cfg); err != nil {
		return err
	}
	handler, err := n.buildB3API(cfg.Access)
	if err != nil {
		return err
	}
	n.api = &http.Server{
		Handler: handler, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(n.log.With("part", "api").Handler(), slog.LevelDebug),
	}
	return nil
}

// ID is this node's name, as kept in its data dir.
func (n *Node) ID() string { return n.cluster.ID() }

// APIAddr is where the admin API listens.
func (n *Node) APIAddr() net.Addr { return n.apiAddr.Addr() }

// ProxyAddrs is where HTTP traffic comes in.
func (n *Node) ProxyAddrs() []net.Addr { return n.engine.Addrs() }

// ClusterAddr is what the other nodes dial.
func (n *Node) ClusterAddr() string { return n.cluster.Advertise() }

// Store is the replicated state, for callers in the same process.
func (n *Node) Store() *fsm.Store { return n.store }

// ready says whether this node should get traffic. A node without leader or quorum is ready: it serves
// from what it knows. One that has never had a state is not: it would answer 404 to everything.
func (n *Node) ready() (bool, []string) {
	var why []string
	switch {
	case n.stopping.Load():
		why = append(why, "the node is draining: it stops")
	case n.drained.Load():
		why = append(why, "the node is draining: an operator has taken it out of use")
	}
	if text := n.fence.text(); text != "" {
		why = append(why, text)
	}
	if n.fsm.View().ClusterID == "" {
		why = append(why, "the node has not joined a cluster yet")
	}
	return len(why) == 0, why
}

// Run serves until ctx ends, and then drains and stops; or until the node must not go on, whose reason it
// returns. It may be called once.
func (n *Node) Run(ctx context.Context) error {
	live, stopLoops := context.WithCancel(context.Background())
	defer stopLoops()
	if err := n.start(live); err != nil {
		stopLoops()
		n.loops.Wait()
		return errors.Join(err, n.cleanup.close())
	}
	var failure error
	select {
	case <-ctx.Done():
		n.drain()
	case <-n.leave:
		n.drain()
		failure = n.leaveCluster()
	case failure = <-n.fatal:
	case failure = <-n.cluster.Failed():
	}
	stopLoops()
	if failure != nil {
		n.abandon()
		return failure
	}
	n.loops.Wait()
	return n.cleanup.close()
}

// abandonWithin bounds the end of a node that has failed. Whoever hangs by then may hang for ever, as on a disk
// that does not answer, and the process ends without it.
const abandonWithin = 5 * time.Second

// abandon closes what it can, in bounded time.
func (n *Node) abandon() {
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = n.api.Close() // its loop ends by that only
		n.loops.Wait()
		if err := n.cleanup.close(); err != nil {
			n.log.Debug("close after a failure", "error", err)
		}
	}()
	t := time.NewTimer(abandonWithin)
	defer t.Stop()
	select {
	case <-done:
	case <-t.C:
		n.log.Warn("ending without waiting any longer for what is still open")
	}
}

func (n *Node) start(ctx context.Context) error {
	if err := n.engine.Start(); err != nil {
		return err
	}
	if n.drained.Load() {
		n.engine.Drain()
	}
	if err := n.cluster.SetMeta(n.meta()); err != nil {
		return err
	}
	n.loops.Go(func() {
		if err := n.serveAPI(); !errors.Is(err, http.ErrServerClosed) {
			n.fail(fmt.Errorf("admin API: %w", err))
		}
	})
	n.cleanup.push(func() error { return n.api.Close() })
	n.health.Start()
	n.startLoops(ctx)
	if err := n.cluster.Start(ctx); err != nil {
		n.api.Close()
		return err
	}
	n.log.Info("node is up", "node", n.ID(), "version", n.opts.Version, "proxy", join(n.engine.Addrs()), "proxy_tls", join(n.engine.TLSAddrs()),
		"api", n.apiAddr.Addr().String(), "cluster", n.ClusterAddr())
	return nil
}

// drain stops taking traffic in the order that loses none: stop being ready and say close on connections, hand
// over leadership, and only then close the door, since not everybody notices at once.
func (n *Node) drain() {
	n.log.Info("draining", "node", n.ID(), "timeout", n.cfg.DrainTimeout)
	n.drainMu.Lock()
	told := n.drained.Load() // by an operator: clients have gone elsewhere
	n.stopping.Store(true)
	n.drainMu.Unlock()
	begun := time.Now()
	if err := n.cluster.SetMeta(n.meta()); err != nil {
		n.log.Debug("could not tell the others", "error", err)
	}
	n.engine.Drain()
	ctx, cancel := context.WithTimeout(context.Background(), n.cfg.DrainTimeout)
	defer cancel()
	n.endStreams(ctx)
	if n.cluster.IsLeader() && len(n.cluster.Voters()) > 1 {
		if err := n.cluster.Transfer(ctx, ""); err != nil {
			n.log.Warn("leadership was not handed over; the others will elect a leader", "error", err)
		}
	}
	if !told {
		<-time.After(n.cfg.DrainDelay - time.Since(begun))
	}
	ctx, cancel = context.WithTimeout(context.Background(), n.cfg.DrainTimeout)
	defer cancel()
	if err := n.engine.Shutdown(ctx); err != nil {
		n.log.Warn("requests were cut off at the end of the drain timeout", "error", err)
	}
	n.api.Close()
}

// endStreams sends those who watch to another node.
func (n *Node) endStreams(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	n.admin.EndStreams(ctx)
}

func join(addrs []net.Addr) string {
	s := make([]string, len(addrs))
	for i, a := range addrs {
		s[i] = a.String()
	}
	return strings.Join(s, ",")
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
