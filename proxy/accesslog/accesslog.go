// Package accesslog writes one line of JSON for each request that a node has answered.
//
// A [Log] is what proxy.Config.AccessLog wants. It never holds up a request: entries wait in a queue of fixed
// size, one goroutine writes them, and what finds the queue full is dropped and counted. Requests can be
// sampled; errors of the server (500 and above) are always logged. Reopen opens the file anew, for rotation.
//
// Package node makes one from the operator's settings. Nothing here is called before a request has ended.
package accesslog

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lbnode/lbnode/proxy"
)

const (
	// queueSize is how many entries may wait.
	queueSize = 4096
	// closeWait is how long Close waits for a writer that stands still, such as a pipe that nobody reads.
	closeWait = 2 * time.Second
)

// Config says what is logged where.
type Config struct {
	Node   string       // in each line
	Path   string       // a file to append to; "" = Out
	Out    io.Writer    // when there is no Path
	Sample int          // log one request of so many; 1 = each
	Logger *slog.Logger // for trouble with the log itself
}

// Validate names the first field that cannot be used.
func (c Config) Validate() error {
	switch {
	case c.Path == "" && c.Out == nil:
		return errors.New("accesslog: config: neither Path nor Out is set")
	case c.Sample < 1:
		return fmt.Errorf("accesslog: config: Sample must be at least 1, got %d", c.Sample)
	case c.Logger == nil:
		return errors.New("accesslog: config: Logger is nil")
	}
	return nil
}

// Log is an access log. Its methods may be called by any number of goroutines.
type Log struct {
	cfg     Config
	seen    atomic.Uint64
	lines   atomic.Uint64
	dropped atomic.Uint64
	failed  atomic.Uint64

	mu     sync.RWMutex // guards closed and sending on queue
	closed bool
	queue  chan proxy.Entry
	reopen chan chan error
	done   chan struct{}

	file *os.File // the writer's own
	buf  *bufio.Writer
}

var _ proxy.AccessLog = (*Log)(nil)

// New opens the log and starts its writer.
func New(cfg Config) (*Log, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	l := &Log{cfg: cfg, queue: make(chan proxy.Entry, queueSize), reopen: make(chan chan error), done: make(chan struct{})}
	l.buf = bufio.NewWriterSize(cfg.Out, 64<<10)
	if cfg.Path != "" {
		if err := l.open(); err != nil {
			return nil, err
		}
	}
	go l.run() // waited for by Close
	return l, nil
}

// open opens the file and writes to it from now on. On error the old one stays.
func (l *Log) open() error {
	f, err := os.OpenFile(l.cfg.Path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o640)
	if err != nil {
		return fmt.Errorf("open access log: %w", err)
	}
	if l.file != nil {
		l.flush()
		_ = l.file.Close() // what it could not write has been reported
	}
	l.file = f
	l.buf.Reset(f)
	return nil
}

// Wants implements proxy.AccessLog.
func (l *Log) Wants(status int) bool {
	if l.cfg.Sample == 1 || status >= 500 {
		return true
	}
	return l.seen.Add(1)%uint64(l.cfg.Sample) == 0
}

// Log implements proxy.AccessLog.
func (l *Log) Log(e proxy.Entry) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.closed {
		return
	}
	select {
	case l.queue <- e:
	default:
		l.dropped.Add(1)
	}
}

// Reopen closes the file and opens the path again, once everything that was logged before is in the old one. It
// does nothing for a log without a file.
func (l *Log) Reopen() error {
	if l.cfg.Path == "" {
		return nil
	}
	answer := make(chan error, 1)
	select {
	case l.reopen <- answer:
		return <-answer
	case <-l.done:
		return nil
	}
}

// Counters are how many lines were written, how many entries found the queue full, and how many writes failed.
func (l *Log) Counters() (lines, dropped, failed uint64) {
	return l.lines.Load(), l.dropped.Load(), l.failed.Load()
}

// Close writes what waits and closes the file. A writer that stands still is left behind after two seconds.
func (l *Log) Close() error {
	l.mu.Lock()
	if !l.closed {
		l.closed = true
		close(l.queue)
	}
	l.mu.Unlock()
	late := time.NewTimer(closeWait)
	defer late.Stop()
	select {
	case <-l.done:
		return nil
	case <-late.C:
		return errors.New("accesslog: the writer stands still; the last lines may be lost")
	}
}

func (l *Log) run() {
	defer close(l.done)
	line := make([]byte, 0, 1024)
	write := func(e proxy.Entry) {
		line = appendEntry(line[:0], l.cfg.Node, &e)
		if _, err := l.buf.Write(line); err != nil {
			l.trouble(err)
			return
		}
		l.lines.Add(1)
	}
	for {
		select {
		case e, ok := <-l.queue:
			if !ok {
				l.flush()
				if l.file != nil {
					_ = l.file.Close() // flush has reported what could not be written
				}
				return
			}
			write(e)
		case answer := <-l.reopen:
			for range len(l.queue) {
				if e, ok := <-l.queue; ok {
					write(e)
				}
			}
			answer <- l.open()
		}
		if len(l.queue) == 0 {
			l.flush()
		}
	}
}

func (l *Log) flush() {
	if err := l.buf.Flush(); err != nil {
		l.trouble(err)
	}
}

// trouble counts a failed write and makes the next one try again: a disk that was full has room some day. What
// was in the buffer is lost.
func (l *Log) trouble(err error) {
	if l.failed.Add(1) == 1 {
		l.cfg.Logger.Error("the access log cannot be written; see lb_access_log_errors_total", "path", l.cfg.Path, "error", err)
	}
	if l.file != nil {
		l.buf.Reset(l.file)
		return
	}
	l.buf.Reset(l.cfg.Out)
}
