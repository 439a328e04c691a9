package api

// Queue is where requests wait while every backend of a pool has its max_connections, on each node by itself.
type Queue struct {
	Size    int    `json:"size"`    // requests that may wait; 0 = none does
	Timeout string `json:"timeout"` // how long one waits
}

// Retry says when a request that failed on one backend is sent to another.
type Retry struct {
	On            []string `json:"on"` // connect_failure, reset, timeout, 502, 503, 504
	NonIdempotent bool     `json:"non_idempotent"`
	BudgetPercent int      `json:"budget_percent"` // retries of requests that were sent, in percent of the requests of the last 10 s
	BudgetMin     int      `json:"budget_min"`     // how many of them a second are always allowed
}

// Outlier says when a node stops sending requests to a backend that keeps failing them.
type Outlier struct {
	ConsecutiveErrors int    `json:"consecutive_errors"` // 0 = never
	BaseEjection      string `json:"base_ejection"`
	MaxEjection       string `json:"max_ejection"`
	MaxPercent        int    `json:"max_percent"` // of the pool that may be out at a time
}

// Sticky keeps a client on the backend that served it first, by a cookie.
type Sticky struct {
	Cookie   string `json:"cookie"` // its name; "" = not sticky
	TTL      string `json:"ttl"`    // "0s" = as long as the browser runs
	Secure   bool   `json:"secure"`
	SameSite string `json:"same_site"` // lax, strict, none
	Path     string `json:"path"`
}

// QueueInput is what a client says about a queue. Empty fields are left out.
type QueueInput struct {
	Size    int    `json:"size,omitempty"`
	Timeout string `json:"timeout,omitempty"`
}

// RetryInput is what a client says about retries. Empty fields are left out.
type RetryInput struct {
	On            []string `json:"on,omitempty"`
	NonIdempotent bool     `json:"non_idempotent,omitempty"`
	BudgetPercent int      `json:"budget_percent,omitempty"`
	BudgetMin     int      `json:"budget_min,omitempty"`
}

// OutlierInput is what a client says about outlier ejection. Empty fields are left out.
type OutlierInput struct {
	ConsecutiveErrors int    `json:"consecutive_errors,omitempty"`
	BaseEjection      string `json:"base_ejection,omitempty"`
	MaxEjection       string `json:"max_ejection,omitempty"`
	MaxPercent        int    `json:"max_percent,omitempty"`
}

// StickyInput is what a client says about sticky sessions. Empty fields are left out.
type StickyInput struct {
	Cookie   string `json:"cookie,omitempty"`
	TTL      string `json:"ttl,omitempty"`
	Secure   bool   `json:"secure,omitempty"`
	SameSite string `json:"same_site,omitempty"`
	Path     string `json:"path,omitempty"`
}
