package b3api

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/lbnode/lbnode/state"
)

// failure is an answer that says what is wrong.
type failure struct {
	status int
	body   any
}

// Error implements error.
func (f *failure) Error() string { return http.StatusText(f.status) }

func message(text string) map[string]string { return map[string]string{"message": text} }

func fail(status int, text string) *failure { return &failure{status, message(text)} }

var (
	errNotFound   = fail(http.StatusNotFound, "Not Found")
	errBadRequest = fail(http.StatusBadRequest, "Bad Request")
)

// invalid says what is wrong with fields.
type invalid map[string][]string

func (v invalid) add(field, text string) { v[field] = append(v[field], text) }

func (v invalid) required(field, value string) {
	if strings.TrimSpace(value) == "" {
		v.add(field, "this field is required")
	}
}

// err is nil if nothing is wrong.
func (v invalid) err() error {
	if len(v) == 0 {
		return nil
	}
	return &failure{http.StatusBadRequest, map[string]any{"error": "validation_error", "message": "validation failed with input", "fields": v}}
}

// failure is the answer to an error.
func (s *Server) failure(r *http.Request, err error) *failure {
	var f *failure
	var refusal *state.Refusal
	switch {
	case errors.As(err, &f):
		return f
	case errors.As(err, &refusal):
		return refused(refusal)
	case errors.Is(err, state.ErrNoLeader), errors.Is(err, state.ErrOutcomeUnknown), errors.Is(err, state.ErrStoreFull), errors.Is(err, state.ErrOldMember), errors.Is(err, context.DeadlineExceeded):
		return fail(http.StatusServiceUnavailable, err.Error())
	case errors.Is(err, context.Canceled):
		return fail(http.StatusServiceUnavailable, "the request was given up")
	}
	s.cfg.Logger.Error("b3scale's API could not answer", "method", r.Method, "path", r.URL.EscapedPath(), "error", err)
	return fail(http.StatusInternalServerError, "Internal Server Error")
}

// refused is the answer to a command that was not taken.
func refused(r *state.Refusal) *failure {
	switch r.Code {
	case state.CodeNotFound:
		return errNotFound
	case state.CodeForbidden:
		return fail(http.StatusForbidden, r.Message)
	case state.CodeExists, state.CodeInUse, state.CodeMismatch, state.CodeReused, state.CodeUnavailable, state.CodeQuota:
		return fail(http.StatusConflict, r.Message)
	}
	v := invalid{}
	for _, e := range r.Errors {
		v.add(fieldOf(e.Pointer), e.Message)
	}
	if len(v) == 0 {
		return fail(http.StatusBadRequest, r.Message)
	}
	var f *failure
	errors.As(v.err(), &f)
	return f
}

// fieldOf is b3scale's name of a field of ours.
func fieldOf(pointer string) string {
	for ours, theirs := range map[string]string{
		"/address": "bbb.host", "/bbb/secrets": "bbb.secret", "/key": "bbb.key", "/secret": "bbb.secret", "/tags": "settings.tags",
		"/required_tags": "settings.required_tags", "/bbb/default_presentation": "settings.default_presentation",
		"/bbb/attendees_limit": "settings.attendees_limit", "/bbb/create_default": "settings.create_default_params",
		"/bbb/create_override": "settings.create_override_params", "/bbb/join_default": "settings.join_default_params",
		"/bbb/join_override": "settings.join_override_params", "/bbb/recording_visibility": "settings.recordings.visibility_override",
		"/bbb/account_ref": "account_ref", "/bbb/agent_ref": "agent_ref",
	} {
		if rest, ok := strings.CutPrefix(pointer, ours); ok && (rest == "" || rest[0] == '/') {
			return theirs + strings.ReplaceAll(rest, "/", ".")
		}
	}
	return strings.ReplaceAll(strings.TrimPrefix(pointer, "/"), "/", ".")
}
