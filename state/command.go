package state

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"time"
)

// Command is one entry of the replicated log. Exactly one of Init, Ops and Changes is used, by its type.
type Command struct {
	Type      CommandType `json:"-"`
	RequestID string      `json:"request_id,omitempty"` // repeats with the same id return the first result
	Actor     string      `json:"actor,omitempty"`      // who asked, for people
	At        time.Time   `json:"at"`                   // the proposer's clock, UTC; only ever shown, never compared
	Note      string      `json:"note,omitempty"`       // what the change is part of, for the history

	// TypeTxn: what the operations change is undone this long after At, unless it is confirmed; 0 = it stays. See [Pending].
	ConfirmWithin Duration `json:"confirm_within,omitzero"`
	// TypeTxn, beside any operations: an earlier change does not wait for its confirmation any longer.
	Settle *Settlement `json:"settle,omitempty"`

	// Made without a token, and refused once there is one. Only a node that does not know of tokens ignores it.
	Open bool `json:"open,omitempty"`

	ClusterID string        `json:"cluster_id,omitempty"` // TypeInit
	Ops       []Op          `json:"ops,omitempty"`        // TypeTxn: in order, all or nothing
	Scope     []string      `json:"scope,omitempty"`      // TypeTxn: pools outside of which nothing may be touched; none = everything may
	Changes   []StateChange `json:"changes,omitempty"`    // TypeStates: each for itself
	Restore   *Restoration  `json:"restore,omitempty"`    // TypeRestore
	BBB       []BBBOp       `json:"bbb,omitempty"`        // TypeBBB: in order, all or nothing
	Reseal    []Reseal      `json:"reseal,omitempty"`     // TypeReseal: each for itself
}

// CommandType says what a command does. Values are part of the log format and are never reused.
type CommandType uint8

// The command types.
const (
	TypeInit   CommandType = 1 // names the cluster; the first entry of every log
	TypeTxn    CommandType = 2 // operators' changes
	TypeStates CommandType = 3 // what the leader saw of backends

	TypeRestore CommandType = 4 // everything as a backup has it
)

// ignorable is set in the type byte of commands that a node which does not know them may skip.
const ignorable = 0x80

// Verb is what an operation does.
type Verb string

// The verbs.
const (
	VerbCreate Verb = "create" // the object must be new, or the same as the stored one
	VerbPut    Verb = "put"    // create or replace
	VerbPatch  Verb = "patch"  // RFC 7396 merge into the stored object
	VerbDelete Verb = "delete" // without Force a backend is decommissioned: it drains and is then removed
)

// Op is one operation of a transaction.
type Op struct {
	Verb    Verb            `json:"verb"`
	Kind    Kind            `json:"kind"`
	ID      string          `json:"id"`
	Value   json.RawMessage `json:"value,omitempty"`
	IfMatch uint64          `json:"if_match,omitempty"` // the modify_index that the object must have; 0 = any
	Force   bool            `json:"force,omitempty"`
}

// StateChange is one observed change of a backend. Both parts are compare-and-set, so that a leader that
// acts on old knowledge changes nothing.
type StateChange struct {
	ID      string  `json:"id"`
	Gen     uint64  `json:"gen,omitempty"`  // the generation that the votes were about
	From    Verdict `json:"from,omitempty"` // the verdict that this replaces
	To      Verdict `json:"to,omitempty"`   // "" = no new verdict
	Text    string  `json:"text,omitempty"`
	Drained uint64  `json:"drained,omitempty"` // the admin_index whose drain is complete; 0 = no statement
}

// Errors of Decode.
var (
	// ErrCorrupt says that the bytes are not what Encode wrote.
	ErrCorrupt = errors.New("command is damaged")
	// ErrUnknownCommand says that a newer version of lbnode wrote the command and that it must not be skipped.
	ErrUnknownCommand = errors.New("command of a newer lbnode: upgrade this node")
	// ErrIgnorable says that a newer version wrote the command and that it may be skipped.
	ErrIgnorable = errors.New("command of a newer lbnode, marked as safe to skip")
)

const (
	envelopeFormat = 1
	envelopeLen    = 8
)

