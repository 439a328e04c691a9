package api

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// Header names of the admin API.
const (
	HeaderRequestID = "X-Request-Id"    // of every answer: the Idempotency-Key, or a generated id
	HeaderIndex     = "X-Lbnode-Index"  // log index of what was read, or at which the write is visible
	HeaderNode      = "X-Lbnode-Node"   // id of the node that answers
	HeaderLeader    = "X-Lbnode-Leader" // id of the leader it knows; missing = none
	HeaderStale     = "X-Lbnode-Stale"  // "true": read from disk, no leader has confirmed it yet
	// HeaderLastContact is how long ago the node heard the leader, such as 12ms; 0s on the leader, missing = never.
	HeaderLastContact    = "X-Lbnode-Last-Contact"
	HeaderIdempotencyKey = "Idempotency-Key" // of a write: repeats have their effect once
)

// Content types of the admin API.
const (
	ContentJSON       = "application/json"
	ContentMergePatch = "application/merge-patch+json"
	ContentProblem    = "application/problem+json"
)

// Bounds of requests.
const (
	MaxBody           = 1 << 20 // bytes of a request body
	MaxLimit          = 10_000  // of ?limit; without it a list is whole
	MaxIdempotencyKey = 128     // bytes, visible ASCII
)

// ETag is the entity tag of an object with this modify_index.
func ETag(modifyIndex uint64) string { return `"` + strconv.FormatUint(modifyIndex, 10) + `"` }

// ParseETag reads what ETag wrote. A weak tag or anything else is none of ours.
func ParseETag(s string) (modifyIndex uint64, ok bool) {
	s, found := strings.CutPrefix(s, `"`)
	s, closed := strings.CutSuffix(s, `"`)
	if !found || !closed {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 10, 64)
	return n, err == nil
}

// NextLink is the value of a Link header that names the next page.
func NextLink(target string) string { return "<" + target + `>; rel="next"` }

// NextCursor returns the ?after of the next page of a list, or "" on the last page.
func NextCursor(h http.Header) string {
	for _, line := range h.Values("Link") {
		for link := range strings.SplitSeq(line, ",") {
			target, params, ok := strings.Cut(strings.TrimSpace(link), ">")
			target, open := strings.CutPrefix(target, "<")
			if !ok || !open || !strings.Contains(params, `rel="next"`) {
				continue
			}
			if u, err := url.Parse(target); err == nil {
				return u.Query().Get("after")
			}
		}
	}
	return ""
}
