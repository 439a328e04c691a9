package enginetest

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/lbnode/lbnode/proxy/http1"
)

// answersFile is the codec's corpus of response streams, seen from the packages beside this one.
const answersFile = "../http1/testdata/responses.txt"

// verdict is what must come of an answer: a status with a body, or 502, or a body that is visibly cut off.
type verdict struct {
	status int
	body   string
	cut    bool
}

// judge says what the codec makes of a response stream.
func judge(in, verb string) verdict {
	r := http1.NewAnswerReader(strings.NewReader(in), http1.AnswerLimits(64<<10))
	r.Sent([]byte(verb + " "))
	b := bufio.NewReader(r)
	for {
		resp, err := http.ReadResponse(b, &http.Request{Method: verb})
		switch {
		case err != nil || resp.StatusCode == 101: // nobody has asked for an upgrade
			return verdict{status: 502}
		case resp.StatusCode < 200:
			continue
		}
		body, err := io.ReadAll(resp.Body)
		return verdict{resp.StatusCode, string(body), err != nil}
	}
}

// testAnswers has a backend send the corpus, whole and byte by byte. What the codec refuses is 502 or cut off,
// what it accepts arrives, and a canary on the same world is answered by nobody else's bytes.
func testAnswers(t *testing.T, mk New) {
	type job struct {
		in    string
		whole bool
	}
	next := make(chan job, 1)
	b := rawBackend(t, func(c *conn, _ int) {
		for {
			h := c.head()
			if h == "" {
				return
			}
			if strings.Contains(h, " /canary ") {
				c.send(hello)
				continue
			}
			j := <-next
			if j.whole {
				_, _ = io.WriteString(c, j.in)
			} else {
				c.dribble(j.in)
			}
			_ = c.Conn.(*net.TCPConn).CloseWrite()
			_, _ = c.rest()
			return
		}
	})
	w := newWorld(t, mk, `,"retries":0`, b.addr)
	for _, c := range readCorpusFile(t, answersFile) {
		verb := "GET"
		if _, v, ok := strings.Cut(c.line, "verb="); ok {
			verb, _, _ = strings.Cut(v, " ")
		}
		if verb == "CONNECT" {
			continue // never forwarded
		}
		want := judge(c.in, verb)
		for _, whole := range []bool{true, false} {
			if !whole && len(c.in) > 2000 {
				continue // a packet for each byte takes too long
			}
			next <- job{c.in, whole}
			x := w.dial().send(verb + " / HTTP/1.1\r\nHost: a\r\n\r\n")
			resp, err := http.ReadResponse(x.r, &http.Request{Method: verb})
			for err == nil && resp.StatusCode < 200 {
				resp, err = http.ReadResponse(x.r, &http.Request{Method: verb})
			}
			switch {
			case err != nil && want.cut: // nothing had been sent yet
			case err != nil:
				t.Errorf("%s (whole: %t): %v, want %d", c.name, whole, err, want.status)
			case resp.StatusCode != want.status:
				t.Errorf("%s (whole: %t) = %d, want %d", c.name, whole, resp.StatusCode, want.status)
			default:
				body, err := io.ReadAll(resp.Body)
				if want.status != 502 && (want.cut != (err != nil) || !want.cut && string(body) != want.body) {
					t.Errorf("%s (whole: %t): body %q, %v, want %q, cut %t", c.name, whole, body, err, want.body, want.cut)
				}
			}
			x.Close()
			w.dial().send("GET /canary HTTP/1.1\r\nHost: a\r\n\r\n").want(200, "hello")
		}
	}
}
