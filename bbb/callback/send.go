package callback

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/lbnode/lbnode/state"
)

// Bounds of one attempt.
const (
	sendTimeout  = 15 * time.Second
	maxRedirects = 3
	maxAnswer    = 4 << 10 // bytes that are read, so that the connection can be used again
	bearerFor    = time.Hour
)

// errForbidden says that a receiver has an address that callbacks must not go to.
var errForbidden = errors.New("the receiver's address is not public; --callback-networks can allow it")

// NewTransport makes connections to public addresses and to the networks given. The address is checked after the name
// was resolved, at each connection.
func NewTransport(allowed []netip.Prefix) *http.Transport {
	d := net.Dialer{Timeout: 5 * time.Second, Control: func(_, address string, _ syscall.RawConn) error {
		ap, err := netip.ParseAddrPort(address)
		if err != nil || !reachable(ap.Addr(), allowed) {
			return errForbidden
		}
		return nil
	}}
	return &http.Transport{
		DialContext: d.DialContext, TLSHandshakeTimeout: 5 * time.Second, ForceAttemptHTTP2: true, ResponseHeaderTimeout: sendTimeout,
		MaxIdleConnsPerHost: 2, IdleConnTimeout: 30 * time.Second, MaxResponseHeaderBytes: 32 << 10,
	}
}

// reachable says whether callbacks may go to an address.
func reachable(a netip.Addr, allowed []netip.Prefix) bool {
	a = a.Unmap().WithZone("")
	for _, p := range allowed {
		if p.Contains(a) {
			return true
		}
	}
	shared := netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64, 0, 0}), 10)        // RFC 6598
	nat64 := netip.PrefixFrom(netip.AddrFrom16([16]byte{0, 0x64, 0xff, 0x9b}), 96) // RFC 6052: any IPv4 address
	return a.IsGlobalUnicast() && !a.IsPrivate() && !shared.Contains(a) && !nat64.Contains(a)
}

// newClient follows a few redirects of calls that stay what they are.
func newClient(t http.RoundTripper) *http.Client {
	return &http.Client{Transport: t, Timeout: sendTimeout, CheckRedirect: func(req *http.Request, via []*http.Request) error {
		if len(via) > maxRedirects || !webURL(req.URL) || req.Method != via[0].Method {
			return http.ErrUseLastResponse
		}
		return nil
	}}
}

// attempt sends a callback once, signed with a secret, and returns the status of the answer; 0 = none came.
func attempt(ctx context.Context, client *http.Client, c *state.Callback, secret string, now time.Time) (int, error) {
	req, err := request(ctx, c, secret, now)
	if err != nil {
		return 0, err
	}
	resp, err := client.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err // the URL is in the callback
		}
		return 0, err
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxAnswer))
	if Decide(resp.StatusCode) == Delivered {
		return resp.StatusCode, nil
	}
	return resp.StatusCode, fmt.Errorf("the receiver answers %d", resp.StatusCode)
}

func request(ctx context.Context, c *state.Callback, secret string, now time.Time) (*http.Request, error) {
	target, body := c.URL, c.Body
	switch c.Auth {
	case state.AuthSigned:
		body = url.Values{"signed_parameters": {makeJWT(hs256, []byte(c.Body), secret)}}.Encode()
	case state.AuthHook:
		u, err := url.Parse(c.URL)
		if err != nil {
			return nil, err
		}
		q := u.Query()
		q.Set("checksum", hookChecksum(c.URL, c.Body, secret))
		u.RawQuery = q.Encode()
		target = u.String()
	case state.AuthNone, state.AuthBearer:
	}
	req, err := http.NewRequestWithContext(ctx, c.Method, target, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	if c.ContentType != "" {
		req.Header.Set("Content-Type", c.ContentType)
	}
	req.Header.Set("User-Agent", "lbnode-callback")
	req.Header.Set("X-Lbnode-Callback", c.ID) // the same for a repeat
	if c.Auth == state.AuthBearer {
		claims, err := json.Marshal(map[string]int64{"exp": now.Add(bearerFor).Unix()})
		if err != nil {
			return nil, err
		}
		req.Header.Set("Authorization", "Bearer "+makeJWT(hs512, claims, secret))
	}
	return req, nil
}
