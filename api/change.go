package api

import (
	"encoding/json"
	"time"
)

// The verbs of transactions.
const (
	OpCreate = "create" // the object must be new, or the same as the one that is there
	OpPut    = "put"    // create or replace
	OpPatch  = "patch"  // RFC 7396
	OpDelete = "delete" // a backend drains first, unless forced
)

// MaxOps bounds the operations of one transaction.
const MaxOps = 1000

// TxnInput is the body of POST /txn: operations that happen in order, all or none.
type TxnInput struct {
	Ops []TxnOp `json:"ops"`
}

// TxnOp is one operation of a transaction. Empty fields are left out.
type TxnOp struct {
	Op      string          `json:"op"`   // one of the Op constants
	Kind    string          `json:"kind"` // backend, pool, route, frontend
	ID      string          `json:"id"`   // of a backend also its address, if it exists
	Value   json.RawMessage `json:"value,omitempty"`
	IfMatch uint64          `json:"if_match,omitempty"` // the modify_index that the object must have; 0 = any
	Force   bool            `json:"force,omitempty"`    // of delete: without drain, and whatever still refers to the object
}

// TxnResult is the answer of POST /txn.
type TxnResult struct {
	Index uint64     `json:"index"` // log index of the one entry
	Ops   []OpResult `json:"ops"`   // as they were sent
	// ConfirmBy is when the change is undone unless it is confirmed; null = it stays.
	ConfirmBy *time.Time `json:"confirm_by"`
}

// OpResult is what one operation did.
type OpResult struct {
	Kind        string `json:"kind"`
	ID          string `json:"id"`
	Effect      string `json:"effect"`       // one of the Effect constants
	ModifyIndex uint64 `json:"modify_index"` // of the object now; of a deleted one, the index at which it went
}

// What an operation did to an object.
const (
	EffectCreated   = "created"
	EffectUpdated   = "updated"
	EffectUnchanged = "unchanged"
	EffectDeleted   = "deleted"
)

// Change is one entry of the history: what one log entry changed of the configuration.
type Change struct {
	Index     uint64         `json:"index"`
	Time      time.Time      `json:"time"` // of the node that took the request
	Actor     string         `json:"actor"`
	RequestID string         `json:"request_id"`
	Summary   string         `json:"summary"`
	Truncated bool           `json:"truncated"` // it was too large to be kept: objects lack before and after, and some may be missing
	Objects   []ObjectChange `json:"objects"`
}

// ObjectChange is what a change did to one object. Secrets are never in it: secret_set says whether there is
// one, and Fields has /secret if it changed.
type ObjectChange struct {
	Kind   string          `json:"kind"`
	ID     string          `json:"id"`
	Effect string          `json:"effect"` // one of the Effect constants
	Fields []string        `json:"fields"` // pointers (RFC 6901) of what differs, of an updated object
	Before json.RawMessage `json:"before"` // as GET shows it, less what no operator writes; null = the object was not there
	After  json.RawMessage `json:"after"`  // null = the object is gone
}

// Diff is what changed between two log indexes, or what a document would change.
type Diff struct {
	From    uint64         `json:"from"` // what is compared is the configuration right after these entries
	To      uint64         `json:"to"`
	Objects []ObjectChange `json:"objects"`
}

// RollbackResult is the answer of POST /history/{index}/rollback.
type RollbackResult struct {
	Index uint64     `json:"index"` // log index of the new change; 0 = there was nothing to undo
	Ops   []OpResult `json:"ops"`
	Kept  []string   `json:"kept"` // objects that stay because a draining backend still needs them, as kind/id
}

// ApplyInput is the body of POST /apply: every object that is wanted.
type ApplyInput struct {
	Backends  []json.RawMessage `json:"backends"`
	Pools     []json.RawMessage `json:"pools"`
	Routes    []json.RawMessage `json:"routes"`
	Frontends []json.RawMessage `json:"frontends"`
	// Settings are those of the cluster, as in PUT /settings; left out = they stay, also with prune.
	Settings json.RawMessage `json:"settings,omitempty"`
}

// ApplyResult is the answer of POST /apply.
type ApplyResult struct {
	DryRun  bool           `json:"dry_run"`
	Applied bool           `json:"applied"` // something was changed
	Index   uint64         `json:"index"`   // log index of the change, or what the diff was made from
	Objects []ObjectChange `json:"objects"` // what changes, or would; without the unchanged ones
	Kept    []string       `json:"kept"`    // pools not listed that stay because backends still drain in them, as kind/id
	// ConfirmBy is when the change is undone unless it is confirmed; null = it stays.
	ConfirmBy *time.Time `json:"confirm_by"`
}
