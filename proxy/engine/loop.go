//go:build linux

package engine

import (
	"errors"
	"hash/maphash"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/lbnode/lbnode/proxy"
	"github.com/lbnode/lbnode/proxy/http1"
	"github.com/lbnode/lbnode/proxy/http2"
	"github.com/lbnode/lbnode/proxy/route"
	"github.com/lbnode/lbnode/proxy/upstream"
	"github.com/lbnode/lbnode/stats"
)

const (
	maxEvents = 512
	// budget is how many reads one connection gets before the others have their turn.
	budget = 8
)

// loop is one event loop. Everything in it belongs to its goroutine but for the inbox.
type loop struct {
	e     *Engine
	shard int // 1 + number
	ep    int32
	park  syscall.RawConn // the epoll descriptor on Go's own poller
	file  *os.File
	look  func(uintptr) bool // polls once, into found
	found int
	armed int64 // the tick that ends a park; 0 = none
	start time.Time
	now   int64 // since start, as of the last batch
	at    int64 // the same, as of the last read from a backend or the end of an exchange, if that was later

	slots     []slot
	freeSlots []int32
	clients   map[*client]struct{}
	servers   map[*server]struct{}
	listeners []*listener
	freeCl    []*client
	freeSv    []*server
	freeEx    []*exchange
	freeSt    []*stream
	wheel     wheel
	bufs      bufPool
	again     []slotRef // connections that used up their budget

	buf     []byte // headroom, read buffer, tailroom
	out     []byte
	scratch []byte
	cipher  []byte
	sealed  []byte
	req     http1.Request
	resp    http1.Response
	spill   []byte // a piece of a body that did not fit in its place
	bodyAt  int    // where the body behind a response head stands, from headroom on
	fields  []http1.Field
	match   route.Request
	values  headerValues

	frames    []byte        // the read buffer of HTTP/2 connections
	hpack     http2.Scratch // and what their headers are decoded with
	head      http2.Head
	seed      maphash.Seed
	ours      http1.Response // an answer of ours, read back
	number    []byte
	woken     []*stream // streams for which something came in this read
	nobody    stream    // stands in woken for those that have ended
	dirty     []slotRef // HTTP/2 connections with something to send in this batch
	dirtyNext []slotRef // and in the next one

	ups         map[*upstream.Endpoint]*upPool
	freeUp      []*upStream
	wokenUp     []*upStream // streams for which something came in this read
	noUp        upStream    // stands in wokenUp for those that have ended
	scratchPath []byte

	pools map[*upstream.Endpoint]*pool
	table *route.Table // that verdicts holds for
	verd  map[*route.Group]bool
	near  func(*route.Group) bool // oursAlone, made once

	lim   *Limits
	p     *proxy.Proxy
	total *stats.Handle
	stage int // of shutting down

	wakeFD int32
	mu     sync.Mutex // guards inbox and closed
	inbox  []func()
	closed bool
	done   chan struct{}
}

type slotRef struct {
	idx int32
	gen uint32
}

