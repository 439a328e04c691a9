package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/lbnode/lbnode/api"
)

const paramConsistency = "consistency"

// retryPause is how long a call waits before it asks all nodes again, where none says Retry-After.
const retryPause = 500 * time.Millisecond

// Do makes one call, on as many nodes as it takes. The error is an *Error.
//
// The next node is asked when one cannot be reached, has no leader, or leaves the outcome open; a write goes
// there with the same Idempotency-Key. When all were asked, and one of them has no leader or left the outcome
// open, they are asked again for up to LeaderWait.
func (c *Client) Do(ctx context.Context, r Request) (*Response, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	if r.isWrite() && r.Key == "" {
		r.Key = c.cfg.NewKey()
	}
	call := call{c: c, r: r, began: time.Now()}
	for {
		resp, again := call.round(ctx)
		if !again {
			if resp != nil {
				return resp, nil
			}
			return nil, call.failure(ctx)
		}
		t := time.NewTimer(call.pause)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return nil, call.failure(ctx)
		}
	}
}

// call is one Do.
type call struct {
	c     *Client
	r     Request
	began time.Time

	last    *Error        // of the last round: the last answer, if there was one
	noReply attemptErrors // why nodes gave no answer, in the last round
	open    bool          // some attempt may have had, or may yet have, an effect
	pause   time.Duration // before the next round
}

// round asks each node once, until one answers for good. It says whether another round makes sense.
func (k *call) round(ctx context.Context) (_ *Response, again bool) {
	urls := k.c.cfg.URLs
	first := int(k.c.at.Load())
	k.last, k.noReply, k.pause = nil, nil, 0
	for i := range urls {
		at := (first + i) % len(urls)
		resp, verdict := k.try(ctx, urls[at], len(urls)-i-1)
		if verdict == final {
			k.c.at.Store(int32(at))
			return resp, false
		}
		again = again || verdict == waitAndRetry
		if ctx.Err() != nil {
			return nil, false
		}
	}
	if k.pause == 0 {
		k.pause = retryPause
	}
	return nil, again && time.Since(k.began)+k.pause <= k.c.cfg.LeaderWait
}

// verdict is what an attempt means for the call.
type verdict int

const (
	final        verdict = iota
	tryNext              // another node may do better
	waitAndRetry         // so may the same node, a little later
)

// try asks one node. others is how many could be asked after it: a node that hangs must leave them time.
func (k *call) try(ctx context.Context, node string, others int) (*Response, verdict) {
	if deadline, ok := ctx.Deadline(); ok && others > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(deadline)/2)
		defer cancel()
	}
	var sent atomic.Bool // before there is a connection nothing can have been sent
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { sent.Store(true) }})
	req, err := k.request(ctx, node)
	if err == nil {
		var resp *Response
		if resp, err = k.send(req, node); resp != nil {
			if resp.Status < 300 {
				return resp, final
			}
			return nil, k.judge(resp)
		}
	}
	if ctx.Err() != nil && errors.Is(err, context.DeadlineExceeded) {
		err = errors.New("no answer in time")
	}
	if k.last == nil || k.last.Status == 0 { // an answer says more
		k.last = &Error{Method: k.r.Method, Path: k.r.Path, Node: node}
	}
	k.noReply = append(k.noReply, fmt.Errorf("%s: %w", node, err))
	if sent.Load() && k.r.isWrite() {
		k.open = true
		return nil, waitAndRetry
	}
	return nil, tryNext
}

// query is that of the request, with how new the answer of a read must be.
func (k *call) query() url.Values {
	level := k.c.cfg.Consistency
	if k.r.Method != http.MethodGet || level == "" || k.r.Query.Has(paramConsistency) {
		return k.r.Query
	}
	q := url.Values{paramConsistency: {level}}
	maps.Copy(q, k.r.Query)
	return q
}

func (k *call) request(ctx context.Context, node string) (*http.Request, error) {
	target := node + k.r.Path
	if q := k.query(); len(q) > 0 {
		target += "?" + q.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, k.r.Method, target, bytes.NewReader(k.r.Body))
	if err != nil {
		return nil, err
	}
	accept := api.ContentJSON
	switch {
	case len(k.r.Body) > 0 && k.r.ContentType != "":
		req.Header.Set("Content-Type", k.r.ContentType)
	case len(k.r.Body) > 0:
		req.Header.Set("Content-Type", api.ContentJSON)
	case k.r.ContentType != "":
		accept = k.r.ContentType
	}
	req.Header.Set("Accept", accept)
	req.Header.Set("User-Agent", k.c.cfg.UserAgent)
	if k.c.cfg.Token != "" {
		req.Header.Set("Authorization", "Bearer "+k.c.cfg.Token)
	}
	if k.r.isWrite() {
		req.Header.Set(api.HeaderIdempotencyKey, k.r.Key)
	}
	if k.r.IfMatch != 0 {
		req.Header.Set("If-Match", api.ETag(k.r.IfMatch))
	}
	return req, nil
}

