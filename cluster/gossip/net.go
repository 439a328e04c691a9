package gossip

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

const (
	maxPacket    = 1400 // what memberlist fills; fits usual tunnels
	readBuffer   = 64 << 10
	socketBuffer = 2 << 20
)

// network is memberlist's Transport: packets over one UDP socket, streams
// through the cluster port.
type network struct {
	streams   Streams
	advertise netip.AddrPort
	udp       *net.UDPConn
	listener  net.Listener
	timeout   time.Duration
	pass      func(addr string) bool // nil = all

	packets  chan *memberlist.Packet
	incoming chan net.Conn

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]struct{} // nil once shut down
}

var _ memberlist.NodeAwareTransport = (*network)(nil)

func newNetwork(ctx context.Context, cfg Config) (*network, error) {
	adv, err := resolve(ctx, cfg.Advertise)
	if err != nil {
		return nil, fmt.Errorf("gossip: advertise address %s: %w", cfg.Advertise, err)
	}
	if adv.Addr().IsUnspecified() {
		return nil, fmt.Errorf("gossip: advertise address %s: others cannot send to a wildcard", cfg.Advertise)
	}
	var lc net.ListenConfig
	pc, err := lc.ListenPacket(ctx, "udp", cfg.Addr)
	if err != nil {
		return nil, fmt.Errorf("gossip: bind udp %s: %w", cfg.Addr, err)
	}
	n := &network{
		streams:   cfg.Streams,
		advertise: adv,
		udp:       pc.(*net.UDPConn),
		timeout:   cfg.StreamTimeout,
		pass:      cfg.Pass,
		packets:   make(chan *memberlist.Packet),
		incoming:  make(chan net.Conn),
		conns:     make(map[net.Conn]struct{}),
	}
	_ = n.udp.SetReadBuffer(socketBuffer) // the kernel gives what it allows
	n.listener = cfg.Streams.Listener()
	n.ctx, n.cancel = context.WithCancel(context.Background())
	n.wg.Go(n.readPackets)
	n.wg.Go(n.acceptStreams)
	return n, nil
}

// resolve prefers IPv4, as memberlist carries one address only.
func resolve(ctx context.Context, hostport string) (netip.AddrPort, error) {
	if ap, err := netip.ParseAddrPort(hostport); err == nil {
		return netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port()), nil
	}
	host, service, err := net.SplitHostPort(hostport)
	if err != nil {
		return netip.AddrPort{}, err
	}
	port, err := net.DefaultResolver.LookupPort(ctx, "udp", service)
	if err != nil {
		return netip.AddrPort{}, err
	}
	if host == "" {
		return netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(port)), nil
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return netip.AddrPort{}, err
	}
	if len(ips) == 0 {
		return netip.AddrPort{}, errors.New("no address")
	}
	best := ips[0]
	for _, ip := range ips {
		if ip.Unmap().Is4() {
			best = ip
			break
		}
	}
	return netip.AddrPortFrom(best.Unmap().WithZone(""), uint16(port)), nil
}

// FinalAdvertiseAddr implements memberlist.Transport.
func (n *network) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	return n.advertise.Addr().AsSlice(), int(n.advertise.Port()), nil
}

// WriteTo implements memberlist.Transport.
func (n *network) WriteTo(b []byte, addr string) (time.Time, error) {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return time.Time{}, fmt.Errorf("gossip: packet to %q: %w", addr, err)
	}
	if n.pass != nil && !n.pass(addr) {
		return time.Now(), nil // lost on the way
	}
	_, err = n.udp.WriteToUDPAddrPort(b, netip.AddrPortFrom(to.Addr().Unmap(), to.Port()))
	return time.Now(), err
}

// WriteToAddress implements memberlist.NodeAwareTransport.
func (n *network) WriteToAddress(b []byte, a memberlist.Address) (time.Time, error) {
	return n.WriteTo(b, a.Addr)
}

// PacketCh implements memberlist.Transport.
func (n *network) PacketCh() <-chan *memberlist.Packet { return n.packets }

// StreamCh implements memberlist.Transport.
func (n *network) StreamCh() <-chan net.Conn { return n.incoming }

// DialTimeout implements memberlist.Transport. The connection gets a deadline
// of its own: memberlist sends user messages without one.
func (n *network) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	if timeout <= 0 {
		return nil, context.DeadlineExceeded
	}
	ctx, cancel := context.WithTimeout(n.ctx, timeout)
	defer cancel()
	c, err := n.streams.Dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	_ = c.SetDeadline(time.Now().Add(n.timeout))
	return n.track(c)
}

// DialAddressTimeout implements memberlist.NodeAwareTransport.
func (n *network) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	return n.DialTimeout(a.Addr, timeout)
}

// Shutdown implements memberlist.Transport. It breaks what memberlist is
// reading or writing, so that its goroutines end soon.
func (n *network) Shutdown() error {
	n.cancel()
	n.mu.Lock()
	open := n.conns
	n.conns = nil
	n.mu.Unlock()
	err := errors.Join(n.udp.Close(), n.listener.Close())
	for c := range open {
		_ = c.Close()
	}
	n.wg.Wait()
	return err
}

func (n *network) readPackets() {
	buf := make([]byte, readBuffer)
	for {
		size, from, err := n.udp.ReadFromUDPAddrPort(buf)
		at := time.Now()
		if err != nil {
			// ICMP errors of earlier packets may surface here; they say nothing
			// about the socket.
			if n.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			continue
		}
		if size == 0 {
			continue
		}
		p := &memberlist.Packet{
			Buf:       append([]byte(nil), buf[:size]...), // memberlist keeps it
			From:      net.UDPAddrFromAddrPort(from),
			Timestamp: at,
		}
		select {
		case n.packets <- p:
		case <-n.ctx.Done():
			return
		}
	}
}

func (n *network) acceptStreams() {
	for {
		c, err := n.listener.Accept()
		if err != nil {
			return // the listener was closed, here or together with the port
		}
		t, err := n.track(c)
		if err != nil {
			return
		}
		select {
		case n.incoming <- t:
		case <-n.ctx.Done():
			_ = t.Close()
			return
		}
	}
}

func (n *network) track(c net.Conn) (net.Conn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.conns == nil {
		_ = c.Close()
		return nil, net.ErrClosed
	}
	n.conns[c] = struct{}{}
	return &stream{Conn: c, net: n}, nil
}

type stream struct {
	net.Conn
	net *network
}

// Close implements net.Conn.
func (s *stream) Close() error {
	s.net.mu.Lock()
	delete(s.net.conns, s.Conn)
	s.net.mu.Unlock()
	return s.Conn.Close()
}
