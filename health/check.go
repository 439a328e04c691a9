package health

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/lbnode/lbnode/state"
)

const (
	maxAnswer = 64 << 10 // bytes read of an answer, head and body together
	maxBody   = 16 << 10 // bytes of the body read before the connection is closed
	// bodyWait is how long a probe reads on once the head has decided it. Reading the rest of a short body
	// spares the backend a broken pipe in its log; an endless one must not hold the probe.
	bodyWait = 50 * time.Millisecond
	// maxInterim bounds 1xx answers before the real one.
	maxInterim = 8
)

// outcome is what one probe found.
type outcome struct {
	ok      bool
	reason  string        // why not ok
	latency time.Duration // until the answer's head, or the connection for TCP
}

// check probes one backend. It opens a connection of its own and leaves none behind; it must obey ctx.
type check interface {
	probe(ctx context.Context) outcome
}

// newCheck builds the check of a backend; nil if its pool wants none. A setting that cannot work gives a
// check that fails and says why.
func newCheck(b *state.Backend, p *state.Pool, version string) check {
	if p.Health.Type == state.CheckNone {
		return nil
	}
	addr, err := state.ParseAddress(b.Address)
	if err != nil {
		return broken("address " + err.Error())
	}
	timeout := policyOf(p.Health).timeout
	if p.Health.Type == state.CheckTCP {
		return &tcpCheck{addr: addr.HostPort(), timeout: timeout}
	}
	if p.Health.Type == state.CheckGRPC {
		c, err := newGRPCCheck(addr, &p.PoolSpec, version)
		if err != nil {
			return broken(err.Error())
		}
		c.timeout = timeout
		return c
	}
	c, err := newHTTPCheck(addr, &p.PoolSpec, version)
	if err != nil {
		return broken(err.Error())
	}
	c.timeout = timeout
	return c
}

// broken is a check that cannot be made.
type broken string

func (b broken) probe(context.Context) outcome { return outcome{reason: clip(string(b))} }

// tcpCheck passes when a connection can be opened.
type tcpCheck struct {
	addr    string
	timeout time.Duration
}

func (c *tcpCheck) probe(ctx context.Context) outcome {
	begin := time.Now()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", c.addr)
	o := outcome{ok: err == nil, latency: time.Since(begin)}
	if err != nil {
		o.reason = reasonOf(err, c.timeout)
		return o
	}
	_ = conn.Close()
	return o
}

// httpCheck passes when the answer's status is one of the pool's. Redirects are answers like any other.
type httpCheck struct {
	url      *url.URL
	host     string // Host header
	method   string
	agent    string
	addr     string // what to dial
	statuses []state.StatusRange
	tls      *tls.Config // nil = clear text
	http2    bool        // HTTP/2 is possible: TLS with ALPN, or clear text with prior knowledge
	http1    bool
	timeout  time.Duration
	proxy    string // header of the PROXY protocol that comes first; "" = none
}

// The headers of the PROXY protocol that say that a connection speaks for itself.
const (
	proxyUnknown = "PROXY UNKNOWN\r\n"
	proxyLocal   = "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"
)