// send returns an answer whole, or why there is none.
func (k *call) send(req *http.Request, node string) (*Response, error) {
	resp, err := k.c.http.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err // the rest repeats method and URL
		}
		return nil, err
	}
	defer resp.Body.Close()
	limit := k.c.cfg.MaxAnswer
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read the answer: %w", err)
	case int64(len(body)) > limit:
		return nil, fmt.Errorf("the answer is over %d bytes", limit)
	case resp.StatusCode < 300 && req.Header.Get("Accept") != api.ContentJSON:
		if ct := resp.Header.Get("Content-Type"); ct != req.Header.Get("Accept") {
			return nil, fmt.Errorf("the answer is %s, not %s: is this the API address of a node?", ct, req.Header.Get("Accept"))
		}
	case resp.StatusCode < 300 && len(body) > 0 && !json.Valid(body):
		return nil, errors.New("the answer is no JSON: is this the API address of a node?")
	}
	return &Response{Status: resp.StatusCode, Header: resp.Header, Body: body, Node: node, Key: k.r.Key}, nil
}

// judge records an answer that is no success, and says what it means.
func (k *call) judge(resp *Response) verdict {
	e := &Error{Method: k.r.Method, Path: k.r.Path, Node: resp.Node, Status: resp.Status, Problem: problemOf(resp)}
	if e.Problem.RequestID == "" {
		e.Problem.RequestID = k.r.Key
	}
	e.kind = kindOf(resp.Status, e.Problem)
	k.last = e
	if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && s > 0 && s < 3600 {
		k.pause = max(k.pause, time.Duration(s)*time.Second)
	}
	gateway := e.Problem.Code == "" && (resp.Status == http.StatusBadGateway || resp.Status == http.StatusGatewayTimeout)
	switch {
	case errors.Is(e, ErrOutcomeUnknown) || gateway && k.r.isWrite():
		e.kind, k.open = ErrOutcomeUnknown, true
		return waitAndRetry
	case errors.Is(e, ErrNoLeader), e.Problem.Code == api.CodeBusy:
		return waitAndRetry
	case gateway:
		e.kind = ErrUnreachable
		return tryNext
	case errors.Is(e, ErrUnreachable) || e.Problem.Code == api.CodeIndexNotReached:
		return tryNext
	}
	return final
}

// problemOf reads a problem, or makes one of an answer that is not the API's.
func problemOf(resp *Response) api.Problem {
	ct, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	var p api.Problem
	if (ct == api.ContentProblem || ct == api.ContentJSON) && json.Unmarshal(resp.Body, &p) == nil && p.Code != "" {
		return p
	}
	p = api.Problem{Title: http.StatusText(resp.Status), Status: resp.Status}
	if to := resp.Header.Get("Location"); resp.Status < 400 && to != "" {
		p.Detail = fmt.Sprintf("%s redirects to %s: use that as API address", resp.Node, to)
		return p
	}
	p.Detail = fmt.Sprintf("%s answers %d %s", resp.Node, resp.Status, p.Title)
	if text := strings.TrimSpace(string(resp.Body)); ct == "text/plain" && text != "" && len(text) <= 200 && !strings.Contains(text, "\n") {
		p.Detail += ": " + text
	}
	return p
}

// failure is the error of a call that is over.
func (k *call) failure(ctx context.Context) error {
	e := k.last
	if e == nil {
		e = &Error{Method: k.r.Method, Path: k.r.Path, Node: k.c.Node()}
	}
	decided := errors.Is(e, ErrNotFound) || errors.Is(e, ErrConflict) && e.Problem.Code != api.CodeBusy || errors.Is(e, ErrInvalid)
	switch {
	case k.open && !decided:
		// What the last node said is about the last attempt only.
		e.kind = ErrOutcomeUnknown
		e.Problem = api.Problem{
			Title: "Outcome Unknown", Code: api.CodeOutcomeUnknown, Outcome: api.OutcomeUnknown,
			Detail: "the change may or may not be, or yet become, effective", RequestID: k.r.Key,
		}
		e.cause = cause(ctx, k.noReply)
	case e.Status == 0:
		e.kind = ErrUnreachable
		e.Problem = api.Problem{Title: "Unreachable", Detail: "no node answers", RequestID: k.r.Key, Outcome: api.OutcomeNotApplied}
		if e.cause = cause(ctx, k.noReply); errors.Is(e.cause, context.Canceled) {
			e.kind, e.Problem.Detail = nil, "interrupted"
		}
	}
	return e
}

func cause(ctx context.Context, noReply attemptErrors) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err()
	}
	if len(noReply) == 0 {
		return ctx.Err() // nil unless the time was up
	}
	return noReply
}
