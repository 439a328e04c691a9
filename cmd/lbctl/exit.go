package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/client"
)

// The exit codes.
const (
	exitDone      = 0
	exitOther     = 1
	exitUsage     = 2
	exitNotFound  = 3
	exitConflict  = 4
	exitAuth      = 5
	exitNoLeader  = 6
	exitUnknown   = 7 // outcome unknown, or a wait that was not over in time
	exitInvalid   = 8
	exitUnchanged = 64
)

var (
	// errUnchanged says that everything was already as asked for. It has been printed.
	errUnchanged = errors.New("nothing to change")
	// errDry says that a request was printed instead of sent.
	errDry = errors.New("dry run")
	// errIncomplete says that what --wait waits for has not come. It has been printed.
	errIncomplete = errors.New("wait incomplete")
)

// usageError is a command line that cannot be understood.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// hintedError is an error with what to do about it, where only the command knows.
type hintedError struct {
	error
	hint string
}

func (e *hintedError) Unwrap() error { return e.error }

// invalidError is a value that lbctl itself finds wrong, in the form of the API's.
func invalidError(detail string, errs ...api.FieldError) error {
	return &localProblem{api.Problem{
		Type: "about:blank", Title: http.StatusText(http.StatusBadRequest), Status: http.StatusBadRequest,
		Detail: detail, Code: api.CodeInvalid, Errors: errs, Refs: []string{}, Outcome: api.OutcomeNotApplied,
	}}
}

// localProblem is a problem that no node was asked about.
type localProblem struct{ p api.Problem }

func (e *localProblem) Error() string { return e.p.Error() }

// exitCode maps an error to the exit code; of several errors the first that is more than "nothing to change"
// counts.
func exitCode(err error) int {
	var usage *usageError
	var local *localProblem
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &usage):
		return exitUsage
	case errors.As(err, &local):
		return exitInvalid
	}
	if several, ok := err.(multiError); ok { //nolint:errorlint // only the outermost is a list of objects
		return several.exitCode()
	}
	for _, c := range []struct {
		is   error
		code int
	}{
		{errDry, exitDone},
		{errUnchanged, exitUnchanged},
		{errIncomplete, exitUnknown},
		{client.ErrNotFound, exitNotFound},
		{client.ErrConflict, exitConflict},
		{client.ErrUnauthorized, exitAuth},
		{client.ErrNoLeader, exitNoLeader},
		{client.ErrOutcomeUnknown, exitUnknown},
		{client.ErrInvalid, exitInvalid},
	} {
		if errors.Is(err, c.is) {
			return c.code
		}
	}
	return exitOther
}

// multiError is what came of several objects, each for itself; nil for those that were done.
type multiError []error

// Error implements error.
func (m multiError) Error() string { return errors.Join(m...).Error() }

func (m multiError) exitCode() int {
	unchanged := 0
	for _, err := range m {
		switch code := exitCode(err); code {
		case exitDone:
		case exitUnchanged:
			unchanged++
		default:
			return code
		}
	}
	if unchanged > 0 && unchanged == len(m) {
		return exitUnchanged
	}
	return exitDone
}

// report prints an error: one line for each thing that is wrong, or with -o json the problem document.
func (a *app) report(err error) {
	if several, ok := err.(multiError); ok { //nolint:errorlint // as in exitCode
		for _, err := range several {
			a.report(err)
		}
		return
	}
	switch {
	case err == nil, errors.Is(err, errDry), errors.Is(err, errUnchanged), errors.Is(err, errIncomplete):
		return
	}
	p, ok := problemOf(err)
	if !ok {
		a.notef("%s", clean(err.Error()))
		return
	}
	if a.output == formatJSON {
		if b, err := json.MarshalIndent(p, "", "  "); err == nil {
			fmt.Fprintf(a.stderr, "%s\n", b)
			return
		}
	}
	if len(p.Errors) == 0 {
		a.notef("%s", clean(err.Error()))
	}
	for _, e := range p.Errors {
		a.notef("%s", clean(e.String()))
	}
	if hint := hintFor(err); hint != "" {
		a.notef("%s", hint)
	}
}

func problemOf(err error) (api.Problem, bool) {
	var local *localProblem
	var remote *client.Error
	var p api.Problem
	switch {
	case errors.As(err, &local):
		p = local.p
	case errors.As(err, &remote):
		p = remote.Problem
		p.Type, p.Detail = "about:blank", firstOf(remote.Problem.Detail, remote.Problem.Title)
		if cause := remote.Unwrap(); cause != nil {
			p.Detail += ": " + cause.Error()
		}
		if p.Code == "" && errors.Is(err, client.ErrUnreachable) {
			p.Code = "unreachable"
		}
	default:
		return p, false
	}
	if p.Errors == nil {
		p.Errors = []api.FieldError{}
	}
	if p.Refs == nil {
		p.Refs = []string{}
	}
	return p, true
}

// hintFor says what to do next, where the error itself does not.
func hintFor(err error) string {
	var hinted *hintedError
	if errors.As(err, &hinted) {
		return hinted.hint
	}
	var remote *client.Error
	if !errors.As(err, &remote) {
		return ""
	}
	switch {
	case errors.Is(err, client.ErrOutcomeUnknown):
		return fmt.Sprintf("repeat the command with --request-id %s: it has its effect once", remote.Problem.RequestID)
	case errors.Is(err, context.Canceled):
		return ""
	case errors.Is(err, client.ErrUnreachable):
		return "name the API addresses of the nodes with --api or " + envAPI
	case errors.Is(err, client.ErrUnauthorized):
		return "give a token with the needed role by --token-file or " + envToken
	case errors.Is(err, client.ErrNoLeader):
		return "`lbctl cluster status` shows which nodes are missing"
	}
	return ""
}
