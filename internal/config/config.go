// Package config reads what an operator says about one node: defaults, then a YAML file, then LBNODE_…
// environment variables, then flags, each overriding the one before.
//
// [Load] returns a [Config] that [Config.Validate] has accepted, or an error that names the setting, its
// value and the fix. Package cmd/lbnode calls it; nothing else reads flags or the environment.
package config

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Config is one node's settings. See [Default] for the defaults and the usage texts in options.go.
type Config struct {
	Name            string // "" = the name kept in the data dir, else the host's
	DataDir         string
	ProxyAddrs      []string
	ProxyTLSAddrs   []string
	TLSCertFile     string
	TLSKeyFile      string
	APIAddr         string
	APITokenFile    string
	APITLSCertFile  string
	APITLSKeyFile   string
	APIClientCAFile string
	MetricsOpen     bool // /metrics needs no token
	ClusterAddr     string
	AdvertiseAddr   string // "" = derived from ClusterAddr
	Join            []string
	BootstrapExpect int
	NonVoter        bool
	ClusterKeyFile  string
	Engine          string // EngineAuto, EnginePortable or EngineEpoll
	TrustedProxies  []netip.Prefix
	ProxyProtocol   []netip.Prefix // peers that send a PROXY header
	Limits          Limits
	DiskReserve     int64  // bytes of the data dir's disk held back for when it is full; 0 = none
	BackupDir       string // where backups are written on a schedule; "" = nowhere
	BackupInterval  time.Duration
	BackupKeep      int // backups of this node
	// CallbackNetworks are those besides public ones that callbacks of BigBlueButton may go to.
	CallbackNetworks []netip.Prefix

	B3scaleJWTSecretFile string // signs the tokens of b3scale's API; "" = they are not accepted

	RecordingsDir       string // where files of recordings are; "" = nowhere
	RecordingsShared    bool   // all nodes see the same directory
	RecordingsBucket    string // URL of a bucket instead; "" = none
	RecordingsRegion    string
	RecordingsKeyFile   string
	RecordingsMaxUpload int64         // bytes of an archive
	DrainDelay          time.Duration // how long SIGTERM goes on accepting, for clients to notice
	DrainTimeout        time.Duration // how long SIGTERM then waits for requests in flight
	Insecure            bool
	AccessLog           string // AccessLogOff, AccessLogStdout, or a file
	AccessLogSample     int    // one request of so many is logged
	LogLevel            slog.Level
	LogFormat           string // text or json
}

// Values of Config.Engine.
const (
	EngineAuto     = "auto" // epoll where there is epoll
	EnginePortable = "portable"
	EngineEpoll    = "epoll"
)

// Values of Config.AccessLog that are no file.
const (
	AccessLogOff    = "off"
	AccessLogStdout = "stdout"
)

// Default returns the settings of a node that is told nothing: everything on loopback.
func Default() Config {
	return Config{
		DataDir:      "./lbnode-data",
		ProxyAddrs:   []string{"127.0.0.1:8080"},
		APIAddr:      "127.0.0.1:9080",
		ClusterAddr:  "127.0.0.1:7946",
		Engine:       EngineAuto,
		Limits:       defaultLimits(),
		DiskReserve:  64 << 20,
		DrainDelay:   2 * time.Second,
		DrainTimeout: 30 * time.Second,
		AccessLog:    AccessLogOff, AccessLogSample: 1,
		LogFormat: "text",

		BackupInterval: time.Hour,
		BackupKeep:     24,

		RecordingsMaxUpload: 4 << 30,
	}
}

var namePattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9._-]{0,62})$`)

// Validate returns the first setting that cannot work, with the fix.
func (c Config) Validate() error {
	for _, check := range []func() error{c.checkIdentity, c.Limits.check, c.checkAddrs, c.checkTLS, c.checkExposure} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func (c Config) checkIdentity() error {
	switch {
	case c.Name != "" && !namePattern.MatchString(c.Name):
		return fmt.Errorf("--name %q must be 1 to 63 of a-z, 0-9, '.', '_' and '-', starting with a letter or digit", c.Name)
	case c.DataDir == "":
		return fmt.Errorf("--data-dir must not be empty")
	case c.BootstrapExpect < 0 || c.BootstrapExpect > 9:
		return fmt.Errorf("--bootstrap-expect %d must be between 0 and 9", c.BootstrapExpect)
	case c.BootstrapExpect > 1 && len(c.Join) == 0:
		return fmt.Errorf("--bootstrap-expect %d needs --join with the cluster addresses of the other nodes", c.BootstrapExpect)
	case c.BootstrapExpect > 0 && c.NonVoter:
		return fmt.Errorf("--bootstrap-expect and --non-voter exclude each other: a new cluster is made of voters")
	case c.NonVoter && len(c.Join) == 0:
		return fmt.Errorf("--non-voter needs --join: a node without a vote cannot start a cluster")
	case c.Engine != EngineAuto && c.Engine != EnginePortable && c.Engine != EngineEpoll:
		return fmt.Errorf("--engine %q must be auto, portable or epoll", c.Engine)
	case c.LogFormat != "text" && c.LogFormat != "json":
		return fmt.Errorf("--log-format %q must be text or json", c.LogFormat)
	case c.DiskReserve != 0 && c.DiskReserve < 1<<20:
		return fmt.Errorf("--disk-reserve must be 0 or at least 1MiB; 64MiB is the default")
	case c.AccessLog == "":
		return fmt.Errorf("--access-log must be off, stdout or a file")
	case c.AccessLogSample < 1:
		return fmt.Errorf("--access-log-sample %d must be at least 1, which logs every request", c.AccessLogSample)
	case c.BackupInterval < time.Second:
		return fmt.Errorf("--backup-interval %s must be at least 1s", c.BackupInterval)
	case c.BackupKeep < 1:
		return fmt.Errorf("--backup-keep %d must be at least 1", c.BackupKeep)
	case c.RecordingsDir != "" && c.RecordingsBucket != "":
		return fmt.Errorf("--recordings-dir and --recordings-bucket exclude each other: recordings have one place")
	case (c.RecordingsBucket == "") != (c.RecordingsKeyFile == ""):
		return fmt.Errorf("--recordings-bucket and --recordings-key-file belong together; give both")
	case c.RecordingsMaxUpload < 1<<20:
		return fmt.Errorf("--recordings-max-upload must be at least 1MiB; 4GiB is the default")
	case c.DrainTimeout < 0:
		return fmt.Errorf("--drain-timeout %s must not be negative", c.DrainTimeout)
	case c.DrainDelay < 0:
		return fmt.Errorf("--drain-delay %s must not be negative", c.DrainDelay)
	}
	return nil
}

func (c Config) checkAddrs() error {
	if len(c.ProxyAddrs)+len(c.ProxyTLSAddrs) == 0 {
		return fmt.Errorf("--proxy-addr must name at least one address")
	}
	named := map[string][]string{
		"--proxy-addr": c.ProxyAddrs, "--proxy-tls-addr": c.ProxyTLSAddrs, "--api-addr": {c.APIAddr},
		"--cluster-addr": {c.ClusterAddr}, "--join": c.Join,
	}
	if c.AdvertiseAddr != "" {
		named["--advertise-addr"] = []string{c.AdvertiseAddr}
	}
	seen := map[string]string{}
	for _, flag := range []string{"--proxy-addr", "--proxy-tls-addr", "--api-addr", "--cluster-addr", "--advertise-addr", "--join"} {
		for _, addr := range named[flag] {
			if err := checkHostPort(flag, addr); err != nil {
				return err
			}
			if flag == "--advertise-addr" || flag == "--join" || strings.HasSuffix(addr, ":0") {
				continue
			}
			if other, taken := seen[addr]; taken {
				return fmt.Errorf("%s %s is also %s; each listener needs an address of its own", flag, addr, other)
			}
			seen[addr] = flag
		}
	}
	if host, _, _ := net.SplitHostPort(c.AdvertiseAddr); c.AdvertiseAddr != "" && isWildcard(host) {
		return fmt.Errorf("--advertise-addr %s must be an address that other nodes can dial", c.AdvertiseAddr)
	}
	return nil
}

func checkHostPort(flag, addr string) error {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("%s %q must be host:port, such as 10.0.0.1:7946", flag, addr)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("%s %q has port %q; ports go from 0 to 65535", flag, addr, port)
	}
	return nil
}

func (c Config) checkTLS() error {
	if (c.TLSCertFile == "") != (c.TLSKeyFile == "") {
		return fmt.Errorf("--tls-cert-file and --tls-key-file belong together; give both")
	}
	if (c.APITLSCertFile == "") != (c.APITLSKeyFile == "") {
		return fmt.Errorf("--api-tls-cert-file and --api-tls-key-file belong together; give both")
	}
	if c.APIClientCAFile != "" && c.APITLSCertFile == "" {
		return fmt.Errorf("--api-client-ca-file %s needs --api-tls-cert-file and --api-tls-key-file", c.APIClientCAFile)
	}
	return nil
}

// checkExposure refuses to offer control to the network without a secret.
func (c Config) checkExposure() error {
	if c.Insecure {
		return nil
	}
	if c.ClusterKeyFile == "" {
		for _, a := range []struct{ flag, addr string }{{"--cluster-addr", c.ClusterAddr}, {"--advertise-addr", c.AdvertiseAddr}} {
			if a.addr != "" && !isLoopback(a.addr) {
				return fmt.Errorf("%s %s is not a loopback address: anyone who reaches it could take over the cluster. "+
					"Make a key once with `lbnode keygen > cluster.key`, copy it to every node and start with --cluster-key-file cluster.key "+
					"(or --insecure in a lab)", a.flag, a.addr)
			}
		}
	}
	return nil
}

// APIExposed says that others than this host can reach the API. Whether there are tokens then only the state
// knows.
func (c Config) APIExposed() bool { return !isLoopback(c.APIAddr) }

func isLoopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

func isWildcard(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "" || err == nil && ip.IsUnspecified()
}

// MarksFile is where the node keeps what it must remember about itself, in the data dir.
func (c Config) MarksFile() string { return filepath.Join(c.DataDir, "marks.json") }

// ViewFile is where the last applied view is kept, in the data dir.
func (c Config) ViewFile() string { return filepath.Join(c.DataDir, "view.snap") }
