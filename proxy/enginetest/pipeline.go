package enginetest

import (
	"fmt"
	"net/http"
	"testing"
	"time"
)

// testPipelineBody has the body of the second request come in while the first one is still being answered:
// what the engine did not read then, it must read afterwards, although no event tells of it any more.
func testPipelineBody(t *testing.T, mk New) {
	arrived, release := make(chan struct{}, 1), make(chan struct{})
	w := newWorld(t, mk, "", httpBackend(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/first" {
			arrived <- struct{}{}
			<-release
		}
		echo(w, r)
	}))
	const body = "0123456789"
	post := func(path string) string {
		return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", path, len(body))
	}
	c := w.dial()
	c.send(post("/first") + body + post("/second") + body[:1])
	<-arrived
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for _, b := range body[1:] { // in pieces, so that the engine meets it more than once
		<-tick.C
		c.send(string(b))
	}
	<-tick.C
	close(release)
	c.want(200, body)
	c.want(200, body)
	c.send(get).want(200, "")
}
