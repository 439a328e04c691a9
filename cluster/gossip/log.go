package gossip

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"
)

const (
	logPeriod = 10 * time.Second
	logKeys   = 256
	logPrefix = 20 // bytes of a line that make it "the same" as another
)

// logWriter turns memberlist's "[LEVEL] memberlist: text" lines into records.
// It also listens: that a probe failed is told nowhere else.
type logWriter struct {
	log       *slog.Logger
	suspected func(id string)

	mu   sync.Mutex
	last map[string]time.Time
}

func newLogWriter(log *slog.Logger, suspected func(id string)) *logWriter {
	return &logWriter{log: log, suspected: suspected, last: make(map[string]time.Time)}
}

// Write implements io.Writer; log.Logger calls it once per line.
func (w *logWriter) Write(p []byte) (int, error) {
	level, text := parseLine(string(bytes.TrimSpace(p)))
	if id, ok := suspectIn(text); ok {
		w.suspected(id)
	}
	ctx := context.Background()
	if w.log.Enabled(ctx, level) && (level < slog.LevelInfo || w.allow(text, time.Now())) {
		w.log.Log(ctx, level, "memberlist", "text", text)
	}
	return len(p), nil
}

// parseLine splits a line. What memberlist calls an error is nearly always a
// peer's or the network's failure, which it survives, so it becomes a warning.
func parseLine(line string) (slog.Level, string) {
	level := slog.LevelInfo
	if strings.HasPrefix(line, "[") {
		if name, rest, ok := strings.Cut(line[1:], "] "); ok {
			line = rest
			switch name {
			case "DEBUG", "TRACE":
				level = slog.LevelDebug
			case "WARN", "ERR", "ERROR":
				level = slog.LevelWarn
			}
		}
	}
	return level, strings.TrimPrefix(line, "memberlist: ")
}

// suspectIn finds the name in "Suspect NAME has failed, no acks received".
func suspectIn(text string) (id string, ok bool) {
	rest, ok := strings.CutPrefix(text, "Suspect ")
	if !ok {
		return "", false
	}
	return strings.CutSuffix(rest, " has failed, no acks received")
}

// allow lets one line of a kind through per period: strangers can make
// memberlist log with every packet.
func (w *logWriter) allow(text string, now time.Time) bool {
	key := text[:min(len(text), logPrefix)]
	w.mu.Lock()
	defer w.mu.Unlock()
	if at, ok := w.last[key]; ok && now.Sub(at) < logPeriod {
		return false
	}
	if len(w.last) >= logKeys {
		clear(w.last)
	}
	w.last[key] = now
	return true
}
