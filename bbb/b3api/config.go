package b3api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/lbnode/lbnode/bbb/control"
	"github.com/lbnode/lbnode/bbb/load"
	"github.com/lbnode/lbnode/bbb/recording"
	"github.com/lbnode/lbnode/internal/auth"
	"github.com/lbnode/lbnode/state"
)

// Store is the replicated state. Its methods may be called concurrently.
type Store interface {
	// View does not block.
	View() *state.View
	// Do blocks until this node has applied the command. The error is a *state.Refusal or one of package state.
	Do(ctx context.Context, c state.Command) (state.Result, error)
}

// Identity is whose token of our own a request brings.
type Identity struct {
	Actor string // for the history
	Role  state.Role
	Bound bool // to some pools
	Open  bool // without a token, since there is none
}

// Tokens finds who bears a token of our own. It does not block.
type Tokens interface {
	// Identify returns 401 or 429 as the status if the token is not valid; 0 if it is.
	Identify(r *http.Request) (who Identity, status int)
}

// Meetings ends meetings. Its methods block until their servers were asked.
type Meetings interface {
	// The actor and what it ended go into the history, unless it is "".
	End(ctx context.Context, actor string, meetings ...*state.Meeting) (control.Ended, error)
	EndAll(ctx context.Context, actor, backendID string) (control.Ended, error)
}

// Recordings is the index of recordings, as [recording.Service] has it. Its methods block until a change is applied.
type Recordings interface {
	ImportXML(ctx context.Context, doc []byte, o recording.ImportOptions) (state.Recording, error)
	SetVisibility(ctx context.Context, id, visibility string) (found bool, _ error)
}

// Config is what a Server is made of. All fields are needed but Secret.
type Config struct {
	NodeID, Version string

	Store  Store
	Table  *load.Table
	Tokens Tokens

	Meetings   Meetings
	Recordings Recordings
	Limiter    *auth.Limiter // bounds the answers to wrong tokens
	// Secret returns the key that tokens of b3scale are signed with; none = such tokens are not accepted.
	Secret func() []byte

	Logger *slog.Logger
	Now    func() time.Time
	NewID  func() string // a random UUID
	// Timeout bounds a write.
	Timeout time.Duration
}

// DefaultConfig has every default.
func DefaultConfig() Config {
	return Config{Version: "dev", Secret: func() []byte { return nil }, Logger: slog.Default(), Now: time.Now, Timeout: 15 * time.Second}
}

// Validate names every field that is missing.
func (c Config) Validate() error {
	var errs []error
	for _, f := range []struct {
		ok   bool
		name string
	}{
		{c.NodeID != "", "NodeID"},
		{c.Version != "", "Version"},
		{c.Store != nil, "Store"},
		{c.Table != nil, "Table"},
		{c.Tokens != nil, "Tokens"},
		{c.Meetings != nil, "Meetings"},
		{c.Recordings != nil, "Recordings"},
		{c.Limiter != nil, "Limiter"},
		{c.Secret != nil, "Secret"},
		{c.Logger != nil, "Logger"},
		{c.Now != nil, "Now"},
		{c.NewID != nil, "NewID"},
		{c.Timeout > 0, "Timeout"},
	} {
		if !f.ok {
			errs = append(errs, fmt.Errorf("b3api config: %s must be set", f.name))
		}
	}
	return errors.Join(errs...)
}
