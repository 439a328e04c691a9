package config

import (
	"encoding"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// option is one setting. Its flag is --name, its variable LBNODE_NAME with underscores, its YAML key name,
// with dashes or underscores.
type option struct {
	name  string
	usage string
	arg   string // what the value is called in the usage text; "" = a switch
	set   func(values []string) error
	get   func() []string
}

func (c *Config) options() []option {
	return []option{
		text("name", "id of this node, kept in the data dir (default: the host's name)", "NAME", &c.Name),
		text("data-dir", "directory of the log, snapshots and identity", "DIR", &c.DataDir),
		list("proxy-addr", "where HTTP traffic comes in; may be repeated", "HOST:PORT", &c.ProxyAddrs),
		list("proxy-tls-addr", "where HTTPS traffic comes in; may be repeated", "HOST:PORT", &c.ProxyTLSAddrs),
		text("tls-cert-file", "certificate chain of HTTPS traffic, PEM", "FILE", &c.TLSCertFile),
		text("tls-key-file", "its private key, PEM", "FILE", &c.TLSKeyFile),
		text("api-addr", "where the admin API and /metrics are", "HOST:PORT", &c.APIAddr),
		text("api-token-file", "a token that is an admin on this node, whatever tokens the cluster has; for the first access, and the last", "FILE", &c.APITokenFile),
		text("api-tls-cert-file", "certificate chain of the admin API, PEM", "FILE", &c.APITLSCertFile),
		text("api-tls-key-file", "its private key, PEM", "FILE", &c.APITLSKeyFile),
		text("api-client-ca-file", "the admin API takes only clients with a certificate of these authorities, PEM", "FILE", &c.APIClientCAFile),
		toggle("metrics-open", "/metrics needs no token", &c.MetricsOpen),
		text("cluster-addr", "the one port, TCP and UDP, that nodes talk to each other on", "HOST:PORT", &c.ClusterAddr),
		text("advertise-addr", "what the other nodes dial (default: derived from --cluster-addr)", "HOST:PORT", &c.AdvertiseAddr),
		list("join", "cluster addresses of any members, separated by commas", "HOST:PORT,…", &c.Join),
		number("bootstrap-expect", "start a new cluster once this many nodes with the same flags see each other", &c.BootstrapExpect),
		toggle("non-voter", "serve and follow, never vote", &c.NonVoter),
		byteSize("disk-reserve", "room held back in the data dir for when its disk is full; 0 = none", &c.DiskReserve),
		text("cluster-key-file", "the secret that all nodes share; made by `lbnode keygen`", "FILE", &c.ClusterKeyFile),
		text("engine", "HTTP engine: auto (epoll on Linux, portable elsewhere), epoll (event loops), or portable (net/http)", "NAME", &c.Engine),
		prefixes("trusted-proxies", "networks whose X-Forwarded-* headers are kept, separated by commas", &c.TrustedProxies),
		prefixes("proxy-protocol-from", "load balancers in front, each of whose connections must begin with a PROXY header", &c.ProxyProtocol),
		number("max-connections", "client connections at a time; further ones are closed at once", &c.Limits.Connections),
		number("max-connections-per-client", "of them from one client address (IPv6: /64); further ones are closed at once; 0 = all", &c.Limits.ClientConns),
		number("max-header-bytes", "size of a request's head; larger ones get 431", &c.Limits.HeaderBytes),
		number("max-request-line", "size of its first line; longer ones get 414", &c.Limits.RequestLine),
		number("max-header-fields", "fields in a request's head; more get 431", &c.Limits.HeaderFields),
		duration("header-timeout", "for a whole request head, and for a PROXY header", &c.Limits.Header),
		duration("body-timeout", "without a byte of a request's body that is due", &c.Limits.Body),
		number("min-body-rate", "bytes a second that a request's body must bring on the average after its first 10s; 0 = any", &c.Limits.BodyRate),
		duration("write-timeout", "for a client that does not take what it asked for", &c.Limits.Write),
		duration("idle-timeout", "between two requests of a client connection", &c.Limits.Idle),
		duration("tls-handshake-timeout", "for a TLS handshake", &c.Limits.Handshake),
		text("backup-dir", "directory where this node writes backups on a schedule (default: none)", "DIR", &c.BackupDir),
		duration("backup-interval", "how often, if an operator changed something", &c.BackupInterval),
		number("backup-keep", "how many backups of this node are kept", &c.BackupKeep),
		prefixes("callback-networks", "private networks that callbacks of BigBlueButton may go to, besides public addresses, separated by commas", &c.CallbackNetworks),
		text("b3scale-jwt-secret-file", "the secret of b3scale's tokens (B3SCALE_API_JWT_SECRET), by which b3scalectl and b3scaleagent get in", "FILE", &c.B3scaleJWTSecretFile),
		text("recordings-dir", "directory for the files of BigBlueButton recordings (default: none are kept)", "DIR", &c.RecordingsDir),
		toggle("recordings-shared", "all nodes see the same --recordings-dir", &c.RecordingsShared),
		text("recordings-bucket", "URL of a bucket of S3 or the like for them instead: https://HOST/BUCKET", "URL", &c.RecordingsBucket),
		text("recordings-region", "its region (default: us-east-1)", "NAME", &c.RecordingsRegion),
		text("recordings-key-file", "its access key and secret key, one on a line", "FILE", &c.RecordingsKeyFile),
		byteSize("recordings-max-upload", "size of the archive of one recording that is uploaded", &c.RecordingsMaxUpload),
		duration("drain-delay", "how long SIGTERM goes on accepting while /readyz says 503, for clients to notice", &c.DrainDelay),
		duration("drain-timeout", "how long SIGTERM then waits for requests in flight", &c.DrainTimeout),
		toggle("insecure", "allow non-loopback listeners without key and tokens; for labs", &c.Insecure),
		text("access-log", "where requests are logged as JSON: off, stdout, or a file (SIGHUP opens it anew)", "off|stdout|FILE", &c.AccessLog),
		number("access-log-sample", "log one request of N; errors of 500 and above always", &c.AccessLogSample),
		unmarshal("log-level", "debug, info, warn or error", "LEVEL", &c.LogLevel),
		text("log-format", "text or json", "FORMAT", &c.LogFormat),
	}
}

func one(set func(string) error) func([]string) error {
	return func(v []string) error {
		if len(v) != 1 {
			return fmt.Errorf("takes one value, got %d", len(v))
		}
		return set(v[0])
	}
}

func text(name, usage, arg string, p *string) option {
	return option{name, usage, arg, one(func(s string) error { *p = s; return nil }), func() []string { return []string{*p} }}
}

func list(name, usage, arg string, p *[]string) option {
	return option{name, usage, arg, func(v []string) error { *p = split(v); return nil }, func() []string { return *p }}
}

func number(name, usage string, p *int) option {
	return option{name, usage, "N", one(func(s string) (err error) {
		if *p, err = strconv.Atoi(s); err != nil {
			return fmt.Errorf("must be a whole number, got %q", s)
		}
		return nil
	}), func() []string { return []string{strconv.Itoa(*p)} }}
}

func toggle(name, usage string, p *bool) option {
	return option{name, usage, "", one(func(s string) (err error) {
		if *p, err = strconv.ParseBool(s); err != nil {
			return fmt.Errorf("must be true or false, got %q", s)
		}
		return nil
	}), func() []string { return []string{strconv.FormatBool(*p)} }}
}

func duration(name, usage string, p *time.Duration) option {
	return option{name, usage, "DURATION", one(func(s string) (err error) {
		if *p, err = time.ParseDuration(s); err != nil {
			return fmt.Errorf("must be a duration such as 30s, got %q", s)
		}
		return nil
	}), func() []string { return []string{p.String()} }}
}

// units are the suffixes of sizes.
func units() []struct {
	suffix string
	bytes  int64
} {
	return []struct {
		suffix string
		bytes  int64
	}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}}
}

