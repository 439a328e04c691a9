package agent

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/lbnode/lbnode/client"
)

const envPrefix = "LBAGENT_"

// fallbacks are the variables of b3scale's agent that are read where ours are not set.
func fallbacks() map[string]string {
	return map[string]string{"api": "B3SCALE_API_URL", "load-factor": "B3SCALE_LOAD_FACTOR", "properties": "BBB_CONFIG"}
}

// flags declares every setting; the values of b's fields are the defaults.
func (c *Config) flags(fs *flag.FlagSet) {
	fs.Var(lister{&c.API}, "api", "API `addresses` of nodes, separated by commas; the next is tried when one fails")
	fs.StringVar(&c.TokenFile, "token-file", c.TokenFile, "`FILE` with the agent's token: one of lbnode with role operator, or a JWT of b3scale with scope b3scale:node")
	fs.StringVar(&c.JWTSecret, "jwt-secret-file", c.JWTSecret, "`FILE` with b3scale's shared secret: the agent makes its JWT itself, and speaks /api/v1")
	fs.StringVar(&c.Ref, "ref", c.Ref, "`NAME` of the agent in that JWT (default: the host's name)")
	fs.StringVar(&c.CAFile, "ca-file", c.CAFile, "PEM `FILE` with the authorities of the nodes' certificates (default: the system's)")
	fs.BoolVar(&c.Register, "register", c.Register, "create the backend if there is none; also -a")
	fs.BoolVar(&c.Register, "a", c.Register, "the same as --register")
	fs.StringVar(&c.Backend, "backend", c.Backend, "`ID or address` of this server's backend (default: the address from BigBlueButton's properties)")
	fs.StringVar(&c.ID, "id", c.ID, "`ID` of a backend that is created (default: a random one)")
	fs.StringVar(&c.Pool, "pool", c.Pool, "`POOL` of a backend that is created (default: bbb for BigBlueButton, else default)")
	fs.Var(lister{&c.Tags}, "tag", "`TAGS` of a backend that is created, separated by commas")
	fs.IntVar(&c.Weight, "weight", c.Weight, "its weight")
	fs.Float64Var(&c.LoadFactor, "load-factor", c.LoadFactor, "multiplies its load: a higher one is chosen less")
	fs.StringVar(&c.AdminState, "admin-state", c.AdminState, "its first state: init, so that an operator enables it, or ready")
	fs.Var(lister{&c.Properties}, "properties", "`FILES` with BigBlueButton's properties, later ones override earlier ones; missing ones are skipped")
	fs.StringVar((*string)(&c.BBB), "bbb", string(c.BBB), "whether this is a BigBlueButton server: on, off, or auto, which looks for the properties")
	fs.StringVar(&c.Redis, "redis", c.Redis, "`HOST:PORT` of BigBlueButton's Redis (default: as the properties say)")
	fs.StringVar(&c.LoadURL, "load-url", c.LoadURL, "`URL` that answers the load of any other service: a number, or JSON with \"load\"")
	fs.BoolVar(&c.LoadAverage, "load-average", c.LoadAverage, "report the host's load average for each processor (Linux)")
	fs.DurationVar(&c.Interval, "interval", c.Interval, "between two reports")
	fs.DurationVar(&c.Poll, "poll", c.Poll, "between two calls of BigBlueButton's getMeetings; events count what happens between")
	fs.StringVar((*string)(&c.OnStop), "on-stop", string(c.OnStop), "what SIGTERM does: drain the server, drain it on shutdown of the system only, or leave it in use")
	fs.DurationVar(&c.DrainTimeout, "drain-timeout", c.DrainTimeout, "how long it waits for the server to be idle")
	fs.StringVar(&c.StateDir, "state-dir", c.StateDir, "`DIR` for the marker that the agent has disabled the server (env STATE_DIRECTORY; default: none)")
	fs.TextVar(&c.LogLevel, "log-level", c.LogLevel, "debug, info, warn or error")
	fs.StringVar(&c.LogFormat, "log-format", c.LogFormat, "text or json")
}

