package enginetest

import (
	"fmt"
	"testing"

	"github.com/lbnode/lbnode/state"
)

func testConfigChange(t *testing.T, mk New) {
	a := rawBackend(t, fixed("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na"))
	b := rawBackend(t, fixed("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nb"))
	w := newWorld(t, mk, "", a.addr)
	c := w.dial()
	c.send(get).want(200, "a")
	w.views.Put(state.KindBackend, fmt.Sprintf(`{"id":"b0","address":%q,"pool":"web"}`, b.addr))
	if err := w.p.Update(w.views.View()); err != nil {
		t.Fatal(err)
	}
	c.send(get).want(200, "b")
	w.views.Delete(state.KindBackend, "b0")
	if err := w.p.Update(w.views.View()); err != nil {
		t.Fatal(err)
	}
	c.send(get).want(503, "*")
}
