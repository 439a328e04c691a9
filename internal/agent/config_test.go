package agent

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestLoad_flagBeatsEnvironment(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("lbt_x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load([]string{"-a", "--interval", "2s", "--token-file", file, "--tag", "a,b"},
		[]string{"LBAGENT_INTERVAL=3s", "LBAGENT_POLL=7s", "B3SCALE_API_URL=http://n1:1,n2:2", "LBAGENT_TOKEN=other", "STATE_DIRECTORY=/var/lib/lbagent", "LBAGENT_REF=r"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !c.Register || c.Interval != 2*time.Second || c.Poll != 7*time.Second || c.Token != "lbt_x" || c.StateDir != "/var/lib/lbagent" || c.Ref != "r" {
		t.Errorf("Load = %+v", c)
	}
	if got := strings.Join(c.API, " "); got != "http://n1:1 http://n2:2" {
		t.Errorf("API = %s", got)
	}
	if got := strings.Join(c.Tags, " "); got != "a b" {
		t.Errorf("tags = %s", got)
	}
}

func TestLoad_refuses(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		args, env []string
		want      string
	}{
		"unknown flag": {args: []string{"--nope"}, want: "nope"},
		"argument":     {args: []string{"start"}, want: "start"},
		"bad env":      {env: []string{"LBAGENT_INTERVAL=5"}, want: "LBAGENT_INTERVAL"},
		"interval":     {args: []string{"--interval", "1ms"}, want: "--interval"},
		"on stop":      {args: []string{"--on-stop", "explode"}, want: "--on-stop"},
		"state":        {args: []string{"--admin-state", "stopped"}, want: "--admin-state"},
		"two loads":    {args: []string{"--load-url", "http://h/", "--load-average"}, want: "--load-average"},
		"load url":     {args: []string{"--load-url", "h:80"}, want: "--load-url"},
		"api":          {args: []string{"--api", "ftp://h"}, want: "--api"},
		"no backend":   {args: []string{"--bbb", "off"}, want: "--backend"},
		"no token":     {args: []string{"--token-file", "/nonexistent/x"}, want: "--token-file"},
		"odd token":    {env: []string{"LBAGENT_TOKEN=a b"}, want: "token"},
		"two tokens":   {args: []string{"--token-file", "a", "--jwt-secret-file", "b"}, want: "--jwt-secret-file"},
	} {
		if _, err := Load(tc.args, tc.env, nil); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: error %v does not say %q", name, err, tc.want)
		}
	}
}

func TestLoad_help(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if _, err := Load([]string{"--help"}, nil, &out); !errors.Is(err, flag.ErrHelp) {
		t.Fatalf("Load(--help) = %v", err)
	}
	for _, want := range []string{"--register", "--drain-timeout", "Exit codes", "(default 10m0s)"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("usage does not say %q:\n%s", want, out.String())
		}
	}
}

func TestBackoff(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		attempt int
		random  float64
		want    time.Duration
	}{{0, 0, time.Second}, {0, 1, time.Second / 2}, {3, 0, 8 * time.Second}, {5, 0, 30 * time.Second}, {1 << 30, 0, 30 * time.Second}, {-1, 0, time.Second}} {
		if got := backoff(tc.attempt, tc.random); got != tc.want {
			t.Errorf("backoff(%d, %v) = %s, want %s", tc.attempt, tc.random, got, tc.want)
		}
	}
}

func TestParseLoad(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]float64{"0.5\n": 0.5, `{"load": 3, "x": 1}`: 3, "0": 0} {
		if got, err := ParseLoad([]byte(in)); err != nil || got != want {
			t.Errorf("ParseLoad(%q) = %v, %v, want %v", in, got, err, want)
		}
	}
	for _, in := range []string{"", "NaN", "-1", "Inf", "busy", "{}", `{"load":"3"}`, "1e300"} {
		if got, err := ParseLoad([]byte(in)); err == nil {
			t.Errorf("ParseLoad(%q) = %v, want an error", in, got)
		}
	}
}
