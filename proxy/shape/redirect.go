package shape

import (
	"maps"
	"slices"
	"strings"

	"github.com/lbnode/lbnode/proxy/http1"
	"github.com/lbnode/lbnode/state"
)

// Redirect sends clients elsewhere.
type Redirect struct {
	Status     int
	scheme     string
	host       string
	path       template // nil = the request's
	stripQuery bool
}

func compileRedirect(r state.Redirect) *Redirect {
	if r.Status == 0 {
		return nil
	}
	return &Redirect{Status: r.Status, scheme: r.Scheme, host: r.Host, path: compileTemplate(r.Path), stripQuery: r.StripQuery}
}

// From is the request that a redirect answers.
type From struct {
	Scheme, Host string // Host with or without port, "" = the client named none
	Path         string // as sent
	To           string // the path after the route's rewrite
	Query        string
	Vars         *Vars
}

// Location gives the absolute URL to go to. here says that the request is there already, so that redirecting
// it would have no end; ok is false if there is no valid URL. What the client sent can choose a path and a query,
// and the host only where the operator named none: a path is never read as a host, as there always is one before it.
func (r *Redirect) Location(f From) (location string, here, ok bool) {
	scheme, host, path := f.Scheme, f.Host, f.To
	if r.scheme != "" {
		scheme = r.scheme
	}
	switch {
	case r.host != "":
		host = r.host
	case scheme != f.Scheme: // the port belongs to the other scheme
		host, _ = http1.SplitHost(host)
	}
	if r.path != nil {
		path = r.path.expand(f.Vars)
	}
	if path == "*" {
		path = "/"
	}
	if host == "" || !http1.ValidHost(host) || !http1.ValidPath(path) || !http1.ValidQuery(f.Query) {
		return "", false, false
	}
	query := ""
	if f.Query != "" && !r.stripQuery {
		query = "?" + f.Query
	}
	sent := f.Path
	if f.Query != "" {
		sent += "?" + f.Query
	}
	here = scheme == f.Scheme && strings.EqualFold(bare(host, scheme), bare(f.Host, f.Scheme)) && path+query == sent
	return scheme + "://" + host + path + query, here, true
}

// bare takes the scheme's own port off a host.
func bare(host, scheme string) string {
	h, port := http1.SplitHost(host)
	if scheme == "http" && port == "80" || scheme == "https" && port == "443" {
		return h
	}
	return host
}

func sortedNames(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
