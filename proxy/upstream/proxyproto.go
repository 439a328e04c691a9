package upstream

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"time"

	"github.com/lbnode/lbnode/state"
)

// proxySignature begins a header of version 2 of the PROXY protocol.
const proxySignature = "\r\n\r\n\x00\r\nQUIT\n"

// AppendProxyHeader appends the header of the PROXY protocol that says who a connection is made for: src is the
// client, dst where it connected to. If either is not known, or they are of different families, the header says
// that the connection speaks for itself.
func AppendProxyHeader(out []byte, v state.ProxyProtocol, src, dst netip.AddrPort) []byte {
	s, d := src.Addr().Unmap(), dst.Addr().Unmap()
	known := s.IsValid() && d.IsValid()
	if known && s.Is4() != d.Is4() { // a dual-stack listener: both can be written as IPv6
		s, d = netip.AddrFrom16(s.As16()), netip.AddrFrom16(d.As16())
	}
	if v == state.ProxyProtocolV1 {
		return appendProxyV1(out, known, netip.AddrPortFrom(s.WithZone(""), src.Port()), netip.AddrPortFrom(d.WithZone(""), dst.Port()))
	}
	out = append(out, proxySignature...)
	switch {
	case !known:
		return append(out, 0x20, 0, 0, 0) // LOCAL
	case s.Is4():
		out = append(out, 0x21, 0x11, 0, 12)
	default:
		out = append(out, 0x21, 0x21, 0, 36)
	}
	for _, a := range [...]netip.Addr{s, d} {
		if s.Is4() {
			b := a.As4()
			out = append(out, b[:]...)
		} else {
			b := a.As16()
			out = append(out, b[:]...)
		}
	}
	out = binary.BigEndian.AppendUint16(out, src.Port())
	return binary.BigEndian.AppendUint16(out, dst.Port())
}

func appendProxyV1(out []byte, known bool, src, dst netip.AddrPort) []byte {
	out = append(out, "PROXY "...)
	switch {
	case !known:
		return append(out, "UNKNOWN\r\n"...)
	case src.Addr().Is4():
		out = append(out, "TCP4 "...)
	default:
		out = append(out, "TCP6 "...)
	}
	out = src.Addr().AppendTo(out)
	out = append(out, ' ')
	out = dst.Addr().AppendTo(out)
	for _, p := range [...]uint16{src.Port(), dst.Port()} {
		out = append(out, ' ')
		out = appendUint(out, p)
	}
	return append(out, "\r\n"...)
}

func appendUint(out []byte, n uint16) []byte {
	if n >= 10 {
		out = appendUint(out, n/10)
	}
	return append(out, byte('0'+n%10))
}

type clientKey struct{}

type clientAddrs struct{ src, dst netip.AddrPort }

// WithClient notes who a request is made for, for endpoints with the PROXY protocol: see [AppendProxyHeader].
func WithClient(ctx context.Context, src, dst netip.AddrPort) context.Context {
	return context.WithValue(ctx, clientKey{}, clientAddrs{src, dst})
}

type dialer = func(ctx context.Context, network, addr string) (net.Conn, error)

// announcing sends the PROXY protocol's header ahead on each connection that dial makes.
func announcing(dial dialer, v state.ProxyProtocol) dialer {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		who, _ := ctx.Value(clientKey{}).(clientAddrs) // none is an unknown client
		_ = c.SetWriteDeadline(time.Now().Add(dialTimeout))
		if _, err := c.Write(AppendProxyHeader(nil, v, who.src, who.dst)); err != nil {
			c.Close()
			return nil, err
		}
		_ = c.SetWriteDeadline(time.Time{})
		return c, nil
	}
}
