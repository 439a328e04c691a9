package httpapi

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/internal/strictjson"
	"github.com/lbnode/lbnode/state"
)

// failure is an error that this package finds itself.
type failure struct {
	status int
	code   string
	detail string
	errs   []api.FieldError
	refs   []string
	allow  string // of 405

	challenge  string        // WWW-Authenticate, of 401 and 403
	retryAfter time.Duration // of 429

	notReady []string // of /readyz: the reasons
}

// Error implements error.
func (f *failure) Error() string { return f.code + ": " + f.detail }

// invalid is a mistake in the request: 400.
func invalid(detail string, errs ...api.FieldError) error {
	return &failure{status: http.StatusBadRequest, code: api.CodeInvalid, detail: detail, errs: errs}
}

// errPanicked says that a handler panicked.
var errPanicked = errors.New("handler panicked")

// refused says what HTTP calls a refusal of a command; 0 for one that no request can cause.
func refused(code state.Code) (int, string) {
	switch code {
	case state.CodeInvalid:
		return http.StatusBadRequest, api.CodeInvalid
	case state.CodeNotFound:
		return http.StatusNotFound, api.CodeNotFound
	case state.CodeExists:
		return http.StatusConflict, api.CodeExists
	case state.CodeMismatch:
		return http.StatusPreconditionFailed, api.CodeMismatch
	case state.CodeInUse:
		return http.StatusConflict, api.CodeInUse
	case state.CodeReused:
		return http.StatusUnprocessableEntity, api.CodeReused
	case state.CodeForbidden:
		return http.StatusForbidden, api.CodeForbidden
	case state.CodeCluster:
	}
	return 0, ""
}

// problemOf is the one place where errors become statuses and codes. write says that the request asked for a
// change, so that an error of which nothing is known leaves its outcome unknown.
func problemOf(err error, write bool) api.Problem {
	var fail *failure
	var refusal *state.Refusal
	var fields strictjson.Errors
	p := api.Problem{Outcome: api.OutcomeNotApplied, Detail: err.Error()}
	set := func(status int, code string) { p.Status, p.Code = status, code }
	switch {
	case errors.As(err, &fail):
		set(fail.status, fail.code)
		p.Detail, p.Errors, p.Refs = fail.detail, fail.errs, fail.refs
	case errors.As(err, &refusal) && isKnown(refusal.Code):
		set(refused(refusal.Code))
		p.Detail, p.Refs = refusal.Message, refusal.Refs
		for _, e := range refusal.Errors {
			p.Errors = append(p.Errors, api.FieldError(e))
		}
	case errors.As(err, &fields):
		set(http.StatusBadRequest, api.CodeInvalid)
		p.Detail = "the body is not valid"
		for _, e := range fields {
			p.Errors = append(p.Errors, api.FieldError(e))
		}
	case errors.Is(err, ErrUnknownNode), errors.Is(err, ErrUnknownKey):
		set(http.StatusNotFound, api.CodeNotFound)
	case errors.Is(err, ErrUnreachable):
		set(http.StatusGatewayTimeout, api.CodeNodeUnreachable)
		p.Outcome = api.OutcomeUnknown
	case errors.Is(err, ErrNotSafe):
		set(http.StatusConflict, api.CodeNotSafe)
	case errors.Is(err, ErrBusy):
		set(http.StatusServiceUnavailable, api.CodeBusy)
	// An error that is both is of unknown outcome: that is the careful reading.
	case errors.Is(err, state.ErrOutcomeUnknown), write && isContext(err) && !errors.Is(err, state.ErrNoLeader):
		set(http.StatusGatewayTimeout, api.CodeOutcomeUnknown)
		p.Outcome = api.OutcomeUnknown
		p.Detail = "the change may or may not have been made; repeat the request with the header Idempotency-Key set to this request_id, and it has its effect once"
	case errors.Is(err, state.ErrNoLeader):
		set(http.StatusServiceUnavailable, api.CodeNoLeader)
		p.Detail = "the cluster has no leader now; nothing was changed, try again"
	case errors.Is(err, state.ErrStoreFull):
		set(http.StatusServiceUnavailable, api.CodeStoreFull)
		p.Detail = "nothing was changed; " + err.Error()
	case errors.Is(err, state.ErrOldMember):
		set(http.StatusConflict, api.CodeOldMember)
		p.Detail = "nothing was changed; " + err.Error()
	default:
		set(http.StatusInternalServerError, api.CodeInternal)
		p.Detail = "internal error; the log of this node has the cause under this request_id"
		if write {
			p.Outcome = api.OutcomeUnknown
		}
	}
	return p
}

func isKnown(code state.Code) bool {
	status, _ := refused(code)
	return status != 0
}

func isContext(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// isWrite says whether a request asks for a change.
func isWrite(r *http.Request) bool {
	return r.Method != http.MethodGet && r.Method != http.MethodHead && r.Method != http.MethodOptions
}

// complete fills what does not depend on the error; h is the head of the answer.
func complete(p api.Problem, h http.Header) api.Problem {
	p.Type, p.Title = "about:blank", http.StatusText(p.Status)
	p.RequestID = h.Get(api.HeaderRequestID)
	if p.Errors == nil {
		p.Errors = []api.FieldError{}
	}
	if p.Refs == nil {
		p.Refs = []string{}
	}
	return p
}

// writeProblem answers with an error.
func (s *Server) writeProblem(w http.ResponseWriter, r *http.Request, err error) {
	p := complete(problemOf(err, isWrite(r)), w.Header())
	if p.Status == http.StatusInternalServerError {
		s.cfg.Logger.LogAttrs(r.Context(), slog.LevelError, "api request failed", slog.String("method", r.Method),
			slog.String("path", r.URL.EscapedPath()), slog.String("request_id", p.RequestID), slog.Any("error", err))
	}
	a := answer{status: p.Status, body: p, contentType: api.ContentProblem, header: http.Header{}}
	if p.Status == http.StatusServiceUnavailable {
		a.header.Set("Retry-After", "1")
	}
	var fail *failure
	if errors.As(err, &fail) {
		if fail.challenge != "" {
			a.header.Set("WWW-Authenticate", fail.challenge)
		}
		if fail.retryAfter > 0 {
			a.header.Set("Retry-After", seconds(fail.retryAfter))
		}
		if fail.allow != "" {
			a.header.Set("Allow", fail.allow)
		}
		if fail.notReady != nil {
			a.body = api.NotReady{Problem: p, Reasons: fail.notReady}
		}
	}
	s.writeAnswer(w, r, a)
}
