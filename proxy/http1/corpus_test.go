package http1

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// corpusCase is one case of testdata.
type corpusCase struct {
	name, verdict string
	facts         map[string]string
	in            []byte
}

var repeat = regexp.MustCompile(`(?s)\{\{(.*?)\*(\d+)\}\}`)

func expand(t testing.TB, s string) string {
	t.Helper()
	return repeat.ReplaceAllStringFunc(s, func(m string) string {
		g := repeat.FindStringSubmatch(m)
		n, err := strconv.Atoi(g[2])
		if err != nil {
			t.Fatal(err)
		}
		return strings.Repeat(g[1], n)
	})
}

func unquote(t testing.TB, s string) string {
	t.Helper()
	u, err := strconv.Unquote(s)
	if err != nil {
		t.Fatalf("unquote %s: %v", s, err)
	}
	return u
}

// readCorpus reads a file of testdata; its head says how it is written.
func readCorpus(t testing.TB, file string) []corpusCase {
	t.Helper()
	data, err := os.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	var list []corpusCase
	seen := map[string]bool{}
	for line := range strings.Lines(string(data)) {
		line = strings.TrimRight(line, "\n")
		switch {
		case line == "" || line[0] == '#':
		case line[0] == ' ':
			c := &list[len(list)-1]
			c.in = append(c.in, expand(t, unquote(t, strings.TrimSpace(line)))...)
		default:
			head, out, hasOut := strings.Cut(line, " out=")
			words := strings.Fields(head)
			c := corpusCase{name: words[0], verdict: words[1], facts: map[string]string{}}
			for _, w := range words[2:] {
				k, v, _ := strings.Cut(w, "=")
				c.facts[k] = expand(t, v)
			}
			if hasOut {
				c.facts["out"] = unquote(t, out)
			}
			if seen[c.name] {
				t.Fatalf("case %s is there twice", c.name)
			}
			seen[c.name] = true
			list = append(list, c)
		}
	}
	return list
}

// message is what the tests need of Request and Response alike.
type message interface {
	parse1(b []byte, lim *Limits) (int, Reason)
	head() *Head
	facts() map[string]string
}

type testRequest struct{ Request }

func (r *testRequest) parse1(b []byte, lim *Limits) (int, Reason) { return r.Parse(b, lim) }
func (r *testRequest) head() *Head                                { return &r.Head }
func (r *testRequest) facts() map[string]string {
	m := headFacts(&r.Head)
	m["method"], m["path"], m["host"] = string(r.Method), string(r.Path), string(r.Host)
	if r.HasQuery {
		m["query"] = string(r.Query)
	}
	for name, on := range map[string]bool{
		"keep": r.KeepAlive(), "close": !r.KeepAlive(), "expect": r.ExpectContinue(), "websocket": r.WebSocket(),
		"trailers-wanted": r.WantsTrailers(),
	} {
		if on {
			m[name] = ""
		}
	}
	if out, why := r.Append(nil, 0); why == OK {
		m["out"] = string(out)
	}
	return m
}

type testResponse struct {
	Response
	verb Verb
}

func (r *testResponse) parse1(b []byte, lim *Limits) (int, Reason) { return r.Parse(b, r.verb, lim) }
func (r *testResponse) head() *Head                                { return &r.Head }
func (r *testResponse) facts() map[string]string {
	m := headFacts(&r.Head)
	m["status"], m["verb"] = strconv.Itoa(r.Status), []string{GET: "GET", HEAD: "HEAD", CONNECT: "CONNECT"}[r.verb]
	for name, on := range map[string]bool{"keep": r.KeepAlive(), "close": !r.KeepAlive(), "interim": r.Interim()} {
		if on {
			m[name] = ""
		}
	}
	if out, why := r.Append(nil, 0); why == OK {
		m["out"] = string(out)
	}
	return m
}

func headFacts(h *Head) map[string]string {
	body := map[Body]string{NoBody: "none", ByChunks: "chunked", UntilClose: "close", Tunnel: "tunnel"}[h.Body]
	if h.Body == ByLength {
		body = fmt.Sprint(h.Length)
	}
	return map[string]string{"body": body, "upgrade": string(h.UpgradeTo())}
}

