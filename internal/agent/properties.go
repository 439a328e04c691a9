package agent

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/url"
	"os"
	"strings"
)

// Properties are those of BigBlueButton, with references resolved.
type Properties map[string]string

// Bounds of properties.
const (
	maxProperties   = 1 << 20 // bytes of a file
	maxReferences   = 16      // how deep ${…} may refer to others
	maxPropertyLine = 64 << 10
)

// ParseProperties reads key=value lines into p, over what is there. Comments begin with # or !; a line that ends
// in a backslash goes on in the next one. It refuses lines without "=" or ":" only by skipping them, as
// BigBlueButton does.
func (p Properties) ParseProperties(r io.Reader) error {
	sc := bufio.NewScanner(io.LimitReader(r, maxProperties))
	sc.Buffer(nil, maxPropertyLine)
	for sc.Scan() {
		line := strings.TrimSpace(sc.Text())
		if line == "" || line[0] == '#' || line[0] == '!' {
			continue
		}
		for strings.HasSuffix(line, `\`) && len(line) < maxPropertyLine && sc.Scan() {
			line = strings.TrimSuffix(line, `\`) + strings.TrimLeft(sc.Text(), " \t")
		}
		if i := strings.IndexAny(line, "=:"); i > 0 {
			p[strings.TrimSpace(line[:i])] = strings.TrimSpace(line[i+1:])
		}
	}
	return sc.Err()
}

// Get returns a property with ${name} replaced by the property of that name. A reference to nothing, or in a
// circle, stays as it is written.
func (p Properties) Get(name string) string { return p.expand(p[name], maxReferences) }

func (p Properties) expand(s string, depth int) string {
	before, rest, ok := strings.Cut(s, "${")
	name, after, closed := strings.Cut(rest, "}")
	if !ok || !closed || depth == 0 || len(s) > maxPropertyLine {
		return s
	}
	v, known := p[name]
	if known {
		v = p.expand(v, depth-1)
	} else {
		v = "${" + name + "}"
	}
	return before + v + p.expand(after, depth-1)
}

// ReadProperties reads files, later ones over earlier ones. Missing ones are skipped; it is an error if all are,
// which wraps [fs.ErrNotExist].
func ReadProperties(files []string) (Properties, error) {
	p := Properties{}
	found := false
	for _, name := range files {
		f, err := os.Open(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		found = true
		err = errors.Join(p.ParseProperties(f), f.Close())
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	if !found {
		return nil, fmt.Errorf("none of %s: %w", strings.Join(files, ", "), fs.ErrNotExist)
	}
	return p, nil
}

// Server is what the properties say of a BigBlueButton server.
type Server struct {
	Address       string // of its API, with a slash at the end, as BigBlueButton's tools write it
	Secret        string
	Redis         string // host:port
	RedisPassword string
}

// Server reads the properties that matter.
func (p Properties) Server() (Server, error) {
	base, secret := p.Get("bigbluebutton.web.serverURL"), p.Get("securitySalt")
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return Server{}, fmt.Errorf("bigbluebutton.web.serverURL is %q, which is no http or https URL", base)
	}
	if secret == "" {
		return Server{}, errors.New("securitySalt is not set: BigBlueButton has no secret")
	}
	host, port := p.Get("redisHost"), p.Get("redisPort")
	if host == "" {
		host = "127.0.0.1"
	}
	if port == "" {
		port = "6379"
	}
	return Server{
		Address: strings.TrimRight(base, "/") + "/bigbluebutton/api/", Secret: secret,
		Redis: net.JoinHostPort(host, port), RedisPassword: p.Get("redisPassword"),
	}, nil
}