func newLoop(e *Engine, n int) (*loop, error) {
	ep, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	l := &loop{
		e: e, shard: n + 1, ep: int32(ep), start: time.Now(), buf: make([]byte, headroom+readSize+tailroom),
		clients: map[*client]struct{}{}, servers: map[*server]struct{}{},
		pools: map[*upstream.Endpoint]*pool{}, ups: map[*upstream.Endpoint]*upPool{}, verd: map[*route.Group]bool{},
		seed: maphash.MakeSeed(), lim: &e.cfg.Limits, p: e.cfg.Proxy, total: e.total, done: make(chan struct{}),
	}
	l.near = l.oursAlone
	l.now = 1
	l.wheel.init(l.now)
	if err := syscall.SetNonblock(ep, true); err != nil {
		closeFD(l.ep)
		return nil, err
	}
	wake, _, errno := syscall.RawSyscall(syscall.SYS_EVENTFD2, 0, syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if errno != 0 {
		closeFD(l.ep)
		return nil, errno
	}
	l.wakeFD = int32(wake)
	if _, ok := l.addSlot(l.wakeFD, slot{}, syscall.EPOLLIN|epollET); !ok {
		closeFD(l.wakeFD)
		closeFD(l.ep)
		return nil, errors.New("epoll_ctl failed")
	}
	l.file = os.NewFile(uintptr(ep), "epoll")
	if l.park, err = l.file.SyscallConn(); err != nil {
		l.file.Close()
		closeFD(l.wakeFD)
		return nil, err
	}
	return l, nil
}

// post runs f on the loop; false: the loop has ended, and f is not run.
func (l *loop) post(f func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	l.inbox = append(l.inbox, f)
	one := [8]byte{1}
	_, _ = syscall.Write(int(l.wakeFD), one[:]) // full means that a wake-up is due anyway
	return true
}

// run serves until the last stage of shutting down is reached.
func (l *loop) run() {
	defer close(l.done)
	evs := make([]syscall.EpollEvent, maxEvents)
	l.look = func(uintptr) bool { // made once: a closure for each park would be garbage
		l.found = epollPoll(l.ep, evs)
		return l.found > 0
	}
	for l.stage != stageEnd {
		n := epollPoll(l.ep, evs)
		if n == 0 && len(l.again) == 0 && len(l.dirty) == 0 {
			n = l.wait()
		}
		l.now = l.clock()
		l.at = l.now
		for i := range evs[:n] {
			l.event(&evs[i])
		}
		l.rerun()
		l.wheel.advance(l.now)
		l.flushDirty()
	}
	l.cleanup()
}

// clock is the loop's time. It is read once for a batch and once for each read from a backend: a reading costs more than most
// of what is done for a request.
func (l *loop) clock() int64 { return int64(time.Since(l.start)) }

// moment is l.at on the clock of everybody else.
func (l *loop) moment() time.Time { return l.start.Add(time.Duration(l.at)) }

// wait parks the goroutine on Go's poller until the epoll descriptor has events or a timer is due. Waiting
// in epoll_wait itself would keep a thread, and cost a hand-over of the processor with each wake-up.
func (l *loop) wait() int {
	next := int64(0)
	if l.wheel.count > 0 {
		next = l.wheel.next
	}
	if next != l.armed {
		var at time.Time
		if next != 0 {
			at = l.start.Add(time.Duration(next * tick))
		}
		_ = l.file.SetReadDeadline(at) // the descriptor is open and pollable
		l.armed = next
	}
	l.found = 0
	if err := l.park.Read(l.look); err != nil {
		l.armed = -1 // the deadline is used up
	}
	return l.found
}

func (l *loop) event(ev *syscall.EpollEvent) {
	s := l.slots[ev.Fd]
	if s.gen != uint32(ev.Pad) {
		return
	}
	switch {
	case s.c != nil:
		l.clientEvent(s.c, ev.Events)
	case s.u != nil:
		l.serverEvent(s.u, ev.Events)
	case s.ln != nil:
		l.accept(s.ln)
	default:
		l.mail()
	}
}

func (l *loop) mail() {
	var b [8]byte
	_, _ = syscall.Read(int(l.wakeFD), b[:]) // resets the counter
	l.mu.Lock()
	list := l.inbox
	l.inbox = nil
	l.mu.Unlock()
	for _, f := range list {
		f()
	}
}

// rerun gives connections that used up their budget another turn.
func (l *loop) rerun() {
	if len(l.again) == 0 {
		return
	}
	list := l.again
	l.again = nil
	for _, r := range list {
		s := l.slots[r.idx]
		switch {
		case s.gen != r.gen:
		case s.c != nil:
			s.c.queued = false
			if s.c.state == stIdle && len(s.c.in) > 0 && len(s.c.pend) == 0 {
				l.feed(s.c, l.input(&s.c.sock))
			}
			l.readClient(s.c)
		case s.u != nil:
			s.u.queued = false
			l.readServer(s.u)
		}
	}
	if l.again == nil {
		l.again = list[:0]
	}
}

func (l *loop) later(idx int32, queued *bool) {
	if !*queued {
		*queued = true
		l.again = append(l.again, slotRef{idx, l.slots[idx].gen})
	}
}

// cleanup closes what is left, on the loop's goroutine, as its last act.
func (l *loop) cleanup() {
	l.mu.Lock()
	l.closed = true
	list := l.inbox
	l.inbox = nil
	l.mu.Unlock()
	for _, f := range list {
		f()
	}
	for c := range l.clients {
		l.abort(c, upstream.ClientGone)
	}
	for u := range l.servers {
		l.closeServer(u)
	}
	closeFD(l.wakeFD)
	l.file.Close()
}
