package demo

import (
	"context"
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

// traffic sends a light stream of requests to one node and counts how they end.
type traffic struct {
	url        string
	ok, failed atomic.Uint64
}

func (t *traffic) run(ctx context.Context, every time.Duration) {
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 4}}
	defer client.CloseIdleConnections()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			t.once(ctx, client)
		}
	}
}

func (t *traffic) once(ctx context.Context, client *http.Client) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, t.url, nil)
	if err != nil {
		t.failed.Add(1)
		return
	}
	resp, err := client.Do(req)
	if err != nil {
		if ctx.Err() == nil {
			t.failed.Add(1)
		}
		return
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		t.failed.Add(1)
		return
	}
	t.ok.Add(1)
}
