package accesslog

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/lbnode/lbnode/proxy"
	"github.com/lbnode/lbnode/stats"
)

func config(out io.Writer) Config {
	return Config{Node: "n1", Out: out, Sample: 1, Logger: slog.New(slog.DiscardHandler)}
}

func open(t *testing.T, cfg Config) *Log {
	t.Helper()
	l, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func TestLine(t *testing.T) {
	t.Parallel()
	e := proxy.Entry{
		Start: time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.FixedZone("", 3600)), Duration: 1500 * time.Microsecond, Client: netip.MustParseAddr("10.0.0.1"),
		Proto: "HTTP/1.1", Method: "GET", Host: "a.example", Path: "/x\"\\\x01\xff", Status: 502, Result: stats.ConnectFailed, Reason: "connect_failed",
		Route: "r", Pool: "p", Backend: "b", Address: "10.0.0.2:80", Frontend: "f", Attempts: 2, Upstream: time.Millisecond, FirstByte: 500 * time.Microsecond,
		BytesIn: 1, BytesOut: 2, RequestID: "id", TraceID: "4bf92f3577b34da6a3ce929d0e0e4736",
	}
	const want = `{"time":"2026-01-02T02:04:05.678Z","node":"n1","client":"10.0.0.1","method":"GET","host":"a.example","path":"/x\"\\\u0001�","protocol":"HTTP/1.1","status":502,"bytes_in":1,"bytes_out":2,"duration_ms":1.500,"route":"r","pool":"p","frontend":"f","backend":"b","backend_address":"10.0.0.2:80","upstream_ms":1.000,"first_byte_ms":0.500,"attempts":2,"retries":1,"result":"connect_failed","reason":"connect_failed","request_id":"id","trace_id":"4bf92f3577b34da6a3ce929d0e0e4736"}` + "\n"
	if diff := cmp.Diff(want, string(appendEntry(nil, "n1", &e))); diff != "" {
		t.Errorf("line (-want +got):\n%s", diff)
	}
	var zero proxy.Entry
	if b := appendEntry(nil, "n1", &zero); !json.Valid(b) {
		t.Errorf("line of an empty entry = %s, want JSON", b)
	}
}

func FuzzAppendString(f *testing.F) {
	for _, s := range []string{"", "/a b", "\"\\\x00\x7f", "\xff\xc3", "ü€\u2028"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		line := append(appendString([]byte(`{"a":1`), "s", s), '}')
		var got struct{ S string }
		if err := json.Unmarshal(line, &got); err != nil {
			t.Fatalf("%q: %v in %s", s, err, line)
		}
		if utf8.ValidString(s) && got.S != s {
			t.Errorf("%q came back as %q", s, got.S)
		}
		if bytes.IndexByte(line, '\n') >= 0 {
			t.Errorf("%q breaks the line", s)
		}
	})
}

// stuck is a writer that stands still until it is let go.
type stuck struct {
	entered chan struct{}
	once    sync.Once
	release chan struct{}
	buf     bytes.Buffer
}

func (s *stuck) Write(p []byte) (int, error) {
	s.once.Do(func() { close(s.entered) })
	<-s.release
	return s.buf.Write(p)
}

func TestLog_neverBlocks(t *testing.T) {
	t.Parallel()
	w := &stuck{entered: make(chan struct{}), release: make(chan struct{})}
	l := open(t, config(w))
	l.Log(proxy.Entry{Status: 200})
	<-w.entered
	const more = 100
	for range queueSize + more {
		l.Log(proxy.Entry{Status: 200})
	}
	if _, dropped, _ := l.Counters(); dropped != more {
		t.Errorf("dropped = %d, want %d", dropped, more)
	}
	close(w.release)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(w.buf.Bytes(), []byte("\n")); n != queueSize+1 {
		t.Errorf("%d lines were written, want %d", n, queueSize+1)
	}
	l.Log(proxy.Entry{}) // after Close: nothing
}

