package transport

import (
	"errors"
	"fmt"
	"net"
)

var (
	// ErrWrongKey says that the two sides hold no cluster key in common.
	ErrWrongKey = errors.New("the peer holds another cluster key")
	// ErrWrongCluster says that the two sides belong to different clusters.
	ErrWrongCluster = errors.New("the peer belongs to another cluster")
	// ErrNotMember says that one of the two sides belongs to no cluster yet.
	ErrNotMember = errors.New("not a member of a cluster yet")
	// ErrRefused says that the peer was reached and declined, with a reason.
	ErrRefused = errors.New("refused by the peer")
	// ErrNoMethod says that the peer does not know the method or does not serve
	// the protocol (an older version, or a node that is still starting).
	ErrNoMethod = errors.New("the peer does not serve this")
	// ErrNotPeer says that what answered is no lbnode cluster port.
	ErrNotPeer = errors.New("not an lbnode cluster port")
	// ErrTooLarge says that a request or an answer exceeds Config.MaxBody.
	ErrTooLarge = errors.New("message too large")
	// ErrNotSent says that the request certainly did not reach the handler: it
	// is safe to send it again, or to another node.
	ErrNotSent = errors.New("request not sent")
	// ErrOutcomeUnknown says that the request may or may not have been handled.
	ErrOutcomeUnknown = errors.New("outcome unknown")
	// ErrClosed says that this Mux was closed. It matches net.ErrClosed.
	ErrClosed = fmt.Errorf("cluster transport: %w", net.ErrClosed)
)

// RemoteError is what the handler on the other node returned: the request was
// handled. A handler may return one itself to set Code; any other error arrives
// with the code "error".
type RemoteError struct {
	Code string // at most 255 bytes
	Msg  string
}

// Error implements error.
func (e *RemoteError) Error() string {
	if e.Msg == "" {
		return e.Code
	}
	return e.Msg
}

// Codes of the RemoteErrors that the transport itself makes.
const (
	CodeError    = "error"     // the handler returned an error without a code
	CodePanic    = "panic"     // the handler panicked
	CodeTooLarge = "too_large" // the handler's answer exceeds the limit
)

// RefusedError is a peer's refusal: it matches ErrRefused and the sentinel that
// fits its reason.
type RefusedError struct {
	Peer   Peer   // who refused, as far as known
	Reason string // for people
	code   refusal
}

// Error implements error.
func (e *RefusedError) Error() string {
	who := e.Peer.NodeID
	if who == "" {
		who = e.Peer.RemoteAddr
	}
	return fmt.Sprintf("refused by %s: %s", who, e.Reason)
}

// Is implements the protocol of errors.Is.
func (e *RefusedError) Is(target error) bool {
	if target == ErrRefused {
		return true
	}
	s := e.code.sentinel()
	return s != nil && target == s
}

// refusal is the reason of a refusal on the wire. Values are frozen.
type refusal uint8

const (
	accepted       refusal = 0
	refusedOther   refusal = 1 // a reason that only the text explains
	refusedCluster refusal = 2
	refusedMember  refusal = 3
	refusedMethod  refusal = 4
	refusedSize    refusal = 5
	refusedHello   refusal = 6
	refusedClosing refusal = 7
)

func (r refusal) sentinel() error {
	switch r {
	case refusedCluster:
		return ErrWrongCluster
	case refusedMember:
		return ErrNotMember
	case refusedMethod:
		return ErrNoMethod
	case refusedSize:
		return ErrTooLarge
	default:
		return nil
	}
}
