//go:build linux

package engine

import (
	"time"

	"github.com/lbnode/lbnode/proxy"
	"github.com/lbnode/lbnode/proxy/http1"
)

// logQueue is how many access log entries may wait. Further ones are dropped: a log that stalls must not
// stall a loop.
const logQueue = 4096

func (e *Engine) startLog() {
	write := e.cfg.Proxy.AccessLog()
	if write == nil {
		return
	}
	e.log, e.logDone = make(chan proxy.Entry, logQueue), make(chan struct{})
	go func() { // waited for by stopLog
		defer close(e.logDone)
		for entry := range e.log {
			write(entry)
		}
	}()
}

// stopLog is called once no loop runs any more.
func (e *Engine) stopLog() {
	if e.log != nil {
		close(e.log)
		<-e.logDone
	}
}

func (l *loop) logEntry(e *exchange, d time.Duration) {
	r := &l.req
	r.Reset()
	if _, why := r.Parse(e.raw, &l.lim.Head); why != http1.OK {
		return // it was parsed before
	}
	entry := proxy.Entry{
		Start: e.wall, Duration: d, Client: e.who.Addr, Proto: "HTTP/1.1", Method: string(r.Method), Host: string(r.Host), Path: string(r.Path),
		Status: e.status, Result: e.kind, Attempts: e.x.Attempts(), BytesIn: e.in, BytesOut: e.out, Frontend: e.x.Frontend,
	}
	if e.minor == 0 {
		entry.Proto = "HTTP/1.0"
	}
	if e.routed {
		entry.Route = e.x.Target.RouteID
	}
	if e.at.Upstream != nil {
		entry.Backend = e.at.Upstream.ID()
	}
	select {
	case l.e.log <- entry:
	default:
	}
}