func TestClose_leavesAWriterThatStandsStill(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &stuck{entered: make(chan struct{}), release: make(chan struct{})}
		l, err := New(config(w))
		if err != nil {
			t.Fatal(err)
		}
		l.Log(proxy.Entry{})
		<-w.entered
		if l.Close() == nil {
			t.Error("Close() = nil while the writer stands still, want an error")
		}
		close(w.release)
		synctest.Wait()
	})
}

func TestWants(t *testing.T) { // not parallel: it counts allocations
	cfg := config(io.Discard)
	cfg.Sample = 10
	l := open(t, cfg)
	n, errs := 0, 0
	for range 1000 {
		if l.Wants(200) {
			n++
		}
		if l.Wants(503) {
			errs++
		}
	}
	if n != 100 || errs != 1000 {
		t.Errorf("1 of 10: %d of 1000 successes and %d of 1000 errors, want 100 and all", n, errs)
	}
	if per := testing.AllocsPerRun(1000, func() { l.Wants(200) }); per != 0 {
		t.Errorf("Wants allocates %v times, want 0", per)
	}
}

func TestReopen(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path, rotated := filepath.Join(dir, "access.log"), filepath.Join(dir, "access.log.1")
	cfg := config(nil)
	cfg.Path = path
	l := open(t, cfg)
	l.Log(proxy.Entry{Path: "/before"})
	if err := os.Rename(path, rotated); err != nil {
		t.Fatal(err)
	}
	l.Log(proxy.Entry{Path: "/between"})
	if err := l.Reopen(); err != nil {
		t.Fatal(err)
	}
	l.Log(proxy.Entry{Path: "/after"})
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := l.Reopen(); err != nil {
		t.Errorf("Reopen() after Close = %v, want nil", err)
	}
	read := func(name string) string {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	if old := read(rotated); !strings.Contains(old, "/before") || !strings.Contains(old, "/between") || strings.Contains(old, "/after") {
		t.Errorf("the rotated file holds %s", old)
	}
	if b := read(path); !strings.Contains(b, "/after") || strings.Contains(b, "/before") {
		t.Errorf("the new file holds %s", b)
	}
}

func TestReopen_failureKeepsTheOldFile(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "logs")
	if err := os.Mkdir(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	cfg := config(nil)
	cfg.Path = filepath.Join(dir, "access.log")
	l := open(t, cfg)
	if err := os.Rename(dir, dir+".old"); err != nil {
		t.Fatal(err)
	}
	if err := l.Reopen(); err == nil {
		t.Error("Reopen() = nil without the directory, want an error")
	}
	l.Log(proxy.Entry{Path: "/after"})
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(dir+".old", "access.log")); err != nil || !strings.Contains(string(b), "/after") {
		t.Errorf("the old file holds %s, %v", b, err)
	}
}

// full is a disk that is full for the first writes.
type full struct {
	failing int
	failed  chan struct{}
	buf     bytes.Buffer
}

func (w *full) Write(p []byte) (int, error) {
	if w.failing--; w.failing >= 0 {
		close(w.failed)
		return 0, errors.New("no space left on device")
	}
	return w.buf.Write(p)
}

func TestLog_goesOnAfterAFailure(t *testing.T) {
	t.Parallel()
	w := &full{failing: 1, failed: make(chan struct{})}
	l := open(t, config(w))
	l.Log(proxy.Entry{Path: "/lost"})
	<-w.failed
	l.Log(proxy.Entry{Path: "/kept"})
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, _, failed := l.Counters(); failed != 1 || !strings.Contains(w.buf.String(), "/kept") {
		t.Errorf("written = %q after %d failures, want what came after the one", w.buf.String(), failed)
	}
}

func TestConfig_Validate(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]Config{
		"nowhere":   {Sample: 1, Logger: slog.Default()},
		"sample 0":  {Out: io.Discard, Logger: slog.Default()},
		"no logger": {Out: io.Discard, Sample: 1},
	} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%s: New() = nil error, want one", name)
		}
	}
	cfg := config(nil)
	cfg.Path = filepath.Join(t.TempDir(), "no", "such", "dir")
	if _, err := New(cfg); err == nil {
		t.Error("New() with a path that cannot be opened = nil error, want one")
	}
}