// dial connects, and says what a backend that speaks the PROXY protocol waits for.
func (c *httpCheck) dial(ctx context.Context) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", c.addr)
	if err != nil || c.proxy == "" {
		return conn, err
	}
	if _, err := io.WriteString(conn, c.proxy); err != nil { // fits into any socket buffer
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

// newHTTPCheck reads the pool's settings. The path counts from the root of the server, with one exception:
// `/`, the default, means the root of what the backend serves, which is its base path if it has one. So
// https://bbb.example.org/bigbluebutton/api/ is by default probed at /bigbluebutton/api/, where a dead
// application behind a live web server shows, and any other path is taken as the operator wrote it.
func newHTTPCheck(addr state.Address, p *state.PoolSpec, version string) (*httpCheck, error) {
	h := p.Health
	path := h.Path
	if path == "/" || path == "" {
		path = addr.Base + "/"
	}
	u, err := url.ParseRequestURI(path)
	if err != nil {
		return nil, fmt.Errorf("health path is not valid: %q", path)
	}
	u.Scheme, u.Host = addr.Scheme, addr.HostPort()
	statuses, err := state.ParseStatuses(h.Statuses)
	if err != nil {
		return nil, fmt.Errorf("health statuses %w", err)
	}
	c := &httpCheck{
		url: u, host: h.Host, method: h.Method, addr: addr.HostPort(), statuses: statuses,
		agent: "lbnode-health/" + version,
	}
	switch p.ProxyProtocol {
	case state.ProxyProtocolV1:
		c.proxy = proxyUnknown
	case state.ProxyProtocolV2:
		c.proxy = proxyLocal
	case state.ProxyProtocolNone:
	}
	if c.method == "" {
		c.method = http.MethodGet
	}
	if c.host == "" {
		c.host = hostHeader(addr)
	}
	secure := addr.Scheme == "https"
	switch {
	case secure:
		c.http1 = p.Protocol == state.ProtocolHTTP1 || p.Protocol == state.ProtocolAuto || p.Protocol == ""
		c.http2 = p.Protocol != state.ProtocolHTTP1
		if c.tls, err = tlsConfig(addr, p); err != nil {
			return nil, err
		}
	default:
		c.http2 = p.Protocol == state.ProtocolH2C
		c.http1 = !c.http2
	}
	return c, nil
}

// hostHeader is the authority of an address, without the scheme's own port (RFC 9110 §4.2.3).
func hostHeader(a state.Address) string {
	if a.Scheme == "http" && a.Port == 80 || a.Scheme == "https" && a.Port == 443 {
		if ip := net.ParseIP(a.Host); ip != nil && ip.To4() == nil {
			return "[" + a.Host + "]"
		}
		return a.Host
	}
	return a.HostPort()
}

// tlsConfig verifies as the proxy does, for the health check's host if it has one.
func tlsConfig(addr state.Address, p *state.PoolSpec) (*tls.Config, error) {
	c := &tls.Config{ServerName: addr.Host, InsecureSkipVerify: p.TLS.SkipVerify}
	switch {
	case p.Health.Host != "":
		c.ServerName = p.Health.Host
	case p.TLS.ServerName != "":
		c.ServerName = p.TLS.ServerName
	}
	if p.TLS.CA != "" {
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM([]byte(p.TLS.CA)) {
			return nil, fmt.Errorf("the pool's CA holds no usable certificate")
		}
	}
	return c, nil
}

func (c *httpCheck) probe(ctx context.Context) outcome {
	begin := time.Now()
	var (
		status int
		err    error
	)
	if c.http2 {
		status, err = c.byTransport(ctx)
	} else {
		status, err = c.byHand(ctx)
	}
	o := outcome{latency: time.Since(begin)}
	if err != nil {
		o.reason = reasonOf(err, c.timeout)
		return o
	}
	o.ok = slices.ContainsFunc(c.statuses, func(r state.StatusRange) bool { return r.Lo <= status && status <= r.Hi })
	if !o.ok {
		o.reason = fmt.Sprintf("status %d", status)
	}
	return o
}

func (c *httpCheck) request(ctx context.Context) *http.Request {
	r := &http.Request{
		Method: c.method, URL: c.url, Host: c.host, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Close: true,
		Header: http.Header{"User-Agent": {c.agent}, "Accept": {"*/*"}},
	}
	return r.WithContext(ctx)
}

// byHand speaks HTTP/1.1 on a connection of its own in the caller's goroutine: with thousands of backends
// the goroutines, timers and pools of an http.Transport would be most of the cost of a probe.
func (c *httpCheck) byHand(ctx context.Context) (int, error) {
	conn, err := c.dial(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if c.tls != nil {
		t := tls.Client(conn, c.tls)
		if err := t.HandshakeContext(ctx); err != nil {
			return 0, err
		}
		conn = t
	}
	req := c.request(ctx)
	if err := req.Write(conn); err != nil {
		return 0, err
	}
	r := bufio.NewReader(io.LimitReader(conn, maxAnswer))
	for range maxInterim {
		resp, err := http.ReadResponse(r, req) //nolint:bodyclose // the connection is closed, and the body with it
		if err != nil {
			return 0, err
		}
		if resp.StatusCode < 200 && resp.StatusCode != http.StatusSwitchingProtocols {
			continue
		}
		if dl, ok := ctx.Deadline(); !ok || time.Until(dl) > bodyWait {
			_ = conn.SetReadDeadline(time.Now().Add(bodyWait))
		}
		_, _ = io.CopyN(io.Discard, resp.Body, maxBody)
		return resp.StatusCode, nil
	}
	return 0, fmt.Errorf("more than %d interim answers", maxInterim)
}

// byTransport is for servers that may or must be spoken to in HTTP/2. The transport lives for one probe.
func (c *httpCheck) byTransport(ctx context.Context) (int, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	protocols := &http.Protocols{}
	protocols.SetHTTP1(c.http1)
	protocols.SetHTTP2(c.tls != nil)
	protocols.SetUnencryptedHTTP2(c.tls == nil)
	tr := &http.Transport{
		Protocols: protocols, TLSClientConfig: c.tls.Clone(), DisableKeepAlives: true, DisableCompression: true,
		MaxResponseHeaderBytes: maxAnswer,
		// The transport detaches its dial from the request; a probe must leave nothing running.
		DialContext: func(context.Context, string, string) (net.Conn, error) { return c.dial(ctx) },
	}
	defer tr.CloseIdleConnections()
	resp, err := tr.RoundTrip(c.request(ctx))
	if err != nil {
		return 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	stop := time.AfterFunc(bodyWait, cancel)
	defer stop.Stop()
	_, _ = io.CopyN(io.Discard, resp.Body, maxBody)
	return resp.StatusCode, nil
}