// Load reads the settings from defaults, environ (as [os.Environ] gives it) and args, each overriding the one
// before. [flag.ErrHelp] means that usage was asked for and printed to out.
func Load(args, environ []string, out io.Writer) (Config, error) {
	c := Default()
	fs := flag.NewFlagSet("lbagent", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	c.flags(fs)
	env := variables(environ)
	var errs []error
	fs.VisitAll(func(f *flag.Flag) {
		name := envPrefix + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		v, ok := env[name]
		if old := fallbacks()[f.Name]; !ok && old != "" {
			name = old
			v, ok = env[name]
		}
		if ok && len(f.Name) > 1 {
			if err := f.Value.Set(v); err != nil {
				errs = append(errs, fmt.Errorf("%s=%q: %w", name, v, err))
			}
		}
	})
	if err := errors.Join(errs...); err != nil {
		return c, err
	}
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			usage(out, fs)
		}
		return c, err
	}
	if fs.NArg() > 0 {
		return c, fmt.Errorf("unexpected argument %q; see lbagent --help", fs.Arg(0))
	}
	return c, c.complete(env)
}

// complete reads what the settings name, and checks all.
func (c *Config) complete(env map[string]string) (err error) {
	if c.API, err = client.ParseURLs(strings.Join(c.API, ",")); err != nil {
		return fmt.Errorf("--api: %w", err)
	}
	if c.StateDir == "" {
		c.StateDir, _, _ = strings.Cut(env["STATE_DIRECTORY"], ":")
	}
	if c.Ref == "" {
		c.Ref, _ = os.Hostname()
	}
	if err := c.Validate(); err != nil {
		return err
	}
	c.Token = env[envPrefix+"TOKEN"]
	if c.Token == "" {
		c.Token = env["B3SCALE_API_ACCESS_TOKEN"]
	}
	if c.TokenFile != "" {
		b, err := os.ReadFile(c.TokenFile)
		if err != nil {
			return fmt.Errorf("--token-file: %w", err)
		}
		if c.Token = strings.TrimSpace(string(b)); c.Token == "" {
			return fmt.Errorf("--token-file: %s is empty", c.TokenFile)
		}
	}
	return c.Validate()
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

// lister is a flag with a comma list.
type lister struct{ p *[]string }

func (l lister) String() string {
	if l.p == nil {
		return ""
	}
	return strings.Join(*l.p, ",")
}

func (l lister) Set(s string) error {
	*l.p = nil
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); part != "" {
			*l.p = append(*l.p, part)
		}
	}
	return nil
}

func usage(w io.Writer, fs *flag.FlagSet) {
	fmt.Fprint(w, `Usage: lbagent [flags]

lbagent runs beside a server that lbnode balances: it registers the server, reports its load to the cluster, and
takes it out of use before it stops. On SIGTERM it drains the server; a second SIGTERM ends it at once.

Each flag has a variable too: LBAGENT_API for --api. LBAGENT_TOKEN holds a token. A flag goes before a variable.
B3SCALE_API_URL, B3SCALE_API_ACCESS_TOKEN, B3SCALE_LOAD_FACTOR and BBB_CONFIG are read where ours are not set.

Exit codes: 0 stopped (and drained, where it had to), 1 other, 2 usage, 7 the server was not idle in time.

Flags:
`)
	fs.VisitAll(func(f *flag.Flag) {
		if len(f.Name) == 1 {
			return
		}
		arg, text := flag.UnquoteUsage(f)
		head := "--" + f.Name
		if arg != "" {
			head += " " + strings.ToUpper(arg)
		}
		if f.DefValue != "" && f.DefValue != "false" {
			text += " (default " + f.DefValue + ")"
		}
		fmt.Fprintf(w, "  %s\n        %s\n", head, text)
	})
}
