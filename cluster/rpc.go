package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/lbnode/lbnode/cluster/transport"
)

// Methods between nodes. Those that nodes outside of the cluster call are open.
const (
	methodStatus   = "cluster.status"   // open
	methodJoin     = "cluster.join"     // open
	methodPrepare  = "cluster.prepare"  // open: promise to be in a cluster that is about to start
	methodPropose  = "cluster.propose"  // one command, to the leader
	methodRead     = "cluster.read"     // a linearizable read index, from the leader
	methodTerm     = "cluster.term"     // the current term of a voter
	methodApplied  = "cluster.applied"  // what the leader has applied
	methodRemove   = "cluster.remove"   // remove a member, to the leader
	methodRemoved  = "cluster.removed"  // tells a node that it is no member any more
	methodTransfer = "cluster.transfer" // hand over leadership, to the leader

	methodKeys      = "cluster.keys"        // the keys of a member
	methodKeysSet   = "cluster.keys_set"    // newer keys, to a member
	methodKeyChange = "cluster.keys_change" // a change of the keys, to the leader
)

// Codes of the errors that these methods answer with.
const (
	codeNotTaken = "not_taken" // certainly not carried out: no leader here
	codeUnknown  = "unknown"   // outcome unknown
	codeApply    = "apply"     // the state machine's own error
	codeNotSafe  = "not_safe"
	codeNoNode   = "unknown_node"
	codeBusy     = "busy"
	codeRedirect = "redirect" // Msg is the leader's address
	codeRefused  = "refused"  // for good
	codeStopped  = "stopped"
	codeFull     = "store_full"
	codeOld      = "old_member"
	codeNoKey    = "unknown_key"
	codeBadKey   = "bad_key"
)

// codes pairs our errors with what stands for them on the wire.
var codes = []struct {
	err  error
	code string
}{
	{errNotTaken, codeNotTaken},
	{ErrOutcomeUnknown, codeUnknown},
	{ErrNotSafe, codeNotSafe},
	{ErrUnknownNode, codeNoNode},
	{ErrBusy, codeBusy},
	{ErrJoinRefused, codeRefused},
	{ErrStoreFull, codeFull},
	{ErrOldMember, codeOld},
	{ErrUnknownKey, codeNoKey},
	{ErrBadKey, codeBadKey},
}

// toRemote makes err ready for the wire.
func toRemote(err error) error {
	var remote *transport.RemoteError
	if err == nil || errors.As(err, &remote) {
		return err
	}
	for _, c := range codes {
		if errors.Is(err, c.err) {
			return &transport.RemoteError{Code: c.code, Msg: err.Error()}
		}
	}
	return err
}

// remoteText is an error from another node whose text already names its kind.
type remoteText struct {
	kind error
	msg  string
}

func (e *remoteText) Error() string { return e.msg }
func (e *remoteText) Unwrap() error { return e.kind }

// fromRemote makes of a Call's error one of ours: errNotTaken if the request
// certainly had no effect, ErrOutcomeUnknown if it may have had one.
func fromRemote(err error) error {
	var remote *transport.RemoteError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &remote):
		for _, c := range codes {
			if remote.Code == c.code {
				return &remoteText{c.err, remote.Msg}
			}
		}
		return fmt.Errorf("%w: %w", ErrOutcomeUnknown, err)
	case errors.Is(err, transport.ErrNotSent):
		return fmt.Errorf("%w: %w", errNotTaken, err)
	}
	return fmt.Errorf("%w: %w", ErrOutcomeUnknown, err)
}

func (n *Node) handleRPC() {
	n.mux.HandleOpen(methodStatus, jsonHandler(n.serveStatus))
	n.mux.HandleOpen(methodJoin, jsonHandler(n.serveJoin))
	n.mux.HandleOpen(methodPrepare, jsonHandler(n.servePrepare))
	n.mux.Handle(methodPropose, n.servePropose)
	n.mux.Handle(methodRead, jsonHandler(n.serveRead))
	n.mux.Handle(methodTerm, jsonHandler(n.serveTerm))
	n.mux.Handle(methodApplied, jsonHandler(n.serveLeaderIndex))
	n.mux.Handle(methodRemove, jsonHandler(n.serveRemove))
	n.mux.Handle(methodRemoved, jsonHandler(n.serveRemoved))
	n.mux.Handle(methodKeys, jsonHandler(n.serveKeys))
	n.mux.Handle(methodKeysSet, jsonHandler(n.serveKeysSet))
	n.mux.Handle(methodKeyChange, jsonHandler(n.serveKeyChange))
	n.mux.Handle(methodTransfer, jsonHandler(n.serveTransfer))
}

// empty is a request or an answer without content.
type empty struct{}

// jsonHandler serves a method with typed request and answer. Unknown fields are
// ignored: a newer node may send more.
func jsonHandler[Req, Resp any](h func(context.Context, transport.Peer, Req) (Resp, error)) handler {
	return func(ctx context.Context, p transport.Peer, b []byte) ([]byte, error) {
		var req Req
		if err := json.Unmarshal(b, &req); err != nil {
			return nil, &transport.RemoteError{Code: codeNotTaken, Msg: fmt.Sprintf("decode request: %v", err)}
		}
		resp, err := h(ctx, p, req)
		if err != nil {
			return nil, toRemote(err)
		}
		return json.Marshal(resp)
	}
}

// callJSON calls a typed method at addr. The error is the transport's.
func callJSON[Resp any](ctx context.Context, m *transport.Mux, addr, method string, req any) (Resp, error) {
	var resp Resp
	b, err := json.Marshal(req)
	if err != nil {
		return resp, fmt.Errorf("encode %s: %w: %w", method, transport.ErrNotSent, err)
	}
	if b, err = m.Call(ctx, addr, method, b); err != nil {
		return resp, err
	}
	if err := json.Unmarshal(b, &resp); err != nil {
		return resp, fmt.Errorf("decode answer of %s: %w", method, err)
	}
	return resp, nil
}
