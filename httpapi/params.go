package httpapi

import (
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/gorilla/mux"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/internal/strictjson"
	"github.com/lbnode/lbnode/state"
)

// params are the parameters of a query string, checked against what the endpoint takes.
type params url.Values

// parseParams refuses what the endpoint does not know: a mistyped ?force must not silently do something else.
func parseParams(query string, e endpoint) (params, error) {
	q, err := url.ParseQuery(query)
	if e.lenient {
		return params(q), nil
	}
	if err != nil {
		return nil, invalid("the query string is malformed: " + err.Error())
	}
	var errs []api.FieldError
	for _, name := range sortedKeys(q) {
		switch {
		case !slices.Contains(e.params, name):
			msg := fmt.Sprintf("unknown parameter %q", name)
			if best := strictjson.Nearest(name, e.params); best != "" {
				msg += fmt.Sprintf("; did you mean %q?", best)
			}
			errs = append(errs, api.FieldError{Message: msg})
		case len(q[name]) > 1 && name != paramTag && name != paramHeader:
			errs = append(errs, api.FieldError{Message: fmt.Sprintf("parameter %q must be given once", name)})
		}
	}
	if len(errs) > 0 {
		return nil, invalid("the query string is not valid", errs...)
	}
	return params(q), nil
}

func sortedKeys(q url.Values) []string {
	keys := make([]string, 0, len(q))
	for k := range q {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// has says that a parameter is there, be it empty.
func (p params) has(name string) bool { return url.Values(p).Has(name) }

func (p params) get(name string) string { return url.Values(p).Get(name) }

// flag reads ?name, ?name=true and ?name=false.
func (p params) flag(name string) (bool, error) {
	if !url.Values(p).Has(name) {
		return false, nil
	}
	switch p.get(name) {
	case "", "1", "true":
		return true, nil
	case "0", "false":
		return false, nil
	}
	return false, badParam(name, "must be true or false, got %q", p.get(name))
}

// number reads an integer from lo to hi; ok is false if the parameter is not there.
func (p params) number(name string, lo, hi uint64) (n uint64, ok bool, err error) {
	if !url.Values(p).Has(name) {
		return 0, false, nil
	}
	n, err = strconv.ParseUint(p.get(name), 10, 64)
	if err != nil || n < lo || n > hi {
		return 0, false, badParam(name, "must be an integer from %d to %d, got %q", lo, hi, p.get(name))
	}
	return n, true, nil
}

// oneOf checks a parameter that may be left out.
func oneOf[T ~string](p params, name string, allowed ...T) error {
	v := p.get(name)
	if !url.Values(p).Has(name) || slices.Contains(allowed, T(v)) {
		return nil
	}
	names := make([]string, len(allowed))
	for i, a := range allowed {
		names[i] = string(a)
	}
	return badParam(name, "must be one of %s, got %q", strings.Join(names, ", "), v)
}

func badParam(name, format string, args ...any) error {
	return invalid("the query string is not valid", api.FieldError{Message: fmt.Sprintf("parameter %q ", name) + fmt.Sprintf(format, args...)})
}

// page takes one page of a list that comes in the order of its ids, and returns the Link header to the next.
func page[T any](c *call, all iter.Seq[T], id func(T) string) ([]T, http.Header, error) {
	limit, limited, err := c.params.number(paramLimit, 1, api.MaxLimit)
	if err != nil {
		return nil, nil, err
	}
	after := c.params.get(paramAfter)
	out := []T{}
	for o := range all {
		if after != "" && id(o) <= after {
			continue
		}
		if limited && uint64(len(out)) == limit {
			return out, http.Header{"Link": {api.NextLink(c.nextPage(id(out[len(out)-1])))}}, nil
		}
		out = append(out, o)
	}
	return out, nil, nil
}

func (c *call) nextPage(after string) string {
	q := url.Values{}
	for k, v := range c.params {
		q[k] = v
	}
	for _, p := range readParams() { // the next page is asked for when this one is there
		q.Del(p)
	}
	q.Set(paramAfter, after)
	return c.r.URL.EscapedPath() + "?" + q.Encode()
}

// pathID is the {id} of the path, decoded.
func (c *call) pathID() (string, error) {
	id, err := url.PathUnescape(mux.Vars(c.r)["id"])
	if err != nil {
		return "", invalid("the path is malformed: " + err.Error())
	}
	return id, nil
}

// precondition is what If-Match and If-None-Match ask for.
type precondition struct {
	index  uint64 // If-Match: the modify_index that must be; 0 = any
	create bool   // If-None-Match: *
}

// precondition reads If-Match and If-None-Match for a change of the object old, or nil.
func (c *call) precondition(old state.Object) (precondition, error) {
	var p precondition
	if none := c.r.Header.Values("If-None-Match"); len(none) > 0 {
		if strings.TrimSpace(strings.Join(none, ",")) != "*" || c.r.Method != http.MethodPut {
			return p, invalid("If-None-Match can only be *, on PUT: create, but do not replace")
		}
		p.create = true
	}
	match := c.r.Header.Values("If-Match")
	switch {
	case len(match) == 0:
		return p, nil
	case p.create:
		return p, invalid("If-Match and If-None-Match: * exclude each other")
	case c.r.Method == http.MethodPost && old == nil:
		return p, invalid("If-Match has no meaning here")
	}
	var err error
	p.index, err = matchIndex(strings.Join(match, ","), old)
	return p, err
}

// matchIndex picks the modify_index to insist on. The leader compares it once more when the change is made.
func matchIndex(header string, old state.Object) (uint64, error) {
	var current uint64
	if old != nil {
		current = old.Stamps().ModifyIndex
	}
	var wanted []uint64
	for part := range strings.SplitSeq(header, ",") {
		part = strings.TrimSpace(part)
		if part == "*" && current != 0 {
			return current, nil
		}
		if index, ok := api.ParseETag(part); ok && index != 0 {
			wanted = append(wanted, index)
		}
	}
	switch {
	case len(wanted) == 0:
		return 0, &failure{
			status: http.StatusPreconditionFailed, code: api.CodeMismatch,
			detail: fmt.Sprintf("If-Match: %s does not match; it must be the ETag of an answer, such as %s", header, api.ETag(max(current, 1))),
		}
	case slices.Contains(wanted, current):
		return current, nil
	}
	return wanted[0], nil
}

// checkIdempotencyKey takes one key of visible ASCII, or none.
func checkIdempotencyKey(values []string) error {
	if len(values) == 0 {
		return nil
	}
	key := values[0]
	bad := strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' })
	if len(values) > 1 || key == "" || len(key) > api.MaxIdempotencyKey || bad {
		return invalid(fmt.Sprintf("the header %s must be one value of 1 to %d visible ASCII characters", api.HeaderIdempotencyKey, api.MaxIdempotencyKey))
	}
	return nil
}

// isRefused says whether err is a refusal with this code.
func isRefused(err error, code state.Code) bool {
	var r *state.Refusal
	return errors.As(err, &r) && r.Code == code
}