func byteSize(name, usage string, p *int64) option {
	return option{name, usage, "SIZE", one(func(s string) error {
		digits, factor := s, int64(1)
		for _, u := range units() {
			if d, ok := strings.CutSuffix(s, u.suffix); ok {
				digits, factor = d, u.bytes
			}
		}
		v, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
		if err != nil || v < 0 || v > 1<<40/factor {
			return fmt.Errorf("must be a size such as 64MiB, got %q", s)
		}
		*p = v * factor
		return nil
	}), func() []string {
		for _, u := range slices.Backward(units()) {
			if *p > 0 && *p%u.bytes == 0 {
				return []string{strconv.FormatInt(*p/u.bytes, 10) + u.suffix}
			}
		}
		return []string{strconv.FormatInt(*p, 10)}
	}}
}

func unmarshal(name, usage, arg string, p interface {
	encoding.TextUnmarshaler
	fmt.Stringer
},
) option {
	return option{name, usage, arg, one(func(s string) error {
		if err := p.UnmarshalText([]byte(s)); err != nil {
			return fmt.Errorf("must be %s, got %q", usage, s)
		}
		return nil
	}), func() []string { return []string{strings.ToLower(p.String())} }}
}

func prefixes(name, usage string, p *[]netip.Prefix) option {
	return option{name, usage, "CIDR,…", func(v []string) error {
		*p = nil
		for _, s := range split(v) {
			pre, err := netip.ParsePrefix(s)
			if err != nil {
				addr, aerr := netip.ParseAddr(s)
				if aerr != nil {
					return fmt.Errorf("must be networks such as 10.0.0.0/8, got %q", s)
				}
				pre = netip.PrefixFrom(addr, addr.BitLen())
			}
			*p = append(*p, pre.Masked())
		}
		return nil
	}, func() []string {
		out := make([]string, len(*p))
		for i, pre := range *p {
			out[i] = pre.String()
		}
		return out
	}}
}

