package config

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestLoad_flagBeatsEnvironmentBeatsFile(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "lbnode.yaml")
	yaml := "name: from-file\napi_addr: 127.0.0.1:1\nproxy-addr: [127.0.0.1:2, '127.0.0.1:3']\ndrain-timeout: 5s\nnon-voter: true\njoin: 127.0.0.1:4\n"
	if err := os.WriteFile(file, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load([]string{"--config", file, "--api-addr", "127.0.0.1:9", "--join=127.0.0.1:5,localhost:6", "--join", "127.0.0.1:7"},
		[]string{"LBNODE_NAME=from-env", "LBNODE_API_ADDR=127.0.0.1:8", "LBNODE_LOG_LEVEL=debug", "LBNODE_SERVICE_HOST=x"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Name, want.APIAddr, want.ProxyAddrs = "from-env", "127.0.0.1:9", []string{"127.0.0.1:2", "127.0.0.1:3"}
	want.DrainTimeout, want.NonVoter, want.LogLevel = 5*time.Second, true, -4
	want.Join = []string{"127.0.0.1:5", "localhost:6", "127.0.0.1:7"}
	if diff := cmp.Diff(want, c); diff != "" {
		t.Errorf("Load (-want +got):\n%s", diff)
	}
}

func TestLoad_refuses(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		args, env []string
		yaml      string
		want      []string // parts of the message
	}{
		"unknown flag":     {args: []string{"--nmae", "x"}, want: []string{"nmae"}},
		"argument":         {args: []string{"start"}, want: []string{"start"}},
		"bad name":         {args: []string{"--name", "A b"}, want: []string{"--name", "A b"}},
		"bad port":         {args: []string{"--api-addr", "127.0.0.1:99999"}, want: []string{"--api-addr", "99999"}},
		"no port":          {args: []string{"--join", "node1"}, want: []string{"--join", "host:port"}},
		"bad number":       {env: []string{"LBNODE_BOOTSTRAP_EXPECT=three"}, want: []string{"LBNODE_BOOTSTRAP_EXPECT", "three"}},
		"bad duration":     {args: []string{"--drain-timeout", "30"}, want: []string{"--drain-timeout", "30s"}},
		"bad level":        {args: []string{"--log-level", "loud"}, want: []string{"--log-level", "loud"}},
		"bad size":         {args: []string{"--disk-reserve", "64MB"}, want: []string{"--disk-reserve", "64MB", "64MiB"}},
		"small reserve":    {args: []string{"--disk-reserve", "1KiB"}, want: []string{"--disk-reserve", "1MiB"}},
		"no access log":    {args: []string{"--access-log", ""}, want: []string{"--access-log", "off"}},
		"sample of none":   {args: []string{"--access-log-sample", "0"}, want: []string{"--access-log-sample", "0"}},
		"bad engine":       {args: []string{"--engine", "warp"}, want: []string{"--engine", "portable"}},
		"cert without key": {args: []string{"--tls-cert-file", "c"}, want: []string{"--tls-key-file"}},
		"same address":     {args: []string{"--api-addr", "127.0.0.1:8080"}, want: []string{"127.0.0.1:8080", "--proxy-addr"}},
		"open cluster":     {args: []string{"--cluster-addr", "0.0.0.0:7946"}, want: []string{"--cluster-key-file", "lbnode keygen", "--insecure"}},
		"open advertise":   {args: []string{"--advertise-addr", "10.0.0.1:7946"}, want: []string{"--cluster-key-file"}},
		"half of api tls":  {args: []string{"--api-tls-key-file", "k"}, want: []string{"--api-tls-cert-file", "both"}},
		"api clients":      {args: []string{"--api-client-ca-file", "ca"}, want: []string{"--api-client-ca-file ca", "--api-tls-cert-file"}},
		"expect alone":     {args: []string{"--bootstrap-expect", "3"}, want: []string{"--join"}},
		"lone non-voter":   {args: []string{"--non-voter"}, want: []string{"--join"}},
		"wild advertise":   {args: []string{"--insecure", "--advertise-addr", "0.0.0.0:1"}, want: []string{"--advertise-addr"}},
		"bad network":      {args: []string{"--trusted-proxies", "10.0.0.0/99"}, want: []string{"--trusted-proxies", "10.0.0.0/8"}},
		"bad balancer":     {args: []string{"--proxy-protocol-from", "lb"}, want: []string{"--proxy-protocol-from", "10.0.0.0/8"}},
		"no connections":   {args: []string{"--max-connections", "0"}, want: []string{"--max-connections", "between 1"}},
		"line over head":   {args: []string{"--max-request-line", "40000"}, want: []string{"--max-header-bytes", "--max-request-line"}},
		"two places":       {args: []string{"--recordings-dir", "d", "--recordings-bucket", "b"}, want: []string{"--recordings-bucket"}},
		"no keys":          {args: []string{"--recordings-bucket", "https://h/b"}, want: []string{"--recordings-key-file"}},
		"no patience":      {args: []string{"--header-timeout", "1ms"}, want: []string{"--header-timeout", "100ms"}},
		"no such file":     {args: []string{"--config", "/nonexistent/x"}, want: []string{"--config", "/nonexistent/x"}},
		"unknown key":      {yaml: "name: a\nnmae: b\n", want: []string{"line 2", "nmae"}},
		"mapping":          {yaml: "name: {a: b}\n", want: []string{"line 1", "name"}},
		"broken yaml":      {yaml: "name: [", want: []string{"--config"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			args := tc.args
			if tc.yaml != "" {
				file := filepath.Join(t.TempDir(), "c.yaml")
				if err := os.WriteFile(file, []byte(tc.yaml), 0o600); err != nil {
					t.Fatal(err)
				}
				args = append(args, "--config", file)
			}
			_, err := Load(args, tc.env, nil)
			if err == nil {
				t.Fatal("Load accepted it")
			}
			for _, part := range tc.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error %q does not say %q", err, part)
				}
			}
		})
	}
}

func TestLoad_labMayBeOpen(t *testing.T) {
	t.Parallel()
	if _, err := Load([]string{"--insecure", "--cluster-addr", "0.0.0.0:7946", "--api-addr", "0.0.0.0:9080"}, nil, nil); err != nil {
		t.Error(err)
	}
}

func TestLoad_help(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if _, err := Load([]string{"-h"}, nil, &out); !errors.Is(err, flag.ErrHelp) {
		t.Fatalf("Load(-h) = %v", err)
	}
	c := Default()
	for _, o := range c.options() {
		if !strings.Contains(out.String(), "--"+o.name) {
			t.Errorf("usage does not mention --%s", o.name)
		}
	}
}

func TestLoad_size(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]int64{"0": 0, "2MiB": 2 << 20, "1GiB": 1 << 30, "2048KiB": 2 << 20, "1048577": 1<<20 + 1} {
		c, err := Load([]string{"--disk-reserve", in}, nil, nil)
		if err != nil || c.DiskReserve != want {
			t.Errorf("--disk-reserve %s = %d, %v, want %d", in, c.DiskReserve, err, want)
		}
	}
	var out bytes.Buffer
	if _, err := Load([]string{"--help"}, nil, &out); !errors.Is(err, flag.ErrHelp) || !strings.Contains(out.String(), "(default 64MiB)") {
		t.Errorf("usage does not show the default size: %v\n%s", err, out.String())
	}
}
