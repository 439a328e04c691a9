package api

// Pool is a named group of backends.
type Pool struct {
	ID          string      `json:"id"`
	Algorithm   string      `json:"algorithm"`
	Hash        HashKey     `json:"hash"`
	Protocol    string      `json:"protocol"` // auto, http1, h2, h2c
	Health      HealthCheck `json:"health"`
	OnEmpty     string      `json:"on_empty"` // panic, fail
	Initial     string      `json:"initial"`  // down, up
	TLS         BackendTLS  `json:"tls"`
	CreateIndex uint64      `json:"create_index"`
	ModifyIndex uint64      `json:"modify_index"`
}

// HashKey is what consistent_hash hashes.
type HashKey struct {
	Source string `json:"source"` // client_ip, header, cookie, query, path; on a route "" = the pool's
	Name   string `json:"name"`
}

// HealthCheck says how a pool's backends are probed.
type HealthCheck struct {
	Type     string `json:"type"` // http, tcp, none
	Method   string `json:"method"`
	Path     string `json:"path"`
	Host     string `json:"host"`
	Statuses string `json:"statuses"` // "200-399,401"; "" = below 500
	Interval string `json:"interval"`
	Timeout  string `json:"timeout"`
	Rise     int    `json:"rise"`
	Fall     int    `json:"fall"`
}

// BackendTLS says how TLS to backends is verified.
type BackendTLS struct {
	SkipVerify bool   `json:"skip_verify"`
	ServerName string `json:"server_name"`
	CA         string `json:"ca"` // PEM; "" = the system's roots
}

// PoolInput is what a client says about a pool. Empty fields are left out.
type PoolInput struct {
	ID        string            `json:"id,omitempty"`
	Algorithm string            `json:"algorithm,omitempty"`
	Hash      *HashKey          `json:"hash,omitempty"`
	Protocol  string            `json:"protocol,omitempty"`
	Health    *HealthCheckInput `json:"health,omitempty"`
	OnEmpty   string            `json:"on_empty,omitempty"`
	Initial   string            `json:"initial,omitempty"`
	TLS       *BackendTLS       `json:"tls,omitempty"`
}

// HealthCheckInput is what a client says about a health check. Empty fields are left out.
type HealthCheckInput struct {
	Type     string `json:"type,omitempty"`
	Method   string `json:"method,omitempty"`
	Path     string `json:"path,omitempty"`
	Host     string `json:"host,omitempty"`
	Statuses string `json:"statuses,omitempty"`
	Interval string `json:"interval,omitempty"`
	Timeout  string `json:"timeout,omitempty"`
	Rise     int    `json:"rise,omitempty"`
	Fall     int    `json:"fall,omitempty"`
}

// Route sends the requests that it matches to a pool.
type Route struct {
	ID          string   `json:"id"`
	Priority    int      `json:"priority"`
	Match       Match    `json:"match"`
	BackendPool string   `json:"backend_pool"`
	Algorithm   string   `json:"algorithm"` // "" = the pool's
	Hash        HashKey  `json:"hash"`
	Timeouts    Timeouts `json:"timeouts"`
	Retries     int      `json:"retries"`
	CreateIndex uint64   `json:"create_index"`
	ModifyIndex uint64   `json:"modify_index"`
}

// Match says which requests a route takes. Empty fields match everything.
type Match struct {
	Host     string            `json:"host"`
	Path     string            `json:"path"`
	PathType string            `json:"path_type"` // prefix, exact, regex
	Method   string            `json:"method"`
	Headers  map[string]string `json:"headers"`
	Query    map[string]string `json:"query"`
}

// Timeouts bound the parts of one request. "0s" = none.
type Timeouts struct {
	Connect   string `json:"connect"`
	FirstByte string `json:"first_byte"`
	Total     string `json:"total"`
}

// RouteInput is what a client says about a route. Nil and empty fields are left out.
type RouteInput struct {
	ID          string         `json:"id,omitempty"`
	Priority    int            `json:"priority,omitempty"`
	Match       MatchInput     `json:"match"`
	BackendPool string         `json:"backend_pool,omitempty"`
	Algorithm   string         `json:"algorithm,omitempty"`
	Hash        *HashKey       `json:"hash,omitempty"`
	Timeouts    *TimeoutsInput `json:"timeouts,omitempty"`
	Retries     *int           `json:"retries,omitempty"`
}

// MatchInput is what a client says about a match. Empty fields are left out.
type MatchInput struct {
	Host     string            `json:"host,omitempty"`
	Path     string            `json:"path,omitempty"`
	PathType string            `json:"path_type,omitempty"`
	Method   string            `json:"method,omitempty"`
	Headers  map[string]string `json:"headers,omitempty"`
	Query    map[string]string `json:"query,omitempty"`
}

// TimeoutsInput is what a client says about timeouts. Empty fields are left out.
type TimeoutsInput struct {
	Connect   string `json:"connect,omitempty"`
	FirstByte string `json:"first_byte,omitempty"`
	Total     string `json:"total,omitempty"`
}

// Frontend is a tenant or site in front of the balancer. Its secret is never shown.
type Frontend struct {
	ID           string   `json:"id"`
	Hosts        []string `json:"hosts"`
	Key          string   `json:"key"`
	SecretSet    bool     `json:"secret_set"`
	RequiredTags []string `json:"required_tags"`
	CreateIndex  uint64   `json:"create_index"`
	ModifyIndex  uint64   `json:"modify_index"`
}

// FrontendInput is what a client says about a frontend. Empty fields are left out; a secret that is left
// out of a PUT stays as it is.
type FrontendInput struct {
	ID           string   `json:"id,omitempty"`
	Hosts        []string `json:"hosts,omitempty"`
	Key          string   `json:"key,omitempty"`
	Secret       string   `json:"secret,omitempty"`
	RequiredTags []string `json:"required_tags,omitempty"`
}
