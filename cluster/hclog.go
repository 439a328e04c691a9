package cluster

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// hclogger lets Raft log through slog. Raft repeats the same complaint about an
// absent peer several times a second, so each warning and error passes once per
// repeatAfter, with the number of those left out.
type hclogger struct {
	log   *slog.Logger
	name  string
	args  []any
	limit *logLimit
}

const repeatAfter = 10 * time.Second

type logLimit struct {
	mu   sync.Mutex
	seen map[string]*logSeen
}

type logSeen struct {
	at   time.Time
	left int
}

// pass says whether a line with this key may be written now, and how many like
// it were left out before.
func (l *logLimit) pass(key string, now time.Time) (ok bool, left int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.seen[key]
	if s == nil {
		if len(l.seen) > 1000 { // keys hold peer names; a few dozen is normal
			clear(l.seen)
		}
		l.seen[key] = &logSeen{at: now}
		return true, 0
	}
	if now.Sub(s.at) < repeatAfter {
		s.left++
		return false, 0
	}
	left = s.left
	*s = logSeen{at: now}
	return true, left
}

func newHCLog(l *slog.Logger) hclog.Logger {
	return &hclogger{log: l, limit: &logLimit{seen: make(map[string]*logSeen)}}
}

func slogLevel(l hclog.Level) slog.Level {
	switch l {
	case hclog.Error:
		return slog.LevelError
	case hclog.Warn:
		return slog.LevelWarn
	case hclog.Info:
		return slog.LevelInfo
	}
	return slog.LevelDebug
}

func (h *hclogger) emit(level slog.Level, msg string, args []any) {
	ctx := context.Background()
	if !h.log.Enabled(ctx, level) {
		return
	}
	all := append(h.args[:len(h.args):len(h.args)], args...)
	attrs := make([]any, len(all), len(all)+2)
	limitKey := msg
	for i, a := range all {
		if f, ok := a.(hclog.Format); ok && len(f) > 0 {
			a = fmt.Sprintf(fmt.Sprint(f[0]), f[1:]...)
		}
		if i%2 == 0 {
			a = strings.ReplaceAll(fmt.Sprint(a), "-", "_")
		} else if k := attrs[i-1]; k == "peer" || k == "target" || k == "server_id" {
			limitKey += fmt.Sprint(a)
		}
		attrs[i] = a
	}
	if level >= slog.LevelWarn {
		ok, left := h.limit.pass(limitKey, time.Now())
		if !ok {
			return
		}
		if left > 0 {
			attrs = append(attrs, "left_out", left)
		}
	}
	h.log.Log(ctx, level, msg, attrs...)
}

func (h *hclogger) Log(level hclog.Level, msg string, args ...any) {
	h.emit(slogLevel(level), msg, args)
}
func (h *hclogger) Trace(msg string, args ...any) { h.emit(slog.LevelDebug-4, msg, args) }
func (h *hclogger) Debug(msg string, args ...any) { h.emit(slog.LevelDebug, msg, args) }
func (h *hclogger) Info(msg string, args ...any)  { h.emit(slog.LevelInfo, msg, args) }
func (h *hclogger) Warn(msg string, args ...any)  { h.emit(slog.LevelWarn, msg, args) }
func (h *hclogger) Error(msg string, args ...any) { h.emit(slog.LevelError, msg, args) }

func (h *hclogger) enabled(l slog.Level) bool { return h.log.Enabled(context.Background(), l) }
func (h *hclogger) IsTrace() bool             { return h.enabled(slog.LevelDebug - 4) }
func (h *hclogger) IsDebug() bool             { return h.enabled(slog.LevelDebug) }
func (h *hclogger) IsInfo() bool              { return h.enabled(slog.LevelInfo) }
func (h *hclogger) IsWarn() bool              { return h.enabled(slog.LevelWarn) }
func (h *hclogger) IsError() bool             { return h.enabled(slog.LevelError) }
func (h *hclogger) ImpliedArgs() []any        { return h.args }
func (h *hclogger) Name() string              { return h.name }
func (h *hclogger) SetLevel(hclog.Level)      {}

func (h *hclogger) GetLevel() hclog.Level {
	switch {
	case h.IsDebug():
		return hclog.Debug
	case h.IsInfo():
		return hclog.Info
	case h.IsWarn():
		return hclog.Warn
	}
	return hclog.Error
}

func (h *hclogger) With(args ...any) hclog.Logger {
	c := *h
	c.args = append(h.args[:len(h.args):len(h.args)], args...)
	return &c
}

func (h *hclogger) Named(name string) hclog.Logger {
	if h.name != "" {
		name = h.name + "." + name
	}
	return h.ResetNamed(name)
}

func (h *hclogger) ResetNamed(name string) hclog.Logger {
	c := *h
	c.name = name
	return &c
}

func (h *hclogger) StandardWriter(*hclog.StandardLoggerOptions) io.Writer {
	return slog.NewLogLogger(h.log.Handler(), slog.LevelInfo).Writer()
}

func (h *hclogger) StandardLogger(*hclog.StandardLoggerOptions) *log.Logger {
	return slog.NewLogLogger(h.log.Handler(), slog.LevelInfo)
}
