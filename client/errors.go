package client

import (
	"errors"
	"net/http"
	"strings"

	"github.com/lbnode/lbnode/api"
)

// What an Error matches with errors.Is. An error matches at most one of them.
var (
	// ErrNotFound says that there is no such object.
	ErrNotFound = errors.New("not found")
	// ErrConflict says that the state of the cluster does not allow the change: the object exists, is in use,
	// has changed in between, another change is under way, or the cluster would lose its quorum.
	ErrConflict = errors.New("conflict")
	// ErrUnauthorized says that the token is missing, wrong, or lacks the role.
	ErrUnauthorized = errors.New("not authorized")
	// ErrNoLeader says that the cluster has no leader; certainly nothing was changed.
	ErrNoLeader = errors.New("no leader")
	// ErrOutcomeUnknown says that a write may or may not be, or yet become, effective.
	ErrOutcomeUnknown = errors.New("outcome unknown")
	// ErrInvalid says that the request is wrong; sent again it will be refused again.
	ErrInvalid = errors.New("invalid")
	// ErrUnreachable says that no node answered; certainly nothing was changed.
	ErrUnreachable = errors.New("unreachable")
)

// Error is every call that did not succeed.
type Error struct {
	Method string
	Path   string
	Node   string // URL of the node that answered, or was tried last
	Status int    // HTTP status; 0 = no answer
	// Problem is what the API answered. Its Code is "" when no answer came, or one that is not the API's. Its
	// RequestID is the Idempotency-Key to repeat a write with whose outcome is unknown.
	Problem api.Problem

	kind  error // one of the sentinels, or nil
	cause error // why there was no answer
}

// Error implements error.
func (e *Error) Error() string {
	if e.cause != nil {
		return e.Problem.Error() + ": " + e.cause.Error()
	}
	return e.Problem.Error()
}

// Is implements the contract of errors.Is for the sentinels.
func (e *Error) Is(target error) bool { return e.kind != nil && target == e.kind }

// Unwrap returns what kept the answer from coming, if anything did.
func (e *Error) Unwrap() error { return e.cause }

// kindOf maps an answer to a sentinel.
func kindOf(status int, p api.Problem) error {
	if p.Outcome == api.OutcomeUnknown || p.Code == api.CodeOutcomeUnknown {
		return ErrOutcomeUnknown
	}
	switch p.Code {
	case api.CodeNoLeader:
		return ErrNoLeader
	case api.CodeCrossOrigin:
		return ErrUnauthorized
	case api.CodeBusy:
		return ErrConflict
	}
	switch status {
	case http.StatusNotFound:
		return ErrNotFound
	case http.StatusConflict, http.StatusPreconditionFailed, http.StatusUnprocessableEntity:
		return ErrConflict
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests:
		return ErrUnauthorized
	case http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType:
		return ErrInvalid
	case http.StatusServiceUnavailable:
		if p.Code == "" { // something in between speaks for the node
			return ErrUnreachable
		}
	}
	return nil
}

// attemptErrors is why each node that was tried gave no answer.
type attemptErrors []error

// Error implements error.
func (a attemptErrors) Error() string {
	var s []string
	for _, err := range a {
		s = append(s, err.Error())
	}
	return strings.Join(s, "; ")
}

// Unwrap implements the contract of errors.Is and errors.As for several errors.
func (a attemptErrors) Unwrap() []error { return a }
