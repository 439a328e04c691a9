package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// outcome is what a load generator says about its answers. Latencies are in microseconds.
type outcome struct {
	N, Due, Errors, Reconnects int
	Wrong                      int // the last status that was not 200, 0 = none
	Seconds                    float64
	P50, P99, P999, Max        float64
}

// parseOutcome reads the last line of csrc/load.c.
func parseOutcome(line string) (outcome, error) {
	values := map[string]float64{}
	for f := range strings.FieldsSeq(line) {
		k, v, ok := strings.Cut(f, "=")
		x, err := strconv.ParseFloat(v, 64)
		if !ok || err != nil {
			return outcome{}, fmt.Errorf("load generator says %q", line)
		}
		values[k] = x
	}
	for _, k := range []string{"n", "due", "errors", "reconnects", "seconds", "p50", "p99", "p999", "max", "wrong"} {
		if _, ok := values[k]; !ok {
			return outcome{}, fmt.Errorf("load generator says %q, without %s", line, k)
		}
	}
	return outcome{
		N: int(values["n"]), Due: int(values["due"]), Errors: int(values["errors"]), Reconnects: int(values["reconnects"]),
		Seconds: values["seconds"], P50: values["p50"], P99: values["p99"], P999: values["p999"], Max: values["max"], Wrong: int(values["wrong"]),
	}, nil
}

// loadArgs are the generator's arguments for a workload.
func loadArgs(w workload, s site, warm, length time.Duration) []string {
	port := s.HTTP
	if w.TLS {
		port = s.HTTPS
	}
	args := []string{
		"-p", strconv.Itoa(port), "-u", w.Path, "-c", strconv.Itoa(w.Conns), "-n", strconv.Itoa(w.Expect), "-b", strconv.Itoa(w.Body),
		"-r", strconv.Itoa(w.Rate), "-k", strconv.Itoa(max(w.Routes, w.Keys)), "-w", seconds(warm), "-d", seconds(length),
	}
	if w.TLS {
		args = append(args, "-s")
	}
	if w.Sources {
		args = append(args, "-a")
	}
	return args
}

func seconds(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', 3, 64) }

// generate runs the load generator. When it has warmed up and nothing is in flight it calls ready, and goes on when
// that returns; the whole must be over within limit.
func (l *lab) generate(ctx context.Context, args []string, limit time.Duration, ready func() error) (outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, l.bin("load"), args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	cmd.WaitDelay = time.Second
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return outcome{}, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return outcome{}, err
	}
	if err := startPinned(cmd, l.cfg.LoadCPUs); err != nil {
		return outcome{}, err
	}
	o, err := converse(stdin, stdout, ready)
	if err != nil {
		cancel() // it may be waiting for a line that will not come
	}
	if werr := cmd.Wait(); werr != nil && err == nil {
		err = werr
	}
	if err != nil {
		return outcome{}, fmt.Errorf("load %s: %w %s", strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return o, nil
}

func converse(stdin io.WriteCloser, stdout io.Reader, ready func() error) (outcome, error) {
	lines := bufio.NewScanner(stdout)
	if !lines.Scan() || lines.Text() != "ready" {
		return outcome{}, fmt.Errorf("it does not get ready")
	}
	if err := ready(); err != nil {
		return outcome{}, err
	}
	if _, err := io.WriteString(stdin, "\n"); err != nil {
		return outcome{}, err
	}
	if !lines.Scan() {
		return outcome{}, fmt.Errorf("it gives no result")
	}
	return parseOutcome(lines.Text())
}

// generateH2 runs h2load, which does not stop between warming up and measuring: CPU time around it holds the
// handshakes too, a handful among tens of thousands of requests.
func (l *lab) generateH2(ctx context.Context, w workload, s site, length time.Duration) (outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, length+40*time.Second)
	defer cancel()
	args := []string{
		"-D", fmt.Sprintf("%dms", length.Milliseconds()), "-t", "1", "-c", strconv.Itoa(w.Conns), "-m", strconv.Itoa(w.Streams),
		"--tls13-ciphers=TLS_AES_128_GCM_SHA256",
		"-H", "user-agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36", "-H", "accept: text/html,application/json;q=0.9,*/*;q=0.8",
		"-H", "accept-encoding: gzip, br", "-H", "cookie: sid=0123456789abcdef0123456789abcdef",
	}
	if w.Body > 0 {
		file := filepath.Join(l.dir, "posted.bin")
		if err := os.WriteFile(file, bytes.Repeat([]byte("b"), w.Body), 0o600); err != nil {
			return outcome{}, err
		}
		args = append(args, "-d", file)
	}
	if w.Clear {
		args = append(args, fmt.Sprintf("http://127.0.0.1:%d%s", s.H2C, w.Path))
	} else {
		args = append(args, fmt.Sprintf("https://127.0.0.1:%d%s", s.HTTPS, w.Path))
	}
	cmd := exec.CommandContext(ctx, "h2load", args...)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = time.Second
	if err := startPinned(cmd, l.cfg.LoadCPUs); err != nil {
		return outcome{}, err
	}
	if err := cmd.Wait(); err != nil {
		return outcome{}, fmt.Errorf("h2load: %w\n%s", err, out.String())
	}
	return parseH2(out.String(), length)
}

// parseH2 reads what h2load prints at the end.
func parseH2(out string, length time.Duration) (outcome, error) {
	o := outcome{Seconds: length.Seconds()}
	protocol, good := "", false
	for line := range strings.Lines(out) {
		line = strings.TrimSpace(line)
		if p, ok := strings.CutPrefix(line, "Application protocol: "); ok {
			protocol = p
		}
		if s, ok := strings.CutPrefix(line, "status codes: "); ok {
			var c3, c4, c5 int
			if _, err := fmt.Sscanf(s, "%d 2xx, %d 3xx, %d 4xx, %d 5xx", &o.N, &c3, &c4, &c5); err != nil {
				return o, fmt.Errorf("h2load says %q: %w", line, err)
			}
			o.Errors, good = c3+c4+c5, true
		}
	}
	if !good || protocol != "h2" && protocol != "h2c" {
		return o, fmt.Errorf("h2load has no result over h2 (protocol %q)", protocol)
	}
	if o.N == 0 {
		return o, fmt.Errorf("h2load got no answer")
	}
	return o, nil
}
