package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// failure is one request of a load that got no 2xx.
type failure struct {
	at     time.Time
	node   string
	reason string
}

func (f failure) String() string {
	return fmt.Sprintf("%s %s: %s", f.at.Format("15:04:05.000"), f.node, f.reason)
}

// load is steady traffic through the proxies of several nodes, over kept connections.
type load struct {
	cancel  context.CancelFunc
	wg      sync.WaitGroup
	passed  map[string]*atomic.Int64 // by node
	workers int                      // in all

	mu       sync.Mutex
	failures []failure
}

const (
	loadWorkers  = 2                     // per node
	loadPause    = 10 * time.Millisecond // of one worker between requests
	loadDeadline = 5 * time.Second       // of one request
	maxFailures  = 10_000
)

// startLoad sends GET path through each node until stop.
func startLoad(t testing.TB, path string, nodes ...*node) *load {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{cancel: cancel, passed: map[string]*atomic.Int64{}, workers: loadWorkers * len(nodes)}
	for _, n := range nodes {
		count := new(atomic.Int64)
		l.passed[n.name] = count
		url, name := "http://"+n.proxy+path, n.name
		dial := n.plain.Transport.(*http.Transport).DialContext
		for range loadWorkers {
			l.wg.Go(func() {
				tr := &http.Transport{DialContext: dial, MaxIdleConnsPerHost: 1}
				defer tr.CloseIdleConnections()
				l.work(ctx, &http.Client{Transport: tr, Timeout: loadDeadline}, name, url, count)
			})
		}
	}
	t.Cleanup(l.stop)
	return l
}

func (l *load) work(ctx context.Context, c *http.Client, node, url string, passed *atomic.Int64) {
	tick := time.NewTicker(loadPause)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := once(ctx, c, url); err == nil {
			passed.Add(1)
		} else if ctx.Err() == nil {
			l.mu.Lock()
			if len(l.failures) < maxFailures {
				l.failures = append(l.failures, failure{time.Now(), node, err.Error()})
			}
			l.mu.Unlock()
		}
	}
}

func once(ctx context.Context, c *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := c.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("body of %d: %w", resp.StatusCode, err)
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%d from backend %q: %s", resp.StatusCode, resp.Header.Get(backendHeader), strings.TrimSpace(string(b)))
	}
	return nil
}

// stop ends the traffic and waits for it.
func (l *load) stop() {
	l.cancel()
	l.wg.Wait()
}

// more waits until each of the nodes has answered that many requests more.
func (l *load) more(t testing.TB, count int64, nodes ...*node) {
	t.Helper()
	want := map[string]int64{}
	for _, n := range nodes {
		want[n.name] = l.passed[n.name].Load() + count
	}
	eventually(t, 30*time.Second, fmt.Sprintf("%d more requests through each proxy", count), func() error {
		for name, w := range want {
			if got := l.passed[name].Load(); got < w {
				return fmt.Errorf("%s has answered %d, want %d; failures:\n%s", name, got, w, l.show(l.since(time.Time{}, nodes...)))
			}
		}
		return nil
	})
}

// since returns the failures on the nodes after a moment.
func (l *load) since(at time.Time, nodes ...*node) []failure {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []failure
	for _, f := range l.failures {
		for _, n := range nodes {
			if n.name == f.node && f.at.After(at) {
				out = append(out, f)
			}
		}
	}
	return out
}

// show lists the first failures, one a line.
func (l *load) show(fs []failure) string {
	var b strings.Builder
	for i, f := range fs {
		if i == 8 {
			fmt.Fprintf(&b, "  … and %d more\n", len(fs)-i)
			break
		}
		fmt.Fprintf(&b, "  %s\n", f)
	}
	return b.String()
}

// wantAtMost fails the test if more requests than that failed on the nodes since a moment.
func (l *load) wantAtMost(t testing.TB, most int, at time.Time, nodes ...*node) {
	t.Helper()
	var passed int64
	for _, n := range nodes {
		passed += l.passed[n.name].Load()
	}
	if fs := l.since(at, nodes...); len(fs) > most {
		t.Errorf("%d requests failed beside %d that passed, want at most %d:\n%s", len(fs), passed, most, l.show(fs))
	}
}