// run reads a message with its body from in, offered in pieces of the given size (0 = whole), and gives the
// verdict, the content and the number of trailer fields. Every piece is offered in memory of its own, so
// that a parser which holds on to an older buffer is found out.
func run(m message, in []byte, size int, lim *Limits) (why Reason, content []byte, trailers int) {
	if size == 0 {
		size = max(len(in), 1)
	}
	n, why := 0, More
	end := 0
	for why == More && end < len(in) {
		end = min(end+size, len(in))
		n, why = m.parse1(append([]byte(nil), in[:end]...), lim)
	}
	if why != OK {
		return why, nil, 0
	}
	rest := in[n:]
	switch h := m.head(); h.Body {
	case ByLength:
		if int64(len(rest)) < h.Length {
			return More, rest, 0
		}
		return OK, rest[:h.Length], 0
	case ByChunks:
		return runChunks(rest, size, lim)
	}
	return OK, nil, 0
}

func runChunks(in []byte, size int, lim *Limits) (Reason, []byte, int) {
	var c Chunked
	c.Reset(lim)
	var content []byte
	why := More
	for len(in) > 0 && why == More {
		piece := append([]byte(nil), in[:min(size, len(in))]...)
		for len(piece) > 0 && why == More {
			var n int
			var data []byte
			n, data, why = c.Next(piece)
			content = append(content, data...)
			piece, in = piece[n:], in[n:]
		}
	}
	return why, content, len(c.Trailers())
}

func testCorpus(t *testing.T, file string, make func(c corpusCase) message) {
	lim := DefaultLimits()
	for _, c := range readCorpus(t, file) {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			sizes := []int{0, 1, 2, 7}
			if len(c.in) > 4096 {
				sizes = []int{0, 97, 1000} // run copies all that has come for every piece
			}
			for _, size := range sizes {
				m := make(c)
				why, content, trailers := run(m, c.in, size, &lim)
				if got := why.String(); got != c.verdict {
					t.Fatalf("in pieces of %d: verdict %s, want %s", size, got, c.verdict)
				}
				if why != OK {
					continue
				}
				facts := m.facts()
				facts["content"] = string(content)
				facts["trailers"] = strconv.Itoa(trailers)
				for k, want := range c.facts {
					if got, ok := facts[k]; !ok || got != want {
						t.Errorf("in pieces of %d: %s = %q (%v), want %q", size, k, got, ok, want)
					}
				}
				// Facts that are either so or not must be listed if they are so.
				for _, k := range []string{"expect", "websocket", "interim", "trailers-wanted"} {
					if _, got := facts[k]; got {
						if _, want := c.facts[k]; !want {
							t.Errorf("in pieces of %d: %s, which the case does not say", size, k)
						}
					}
				}
			}
		})
	}
}

func TestRequests(t *testing.T) {
	t.Parallel()
	testCorpus(t, "requests.txt", func(corpusCase) message { return &testRequest{} })
}

func TestResponses(t *testing.T) {
	t.Parallel()
	testCorpus(t, "responses.txt", func(c corpusCase) message {
		verb := GET
		if v, ok := c.facts["verb"]; ok {
			verb = VerbOf(v)
		}
		return &testResponse{verb: verb}
	})
}

// Every reason that a message can be refused for must have a case.
func TestCorpus_coversEveryReason(t *testing.T) {
	t.Parallel()
	// Those that are no matter of one message: TestResponse_CheckUpgrade, TestAnswerReader.
	covered := map[string]bool{BadUpgrade.String(): true, UnaskedResponse.String(): true}
	for _, file := range []string{"requests.txt", "responses.txt"} {
		for _, c := range readCorpus(t, file) {
			covered[c.verdict] = true
		}
	}
	for r := OK; r < reasonCount; r++ {
		if !covered[r.String()] {
			t.Errorf("no case has the verdict %s", r)
		}
	}
	for v := range covered {
		if _, ok := ReasonOf(v); !ok {
			t.Errorf("verdict %s is no reason", v)
		}
	}
}
