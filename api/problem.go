package api

import "fmt"

// Problem is every answer that is no success (RFC 9457), as application/problem+json.
type Problem struct {
	Type      string       `json:"type"`  // always about:blank: Code is what programs look at
	Title     string       `json:"title"` // the status in words
	Status    int          `json:"status"`
	Detail    string       `json:"detail"` // what is wrong and what would help, for people
	Code      string       `json:"code"`   // one of the Code constants
	Errors    []FieldError `json:"errors"` // what is wrong with the body, the parameters or the headers
	Refs      []string     `json:"refs"`   // objects that stand in the way, as kind/id
	RequestID string       `json:"request_id"`
	Outcome   string       `json:"outcome"` // one of the Outcome constants
}

// Error implements error.
func (p *Problem) Error() string {
	s := p.Detail
	if s == "" {
		s = p.Title
	}
	for _, e := range p.Errors {
		s += fmt.Sprintf("; %s", e)
	}
	return s
}

// FieldError is one thing wrong with what a client sent.
type FieldError struct {
	Pointer string `json:"pointer"` // RFC 6901, into the body; "" for the whole, a parameter or a header
	Message string `json:"message"` // what is wrong and what would be right
}

// String is the pointer and the message, for people.
func (e FieldError) String() string {
	if e.Pointer == "" {
		return e.Message
	}
	return e.Pointer + " " + e.Message
}

// The codes of problems, with their HTTP status.
const (
	CodeInvalid          = "invalid"                // 400: Errors say where
	CodeUnauthorized     = "unauthorized"           // 401: no token, or one that is not or no longer valid
	CodeForbidden        = "forbidden"              // 403: the token has not the needed role, or is bound to other pools
	CodeCrossOrigin      = "cross_origin"           // 403: a browser sent this for another site
	CodeNotFound         = "not_found"              // 404: no such object, or no such path
	CodeMethodNotAllowed = "method_not_allowed"     // 405: the Allow header lists what is
	CodeExists           = "already_exists"         // 409: create found a different object
	CodeInUse            = "in_use"                 // 409: Refs name what stands in the way
	CodeAmbiguous        = "ambiguous"              // 409: an address that several backends have; Refs name them
	CodeNotSafe          = "not_safe"               // 409: the cluster would lose its quorum
	CodeOtherCluster     = "other_cluster"          // 409: the backup is of another cluster
	CodeNodeUnreachable  = "node_unreachable"       // 504: of an order to one node, which may or may not have it
	CodeChanged          = "changed_since"          // 409: of a rollback; Refs name what has changed since
	CodeCompacted        = "compacted"              // 410: the history does not reach back so far
	CodeMismatch         = "index_mismatch"         // 412: If-Match or If-None-Match does not hold
	CodeTooLarge         = "too_large"              // 413: the body is over 1 MiB
	CodeMediaType        = "unsupported_media_type" // 415: the body is not application/json
	CodeReused           = "request_id_reused"      // 422: the Idempotency-Key belongs to a different request
	CodeTooManyFailures  = "too_many_failures"      // 429: too many wrong tokens came from this client
	CodeInternal         = "internal"               // 500: a bug, or a store that fails
	CodeBusy             = "busy"                   // 503: another change of the membership is under way; try again
	CodeNoLeader         = "no_leader"              // 503: certainly not applied; try again after Retry-After
	CodeStoreFull        = "store_full"             // 503: the disks of the nodes that could lead are full; Detail names the fix
	CodeOldMember        = "old_member"             // 409: a member does not understand the change; Detail names whom to upgrade
	CodeNotReady         = "not_ready"              // 503: of /readyz
	CodeIndexNotReached  = "index_not_reached"      // 504: this node has not caught up with ?min_index or ?consistency in time
	CodeOutcomeUnknown   = "outcome_unknown"        // 504: repeat with RequestID as Idempotency-Key
)

// The outcomes of a request that got a problem.
const (
	OutcomeNotApplied = "not_applied" // certainly nothing was changed
	OutcomeUnknown    = "unknown"     // the change may or may not be, or yet become, effective
)
