package api

// Pool is a named group of backends.
type Pool struct {
	ID        string      `json:"id"`
	Algorithm string      `json:"algorithm"`
	Hash      HashKey     `json:"hash"`
	Protocol  string      `json:"protocol"` // auto, http1, h2, h2c
	Health    HealthCheck `json:"health"`
	OnEmpty   string      `json:"on_empty"` // panic, fail
	Initial   string      `json:"initial"`  // down, up
	TLS       BackendTLS  `json:"tls"`

	SlowStart      string  `json:"slow_start"`      // "0s" = none
	MaxConnections int     `json:"max_connections"` // on each backend at a time from each node; 0 = no bound
	Queue          Queue   `json:"queue"`
	Retry          Retry   `json:"retry"`
	Outlier        Outlier `json:"outlier"`
	Sticky         Sticky  `json:"sticky"`
	ProxyProtocol  string  `json:"proxy_protocol"` // none, v1, v2
	BBB            PoolBBB `json:"bbb"`

	CreateIndex uint64 `json:"create_index"`
	ModifyIndex uint64 `json:"modify_index"`
}

// HashKey is what consistent_hash hashes.
type HashKey struct {
	Source string `json:"source"` // client_ip, header, cookie, query, path; on a route "" = the pool's
	Name   string `json:"name"`
}

// HealthCheck says how a pool's backends are probed.
type HealthCheck struct {
	Type     string `json:"type"` // http, tcp, grpc, bbb, none
	Method   string `json:"method"`
	Path     string `json:"path"`
	Host     string `json:"host"`
	Statuses string `json:"statuses"` // "200-399,401"; "" = below 500
	Interval string `json:"interval"`
	Timeout  string `json:"timeout"`
	Rise     int    `json:"rise"`
	Fall     int    `json:"fall"`
	Service  string `json:"service"` // grpc: what is asked for
}

// BackendTLS says how TLS to backends is verified.
type BackendTLS struct {
	SkipVerify        bool   `json:"skip_verify"`
	ServerName        string `json:"server_name"`
	CA                string `json:"ca"`                 // PEM; "" = the system's roots
	ClientCertificate string `json:"client_certificate"` // id of the certificate that backends are shown if they ask for one; "" = none
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

	SlowStart      string        `json:"slow_start,omitempty"`
	MaxConnections int           `json:"max_connections,omitempty"`
	Queue          *QueueInput   `json:"queue,omitempty"`
	Retry          *RetryInput   `json:"retry,omitempty"`
	Outlier        *OutlierInput `json:"outlier,omitempty"`
	Sticky         *StickyInput  `json:"sticky,omitempty"`
	ProxyProtocol  string        `json:"proxy_protocol,omitempty"`
	BBB            *PoolBBBInput `json:"bbb,omitempty"`
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
	Service  string `json:"service,omitempty"`
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

	RequestHeaders  HeaderOps `json:"request_headers"`
	ResponseHeaders HeaderOps `json:"response_headers"`
	Rewrite         Rewrite   `json:"rewrite"`
	Redirect        Redirect  `json:"redirect"`
	Split           []Share   `json:"split"`    // instead of BackendPool
	SplitBy         string    `json:"split_by"` // random, client_ip, header:NAME, cookie:NAME
	Mirror          Mirror    `json:"mirror"`
	RateLimit       RateLimit `json:"rate_limit"`

	CreateIndex uint64 `json:"create_index"`
	ModifyIndex uint64 `json:"modify_index"`
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

	Idle         string `json:"idle"`
	UpgradedIdle string `json:"upgraded_idle"`
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

	RequestHeaders  *HeaderOpsInput `json:"request_headers,omitempty"`
	ResponseHeaders *HeaderOpsInput `json:"response_headers,omitempty"`
	Rewrite         *RewriteInput   `json:"rewrite,omitempty"`
	Redirect        *RedirectInput  `json:"redirect,omitempty"`
	Split           []Share         `json:"split,omitempty"`
	SplitBy         string          `json:"split_by,omitempty"`
	Mirror          *MirrorInput    `json:"mirror,omitempty"`
	RateLimit       *RateLimitInput `json:"rate_limit,omitempty"`
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

	Idle         string `json:"idle,omitempty"`
	UpgradedIdle string `json:"upgraded_idle,omitempty"`
}

// Frontend is a tenant or site in front of the balancer. Its secret is never shown.
type Frontend struct {
	ID           string      `json:"id"`
	Hosts        []string    `json:"hosts"`
	Key          string      `json:"key"`
	SecretSet    bool        `json:"secret_set"`
	RequiredTags []string    `json:"required_tags"`
	BBB          FrontendBBB `json:"bbb"`
	BBBSecrets   int         `json:"bbb_secrets"` // how many are set besides the secret
	CreateIndex  uint64      `json:"create_index"`
	ModifyIndex  uint64      `json:"modify_index"`
}

// FrontendInput is what a client says about a frontend. Empty fields are left out; a secret that is left
// out of a PUT stays as it is.
type FrontendInput struct {
	ID           string            `json:"id,omitempty"`
	Hosts        []string          `json:"hosts,omitempty"`
	Key          string            `json:"key,omitempty"`
	Secret       string            `json:"secret,omitempty"`
	RequiredTags []string          `json:"required_tags,omitempty"`
	BBB          *FrontendBBBInput `json:"bbb,omitempty"`
}
