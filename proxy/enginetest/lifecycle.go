package enginetest

import (
	"context"
	"io"
	"net"
	"net/http"
	"testing"
)

func testDrain(t *testing.T, mk New) {
	w := newWorld(t, mk, "", rawBackend(t, fixed(hello)).addr)
	c := w.dial()
	c.send(get).want(200, "hello")
	w.e.Drain()
	if resp := c.send(get).want(200, "hello"); !resp.Close {
		t.Errorf("a draining engine did not say close: %v", resp.Header)
	}
	c.wantEnd()
	w.dial().send(get).want(200, "hello") // still accepting
	w.e.Undrain()
	c = w.dial()
	for range 2 {
		if resp := c.send(get).want(200, "hello"); resp.Close {
			t.Errorf("an engine that drains no more said close: %v", resp.Header)
		}
	}
}

func testShutdown(t *testing.T, mk New) {
	arrived, release := make(chan struct{}), make(chan struct{})
	w := newWorld(t, mk, "", httpBackend(t, func(w http.ResponseWriter, _ *http.Request) {
		close(arrived)
		<-release
		_, _ = io.WriteString(w, "hello")
	}))
	c := w.dial().send(get)
	<-arrived
	done := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		done <- w.e.Shutdown(ctx)
	}()
	eventually(t, "the listener is closed", func() bool {
		x, err := net.Dial("tcp", w.addr)
		if err == nil {
			x.Close()
		}
		return err != nil
	})
	close(release)
	c.want(200, "hello")
	if err := <-done; err != nil {
		t.Errorf("Shutdown() = %v, want nil", err)
	}
}
