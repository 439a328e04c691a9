package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// vip is an address that leads to those of several nodes whose /readyz is 200, as a health-checked virtual
// address does, with clients behind it that know nothing of the nodes. A client keeps its connection, whatever
// becomes of the node's readiness, until an answer says close or the connection ends between two requests; it
// repeats nothing.
type vip struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup
	nodes  []*node
	ready  []atomic.Bool
	passed atomic.Int64

	mu       sync.Mutex
	failures []failure
}

const (
	vipCheck    = 100 * time.Millisecond // between two looks at /readyz
	vipQuick    = 6                      // clients that send again at once
	vipSlow     = 4                      // clients that pause for up to vipPause
	vipPause    = 500 * time.Millisecond
	vipPatience = 10 * time.Second // with one request
)

func startVIP(t *testing.T, nodes []*node) *vip {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	v := &vip{cancel: cancel, nodes: nodes, ready: make([]atomic.Bool, len(nodes))}
	for i, n := range nodes {
		url := "http://" + n.api + "/readyz"
		v.ready[i].Store(true)
		v.wg.Go(func() {
			c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 2 * time.Second}
			for ctx.Err() == nil {
				resp, err := c.Get(url)
				v.ready[i].Store(err == nil && resp.StatusCode == http.StatusOK)
				if err == nil {
					resp.Body.Close()
				}
				pause(ctx, vipCheck)
			}
		})
	}
	for i := range vipQuick + vipSlow {
		v.wg.Go(func() { v.client(ctx, i) })
	}
	t.Cleanup(v.stop)
	return v
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// client sends one request after the other, every other one a POST.
func (v *vip) client(ctx context.Context, number int) {
	var c *vipConn
	defer func() { c.close() }()
	for i := 0; ctx.Err() == nil; i++ {
		if number >= vipQuick {
			pause(ctx, rand.N(vipPause))
		} else {
			pause(ctx, 5*time.Millisecond)
		}
		if c.ended() {
			c.close()
			c = nil
		}
		name := "no node is ready"
		var err error
		if c == nil {
			n := v.pick()
			if n == nil {
				v.fail(name, errors.New("there is nobody to connect to"))
				continue
			}
			name = n.name
			c, err = dialVIP(n)
		} else {
			name = c.node.name
		}
		var stays bool
		if err == nil {
			stays, err = c.exchange(i%2 == 1)
		}
		if err != nil {
			v.fail(name, err)
		} else {
			v.passed.Add(1)
		}
		if err != nil || !stays {
			c.close()
			c = nil
		}
	}
}

// pick is one of the nodes that are ready, nil if none is.
func (v *vip) pick() *node {
	var ready []*node
	for i, n := range v.nodes {
		if v.ready[i].Load() {
			ready = append(ready, n)
		}
	}
	if len(ready) == 0 {
		return nil
	}
	return ready[rand.N(len(ready))]
}

func (v *vip) fail(name string, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.failures) < maxFailures {
		v.failures = append(v.failures, failure{time.Now(), name, err.Error()})
	}
}

func (v *vip) stop() {
	v.cancel()
	v.wg.Wait()
}

// more waits until so many requests more have passed.
func (v *vip) more(t *testing.T, count int64) {
	t.Helper()
	want := v.passed.Load() + count
	eventually(t, 30*time.Second, fmt.Sprintf("%d more requests", count), func() error {
		if got := v.passed.Load(); got < want {
			return fmt.Errorf("%d have passed, want %d", got, want)
		}
		return nil
	})
}

func (v *vip) wantNone(t *testing.T) {
	t.Helper()
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.failures) > 0 {
		t.Errorf("%d requests failed beside %d that passed, want none:\n%s", len(v.failures), v.passed.Load(), (&load{}).show(v.failures))
	}
	t.Logf("%d requests passed", v.passed.Load())
}

// vipConn is a client's connection. Nil is none.
type vipConn struct {
	net.Conn
	node *node
	r    *bufio.Reader
}

func dialVIP(n *node) (*vipConn, error) {
	c, err := net.DialTimeout("tcp", n.proxy, vipPatience)
	if err != nil {
		return nil, err
	}
	return &vipConn{c, n, bufio.NewReader(c)}, nil
}

func (c *vipConn) close() {
	if c != nil {
		c.Close()
	}
}

// ended says that the other side has closed the connection since the last answer.
func (c *vipConn) ended() bool {
	if c == nil {
		return false
	}
	_ = c.SetReadDeadline(time.Now().Add(time.Millisecond))
	_, err := c.r.Peek(1)
	var timeout net.Error
	return err == nil || !errors.As(err, &timeout) || !timeout.Timeout() // bytes that nobody asked for end it too
}

// exchange sends a request and reads its answer. stays says that the connection may be used again.
func (c *vipConn) exchange(post bool) (stays bool, err error) {
	_ = c.SetDeadline(time.Now().Add(vipPatience))
	request := "GET / HTTP/1.1\r\nHost: vip\r\n\r\n"
	if post {
		request = "POST / HTTP/1.1\r\nHost: vip\r\nContent-Length: 5\r\n\r\nhello"
	}
	if _, err := io.WriteString(c, request); err != nil {
		return false, err
	}
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		return false, fmt.Errorf("read the answer: %w", err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return false, fmt.Errorf("read the body: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return false, fmt.Errorf("%d: %s", resp.StatusCode, strings.TrimSpace(string(b)))
	}
	return !resp.Close, nil
}

// One node after the other is restarted, as a package upgrade does, under traffic that comes by a virtual
// address and keeps its connections: not one request fails.
func TestRestart_rollingBehindVIP(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, "--drain-delay", "3s")
	c.serve(2)
	v := startVIP(t, c.nodes)
	v.more(t, 100)
	for _, n := range c.nodes {
		n.term(40 * time.Second)
		v.more(t, 100)
		n.start()
		c.formed(c.nodes...)
		v.more(t, 100)
	}
	v.stop()
	v.wantNone(t)
	c.same()
}

// The same by hand: drain a node by way of another one, stop it, start it, bring it back. It stays drained
// across its restart, and nobody stops it before its clients are gone.
func TestNodeDrain_restart(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	c.serve(2)
	v := startVIP(t, c.nodes)
	v.more(t, 100)
	for i, n := range c.nodes {
		other := c.nodes[(i+1)%3]
		other.must(200, http.MethodPost, "/nodes/"+n.name+"/drain", nil)
		eventually(t, formTime, "nobody uses "+n.name, func() error {
			if l := c.leader(); l == n {
				return errors.New("it leads")
			}
			var st struct {
				Active int `json:"active_connections"`
			}
			if n.read("/stats?scope=node", &st); st.Active > 0 {
				return fmt.Errorf("%d connections are open", st.Active)
			}
			return nil
		})
		n.term(20 * time.Second)
		n.start()
		eventually(t, formTime, n.name+" is back", func() error { _, err := n.status(); return err })
		if err := n.ready(); err == nil {
			t.Errorf("%s is ready after its restart, want it drained", n.name)
		}
		eventually(t, formTime, n.name+" is undrained", func() error {
			a, err := other.call(http.MethodPost, "/nodes/"+n.name+"/undrain", nil)
			if err == nil && a.status != http.StatusOK {
				err = fmt.Errorf("undrain = %s", a)
			}
			return err
		})
		c.formed(c.nodes...)
		v.more(t, 100)
	}
	v.stop()
	v.wantNone(t)
	c.same()
}