// oldVersion is the oldest version that knows all that a command asks for, as far as that came with the first two.
func (c Command) oldVersion() byte {
	if c.ConfirmWithin != 0 || c.Settle != nil || len(c.Scope) > 0 {
		return 2
	}
	for _, op := range c.Ops {
		if op.Kind == KindToken || op.Kind == KindCertificate {
			return 2
		}
	}
	return 1
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Encode writes a command as the log holds it: format, type, version and flags (a byte each), CRC-32C of
// those four and the payload (big endian), payload in JSON. The version is the oldest protocol that knows all that
// the command asks for: a node that does not stops at it, instead of doing half. See [Requires].
func Encode(c Command) ([]byte, error) {
	payload, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("encode command: %w", err)
	}
	b := make([]byte, envelopeLen, envelopeLen+len(payload))
	b[0], b[1], b[2] = envelopeFormat, byte(c.Type), c.needs(payload, newer())
	b = append(b, payload...)
	binary.BigEndian.PutUint32(b[4:], checksum(b))
	return b, nil
}

func checksum(b []byte) uint32 {
	return crc32.Update(crc32.Checksum(b[:4], castagnoli), castagnoli, b[envelopeLen:])
}

// TypeOf is the type of an encoded command, 0 for one that is cut short. It does not check the rest.
func TypeOf(b []byte) CommandType {
	if len(b) < envelopeLen {
		return 0
	}
	return CommandType(b[1] &^ ignorable)
}

// Decode reads what Encode wrote, in this or any older version.
func Decode(b []byte) (Command, error) {
	var c Command
	if len(b) < envelopeLen {
		return c, fmt.Errorf("%w: %d bytes", ErrCorrupt, len(b))
	}
	if got, want := checksum(b), binary.BigEndian.Uint32(b[4:]); got != want {
		return c, fmt.Errorf("%w: checksum %08x, want %08x", ErrCorrupt, got, want)
	}
	c.Type = CommandType(b[1] &^ ignorable)
	known := b[0] == envelopeFormat && b[2] <= CommandProtocol && c.Type >= TypeInit && c.Type <= TypeReseal
	if !known {
		err := ErrUnknownCommand
		if b[1]&ignorable != 0 {
			err = ErrIgnorable
		}
		return c, fmt.Errorf("%w (format %d, type %d, version %d)", err, b[0], c.Type, b[2])
	}
	if err := json.Unmarshal(b[envelopeLen:], &c); err != nil {
		return c, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return c, nil
}

// Code says in one stable word why a command was refused.
type Code string

// The refusal codes.
const (
	CodeInvalid   Code = "invalid"           // the value is wrong; Errors say where
	CodeNotFound  Code = "not_found"         // there is no such object
	CodeExists    Code = "already_exists"    // create found a different object
	CodeMismatch  Code = "index_mismatch"    // if_match does not hold
	CodeInUse     Code = "in_use"            // delete without force of something that others name
	CodeReused    Code = "request_id_reused" // the request id belongs to a different command
	CodeForbidden Code = "forbidden"         // the command is bound to other pools
	CodeCluster   Code = "wrong_cluster"     // the log belongs to another cluster
)

// Refusal is why a command changed nothing.
type Refusal struct {
	Code    Code         `json:"code"`
	Message string       `json:"message"`
	Op      int          `json:"op"` // position of the operation that was refused; -1 = the command as a whole
	Errors  []FieldError `json:"errors,omitempty"`
	Refs    []string     `json:"refs,omitempty"` // objects that stand in the way, as kind/id
}

// Error implements error.
func (r *Refusal) Error() string { return string(r.Code) + ": " + r.Message }

// Effect says what one operation did.
type Effect string

// The effects.
const (
	EffectCreated   Effect = "created"
	EffectUpdated   Effect = "updated"
	EffectUnchanged Effect = "unchanged" // the object was already so; its modify_index did not move
	EffectDeleted   Effect = "deleted"
)

// OpResult is what one operation did.
type OpResult struct {
	Kind        Kind   `json:"kind"`
	ID          string `json:"id"`
	Effect      Effect `json:"effect"`
	ModifyIndex uint64 `json:"modify_index"`
}

// Result is what applying a command gave. It is replicated and kept for repeats of the same request id.
type Result struct {
	Index   uint64      `json:"index"` // log index of the command that had the effect
	Refusal *Refusal    `json:"refusal,omitempty"`
	Ops     []OpResult  `json:"ops,omitempty"`
	BBB     []BBBResult `json:"bbb,omitempty"`
}

// EncodeResult writes a result for the answer from leader to follower.
func EncodeResult(r Result) ([]byte, error) {
	b, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode result: %w", err)
	}
	return b, nil
}

// DecodeResult reads what EncodeResult wrote.
func DecodeResult(b []byte) (Result, error) {
	var r Result
	if err := json.Unmarshal(b, &r); err != nil {
		return r, fmt.Errorf("decode result: %w", err)
	}
	return r, nil
}