func split(values []string) []string {
	var out []string
	for _, v := range values {
		for s := range strings.SplitSeq(v, ",") {
			if s = strings.TrimSpace(s); s != "" {
				out = append(out, s)
			}
		}
	}
	return out
}

// flagValue collects what one flag is given, so that a repeated flag replaces, not extends, what the
// environment or the file said.
type flagValue struct {
	values []string
	isBool bool
}

func (f *flagValue) String() string     { return strings.Join(f.values, ",") }
func (f *flagValue) Set(s string) error { f.values = append(f.values, s); return nil }
func (f *flagValue) IsBoolFlag() bool   { return f.isBool }

// Load reads the settings from defaults, the file that --config or LBNODE_CONFIG names, environ (as
// [os.Environ] gives it) and args. [flag.ErrHelp] means that usage was asked for and printed to out.
func Load(args, environ []string, out io.Writer) (Config, error) {
	c := Default()
	opts := c.options()
	fs := flag.NewFlagSet("lbnode", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	given := make(map[string]*flagValue, len(opts))
	for _, o := range opts {
		given[o.name] = &flagValue{isBool: o.arg == ""}
		fs.Var(given[o.name], o.name, o.usage)
	}
	file := fs.String("config", "", "the same settings in YAML")
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			usage(out, opts)
		}
		return c, err
	}
	if fs.NArg() > 0 {
		return c, fmt.Errorf("unexpected argument %q; see lbnode --help", fs.Arg(0))
	}
	env := variables(environ)
	if *file == "" {
		*file = env["LBNODE_CONFIG"]
	}
	if err := c.readFile(*file, opts); err != nil {
		return c, err
	}
	for _, o := range opts {
		name := "LBNODE_" + strings.ToUpper(strings.ReplaceAll(o.name, "-", "_"))
		if v, ok := env[name]; ok {
			if err := o.set([]string{v}); err != nil {
				return c, fmt.Errorf("%s %w", name, err)
			}
		}
		if f := given[o.name]; len(f.values) > 0 {
			if err := o.set(f.values); err != nil {
				return c, fmt.Errorf("--%s %w", o.name, err)
			}
		}
	}
	return c, c.Validate()
}

func variables(environ []string) map[string]string {
	env := make(map[string]string, len(environ))
	for _, kv := range environ {
		if k, v, ok := strings.Cut(kv, "="); ok {
			env[k] = v
		}
	}
	return env
}

func (c *Config) readFile(path string, opts []option) error {
	if path == "" {
		return nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("--config: %w", err)
	}
	if err := apply(b, opts); err != nil {
		return fmt.Errorf("--config %s: %w", path, err)
	}
	return nil
}

// apply sets options from a YAML mapping of names to scalars or lists of scalars.
func apply(b []byte, opts []option) error {
	var doc map[string]yaml.Node
	if err := yaml.Unmarshal(b, &doc); err != nil {
		return err
	}
	keys := make([]string, 0, len(doc))
	for k := range doc {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, key := range keys {
		name := strings.ReplaceAll(key, "_", "-")
		i := slices.IndexFunc(opts, func(o option) bool { return o.name == name })
		if i < 0 {
			return fmt.Errorf("line %d: unknown key %q; keys are the names of the flags", line(doc[key]), key)
		}
		n := doc[key]
		var values []string
		var err error
		switch n.Kind {
		case yaml.ScalarNode:
			values = []string{n.Value}
		case yaml.SequenceNode:
			err = n.Decode(&values)
		default:
			err = fmt.Errorf("must be a value or a list")
		}
		if err == nil {
			err = opts[i].set(values)
		}
		if err != nil {
			return fmt.Errorf("line %d: %s %w", line(n), key, err)
		}
	}
	return nil
}

func line(n yaml.Node) int { return n.Line }

func usage(w io.Writer, opts []option) {
	fmt.Fprint(w, `lbnode is a load balancer that is its own highly available control plane.

Usage:
  lbnode [flags]          run a node
  lbnode demo             run three nodes and three sample backends on loopback
  lbnode recover          after the majority of the voters is lost for good; shows first, see lbnode recover --help
  lbnode rejoin           join again after the data dir was damaged; see lbnode rejoin --help
  lbnode keygen           print a new cluster key
  lbnode version          print the version

Every flag is also an environment variable (LBNODE_DATA_DIR) and a key of the YAML file (data-dir).
A flag beats the environment, the environment beats the file.

Flags:
`)
	for _, o := range opts {
		def := ""
		if v := strings.Join(o.get(), ","); v != "" && v != "0" && v != "false" {
			def = " (default " + v + ")"
		}
		fmt.Fprintf(w, "  --%s %s\n        %s%s\n", o.name, o.arg, o.usage, def)
	}
	fmt.Fprint(w, "  --config FILE\n        the same settings in YAML\n")
}
