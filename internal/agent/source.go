package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// Report is how loaded a server is.
type Report struct {
	Load      float64 // 0 = idle; what 1 means is the operator's choice, but the same for all backends of a pool
	BBB       bool    // the two below are meant
	Meetings  int
	Attendees int
}

// Source says how loaded the server is. Load may block until its context ends; Run is called once.
type Source interface {
	// Run follows the server until ctx ends, and calls changed after each change. It may be called from another
	// goroutine than Load.
	Run(ctx context.Context, changed func())
	Load(ctx context.Context) (Report, error)
}

// errNoLoad says that there is nothing to report but that the agent is there.
var errNoLoad = errors.New("no load is known")

// Bounds of a load URL's answer.
const (
	loadTimeout   = 3 * time.Second
	maxLoadAnswer = 64 << 10
)

// urlSource asks a URL.
type urlSource struct {
	url  string
	http *http.Client
}

func (urlSource) Run(ctx context.Context, _ func()) { <-ctx.Done() }

// Load implements [Source].
func (s urlSource) Load(ctx context.Context) (Report, error) {
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, http.NoBody)
	if err != nil {
		return Report{}, err
	}
	resp, err := s.http.Do(req)
	if err != nil {
		return Report{}, fmt.Errorf("ask for the load: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxLoadAnswer))
	switch {
	case err != nil:
		return Report{}, fmt.Errorf("read the load: %w", err)
	case resp.StatusCode != http.StatusOK:
		return Report{}, fmt.Errorf("%s answers %s", s.url, resp.Status)
	}
	load, err := ParseLoad(body)
	return Report{Load: load}, err
}

// ParseLoad reads a number, or a JSON object with the number "load".
func ParseLoad(b []byte) (float64, error) {
	text := strings.TrimSpace(string(b))
	v, err := strconv.ParseFloat(text, 64)
	if err != nil {
		var o struct {
			Load *float64 `json:"load"`
		}
		if json.Unmarshal(b, &o) != nil || o.Load == nil {
			return 0, fmt.Errorf("the load is neither a number nor JSON with \"load\": %.40q", text)
		}
		v = *o.Load
	}
	if math.IsNaN(v) || v < 0 || v > maxLoad {
		return 0, fmt.Errorf("the load must be between 0 and %g, got %g", float64(maxLoad), v)
	}
	return v, nil
}

const maxLoad = 1e9

// averageSource reads the host's load average of a minute, for each processor.
type averageSource struct {
	file string // /proc/loadavg
	cpus int
}

func (averageSource) Run(ctx context.Context, _ func()) { <-ctx.Done() }

// Load implements [Source].
func (s averageSource) Load(context.Context) (Report, error) {
	b, err := os.ReadFile(s.file)
	if err != nil {
		return Report{}, fmt.Errorf("load average: %w", err)
	}
	one, _, _ := strings.Cut(string(b), " ")
	v, err := ParseLoad([]byte(one))
	return Report{Load: v / float64(max(s.cpus, 1))}, err
}

// presenceSource knows no load.
type presenceSource struct{}

func (presenceSource) Run(ctx context.Context, _ func()) { <-ctx.Done() }

// Load implements [Source].
func (presenceSource) Load(context.Context) (Report, error) { return Report{}, errNoLoad }
