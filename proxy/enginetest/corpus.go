package enginetest

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/lbnode/lbnode/proxy/http1"
)

// corpusFile is the codec's corpus of request streams, seen from the packages beside this one.
const corpusFile = "../http1/testdata/requests.txt"

type corpusCase struct {
	name, verdict string
	line          string // with everything else that it says
	in            string
}

var repeat = regexp.MustCompile(`(?s)\{\{(.*?)\*(\d+)\}\}`)

func readCorpusFile(t testing.TB, file string) []corpusCase {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var list []corpusCase
	for line := range strings.Lines(string(data)) {
		line = strings.TrimRight(line, "\n")
		switch {
		case line == "" || line[0] == '#':
		case line[0] == ' ':
			s, err := strconv.Unquote(strings.TrimSpace(line))
			if err != nil {
				t.Fatal(err)
			}
			list[len(list)-1].in += repeat.ReplaceAllStringFunc(s, func(m string) string {
				g := repeat.FindStringSubmatch(m)
				n, _ := strconv.Atoi(g[2])
				return strings.Repeat(g[1], n)
			})
		default:
			words := strings.Fields(line)
			list = append(list, corpusCase{name: words[0], verdict: words[1], line: line})
		}
	}
	return list
}

// testCorpus sends the codec's corpus, whole and byte by byte: what is refused there is answered with an
// error and closed, and neither its body nor what follows ever reaches the backend as a request. A canary
// follows each case, through the same backend connections.
func testCorpus(t *testing.T, mk New) {
	var mu sync.Mutex
	var strange []string
	b := httpBackend(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // broken bodies end the connection
		mu.Lock()
		defer mu.Unlock()
		if strings.Contains(r.URL.Path, "smuggled") {
			strange = append(strange, r.URL.Path)
		}
		_, _ = io.WriteString(w, "ok")
	})
	w := newWorld(t, mk, "", b)
	for _, c := range readCorpusFile(t, corpusFile) {
		for _, whole := range []bool{true, false} {
			if !whole && len(c.in) > 2000 {
				continue // a packet for each byte takes too long
			}
			x := w.dial()
			if whole {
				_, _ = io.WriteString(x, c.in)
			} else {
				x.dribble(c.in)
			}
			if c.verdict == "incomplete" || c.name == "sl-preface" { // HTTP/2 is spoken here
				x.Close()
				continue
			}
			resp, err := http.ReadResponse(x.r, nil)
			why, known := http1.ReasonOf(c.verdict)
			want := why.Status()
			var head http1.Request
			lim := http1.DefaultLimits()
			if _, first := head.Parse([]byte(c.in), &lim); first == http1.OK {
				want = 400 // a broken body, whatever is wrong with it
			}
			if known && why.Refused() {
				if err != nil || resp.StatusCode != want {
					t.Errorf("%s (whole: %t) is %s: answered %v, %v, want %d", c.name, whole, c.verdict, resp, err, want)
				}
			} else if err != nil {
				t.Errorf("%s (whole: %t) is fine and got %v", c.name, whole, err)
			}
			x.Close()
		}
		w.dial().send("GET /canary HTTP/1.1\r\nHost: a\r\n\r\n").want(200, "ok")
	}
	mu.Lock()
	defer mu.Unlock()
	if len(strange) > 0 {
		t.Errorf("the backend got %q", strange)
	}
}

// testHTTP2 speaks HTTP/2, in clear text with prior knowledge.
func testHTTP2(t *testing.T, mk New) {
	w := newWorld(t, mk, "", httpBackend(t, echo))
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(w.tls == nil)
	protocols.SetHTTP2(w.tls != nil)
	tr := &http.Transport{Protocols: &protocols, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, w.addr)
	}}
	defer tr.CloseIdleConnections()
	client := &http.Client{Transport: tr, Timeout: patience}
	for range 3 {
		resp, err := client.Post(w.scheme()+"://a.example/", "text/plain", strings.NewReader("abc"))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || string(got) != "abc" || resp.ProtoMajor != 2 {
			t.Errorf("answer = %q, %v, %s; want abc over HTTP/2", got, err, resp.Proto)
		}
	}
}
