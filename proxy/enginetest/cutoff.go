package enginetest

import (
	"net/http"
	"testing"
	"time"

	"github.com/lbnode/lbnode/state"
	"github.com/lbnode/lbnode/stats"
)

// testCutOff breaks off what runs on one backend and leaves the other alone: a request without an answer gets
// one of ours, an answer that has begun is visibly incomplete, a WebSocket ends.
func testCutOff(t *testing.T, mk New) {
	const upgraded = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
	arrived := make(chan struct{}, 8)
	hold := func(first string) func(*conn, int) {
		return func(c *conn, _ int) {
			c.head()
			c.send(first)
			arrived <- struct{}{}
			_, _ = c.rest() // until the engine closes
		}
	}
	silent := rawBackend(t, hold(""))
	begun := rawBackend(t, hold("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0123456789"))
	ws := rawBackend(t, hold(upgraded))
	other := rawBackend(t, hold(""))
	w := newWorld(t, mk, "", silent.addr, begun.addr, ws.addr, other.addr)
	var open []*conn
	for i, what := range []string{get, get, handshake, get} {
		for j := range 4 { // round robin may begin anywhere: leave one backend in use at a time
			weight := `,"weight":0}`
			if i == j {
				weight = "}"
			}
			w.views.Put(state.KindBackend, `{"id":"`+backendID(j)+`","address":"`+[]string{silent.addr, begun.addr, ws.addr, other.addr}[j]+`","pool":"web"`+weight)
		}
		if err := w.p.Update(w.views.View()); err != nil {
			t.Fatal(err)
		}
		open = append(open, w.dial().send(what))
		<-arrived
	}
	if resp, err := http.ReadResponse(open[2].r, nil); err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("handshake = %v, %v", resp, err)
	}
	w.views.Admin(state.AdminStopped, backendID(0), backendID(1), backendID(2))
	if err := w.p.Update(w.views.View()); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		w.e.CutOff(backendID(i))
	}
	open[0].want(http.StatusServiceUnavailable, "*")
	for i := range 3 {
		eventually(t, backendID(i)+" is idle", func() bool { return w.p.Set().InFlight(backendID(i)) == 0 })
	}
	if _, err := open[1].rest(); err == nil {
		t.Log("the answer that had begun ended without an error; its length tells")
	}
	if _, err := open[2].r.ReadByte(); err == nil {
		t.Error("the WebSocket goes on")
	}
	if n := w.p.Set().InFlight(backendID(3)); n != 1 {
		t.Errorf("the other backend has %d requests in flight, want 1", n)
	}
	if n := w.p.Stats().Total().Snapshot().Errors[stats.DrainClosed.String()]; n != 2 {
		t.Errorf("%d requests are counted as closed, want 2", n)
	}
	open[3].Close()
}

func backendID(i int) string { return "b" + string(rune('0'+i)) }

// testFenced lets the lease run out: new requests get 503, what runs goes on, and a new lease heals it.
func testFenced(t *testing.T, mk New) {
	arrived, release := make(chan struct{}), make(chan struct{})
	w := newWorld(t, mk, "", httpBackend(t, func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			close(arrived)
			<-release
		}
		_, _ = rw.Write([]byte("hello"))
	}))
	slow := w.dial().send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
	<-arrived
	c := w.dial()
	w.p.Set().SetLease(time.Now().Add(time.Hour))
	c.send(get).want(http.StatusOK, "hello")
	w.p.Set().SetLease(time.Now())
	c.send(get).want(http.StatusServiceUnavailable, "*")
	close(release)
	slow.want(http.StatusOK, "hello")
	w.p.Set().SetLease(time.Time{})
	c.send(get).want(http.StatusOK, "hello")
}
