package api

import "time"

// The values of ?node on GET /explain.
const (
	ExplainLocal = "local"
	ExplainAll   = "all"
)

// Explanation is the answer to GET /explain: what the nodes would do with a request now.
type Explanation struct {
	Request ExplainedRequest  `json:"request"`
	Agree   bool              `json:"agree"`   // all nodes that answered would do the same, but for whose turn it is
	Nodes   []NodeExplanation `json:"nodes"`   // by id
	Missing []string          `json:"missing"` // nodes that did not answer
}

// ExplainedRequest is the request that was asked about.
type ExplainedRequest struct {
	Method   string   `json:"method"`
	URL      string   `json:"url"`
	Headers  []string `json:"headers"` // "Name: value"
	ClientIP string   `json:"client_ip"`
}

// NodeExplanation is what one node would do with the request.
type NodeExplanation struct {
	Node    string            `json:"node"`
	Index   uint64            `json:"index"`   // of the state that its proxy has in force
	Read    ReadRequest       `json:"read"`    // how its parser reads the request
	Outcome string            `json:"outcome"` // forwarded, refused
	Refusal *ExplainedRefusal `json:"refusal"` // the answer of the node's own; null = a backend answers
	Route   *ExplainedRoute   `json:"route"`   // null = none takes the request
	Near    []NearRoute       `json:"near"`    // routes that nearly took it, nearest first
	// Frontend is the one whose host fits, and Pool where the route sends the request; null = none.
	Frontend *ExplainedFrontend `json:"frontend"`
	Pool     *ExplainedPool     `json:"pool"`
	Pick     string             `json:"pick"` // id of the backend that it would go to; "" = none
	Notes    []string           `json:"notes"`
}

// The values of NodeExplanation.Outcome.
const (
	OutcomeForwarded = "forwarded"
	OutcomeRefused   = "refused"
)

// ReadRequest is a request as a node's parser reads it; empty when it refuses the request.
type ReadRequest struct {
	Method string `json:"method"`
	Host   string `json:"host"`
	Path   string `json:"path"`
	Query  string `json:"query"`
}

// ExplainedRefusal is an answer of a node's own.
type ExplainedRefusal struct {
	Status int    `json:"status"`
	Code   string `json:"code"`
	Detail string `json:"detail"`
}

// ExplainedRoute is the route that takes the request.
type ExplainedRoute struct {
	ID       string         `json:"id"`
	Clauses  []Clause       `json:"clauses"` // its conditions, which all hold
	Timeouts RouteDeadlines `json:"timeouts"`
	Retries  int            `json:"retries"`
}

// RouteDeadlines are the timeouts that apply; "0s" = none.
type RouteDeadlines struct {
	Connect   string `json:"connect"`
	FirstByte string `json:"first_byte"`
	Total     string `json:"total"`
}

// Clause is one condition of a route as the request meets it.
type Clause struct {
	Part  string `json:"part"` // host, path, method, header NAME, query NAME
	Want  string `json:"want"`
	Got   string `json:"got"`
	Holds bool   `json:"holds"`
}

// NearRoute is a route that did not take the request.
type NearRoute struct {
	ID        string   `json:"id"`
	Priority  int      `json:"priority"`
	Outranked bool     `json:"outranked"` // it takes the request too, but comes later
	Clauses   []Clause `json:"clauses"`
}

// ExplainedFrontend is the frontend whose host fits the request.
type ExplainedFrontend struct {
	ID           string   `json:"id"`
	RequiredTags []string `json:"required_tags"`
}

// ExplainedPool is the pool that the request goes to.
type ExplainedPool struct {
	ID        string             `json:"id"`
	Algorithm string             `json:"algorithm"`
	Hash      string             `json:"hash"`  // what ties the request to a backend; "" = nothing
	Panic     bool               `json:"panic"` // failing health has left no backend, so health is ignored
	Split     []string           `json:"split"` // the pools that share the route's requests; empty = this one only
	Backends  []ExplainedBackend `json:"backends"`
	Omitted   int                `json:"omitted"` // backends that are not listed
}

// ExplainedBackend is a backend as the request sees it on one node.
type ExplainedBackend struct {
	ID        string   `json:"id"`
	Address   string   `json:"address"`
	Eligible  bool     `json:"eligible"`
	Picked    bool     `json:"picked"`
	Weight    int      `json:"weight"`
	InFlight  int64    `json:"in_flight"` // from this node
	LatencyMS float64  `json:"latency_ms"`
	Reasons   []Reason `json:"reasons"` // what speaks against it
}

// MaxExplainHeaders bounds the headers of a question.
const MaxExplainHeaders = 100

// ExplainTimeout is how long the other nodes have to answer.
const ExplainTimeout = 2 * time.Second
