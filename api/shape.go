package api

// HeaderOps change the fields of a message: first Remove, then Set, then Add. Values may hold {client_ip},
// {host}, {path}, {request_id}, {route} and {backend}.
type HeaderOps struct {
	Set    map[string]string `json:"set"`
	Add    map[string]string `json:"add"`
	Remove []string          `json:"remove"`
}

// Rewrite changes the target and host of a request on its way to the backend.
type Rewrite struct {
	StripPrefix   string `json:"strip_prefix"`
	ReplacePrefix string `json:"replace_prefix"`
	Regex         string `json:"regex"`
	Replacement   string `json:"replacement"`
	Host          string `json:"host"` // preserve, backend, or a host with or without port
}

// Redirect is an answer of the node's own. Status 0 = none.
type Redirect struct {
	Status     int    `json:"status"`
	Scheme     string `json:"scheme"` // "" = the request's
	Host       string `json:"host"`   // "" = the request's
	Path       string `json:"path"`   // "" = the request's, after the rewrite
	StripQuery bool   `json:"strip_query"`
}

// Share is one pool of a split.
type Share struct {
	Pool   string `json:"pool"`
	Weight int    `json:"weight"`
}

// Mirror sends copies of requests to a pool. Pool "" = none.
type Mirror struct {
	Pool    string  `json:"pool"`
	Percent float64 `json:"percent"`
}

// RateLimit bounds the requests that each node lets through. RequestsPerSecond 0 = no limit.
type RateLimit struct {
	RequestsPerSecond float64 `json:"requests_per_second"`
	Burst             int     `json:"burst"`
	Per               string  `json:"per"` // route, client_ip, header:NAME
	Status            int     `json:"status"`
}

// HeaderOpsInput is what a client says about header changes. Empty fields are left out.
type HeaderOpsInput struct {
	Set    map[string]string `json:"set,omitempty"`
	Add    map[string]string `json:"add,omitempty"`
	Remove []string          `json:"remove,omitempty"`
}

// RewriteInput is what a client says about a rewrite. Empty fields are left out.
type RewriteInput struct {
	StripPrefix   string `json:"strip_prefix,omitempty"`
	ReplacePrefix string `json:"replace_prefix,omitempty"`
	Regex         string `json:"regex,omitempty"`
	Replacement   string `json:"replacement,omitempty"`
	Host          string `json:"host,omitempty"`
}

// RedirectInput is what a client says about a redirect. Empty fields are left out.
type RedirectInput struct {
	Status     int    `json:"status,omitempty"`
	Scheme     string `json:"scheme,omitempty"`
	Host       string `json:"host,omitempty"`
	Path       string `json:"path,omitempty"`
	StripQuery bool   `json:"strip_query,omitempty"`
}

// MirrorInput is what a client says about a mirror. A nil Percent is 100.
type MirrorInput struct {
	Pool    string   `json:"pool,omitempty"`
	Percent *float64 `json:"percent,omitempty"`
}

// RateLimitInput is what a client says about a rate limit. Empty fields are left out.
type RateLimitInput struct {
	RequestsPerSecond float64 `json:"requests_per_second,omitempty"`
	Burst             int     `json:"burst,omitempty"`
	Per               string  `json:"per,omitempty"`
	Status            int     `json:"status,omitempty"`
}
