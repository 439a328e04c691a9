package client

import (
	"context"
	"net/http"
	"net/url"

	"github.com/lbnode/lbnode/api"
)

// ExplainQuery is the query of GET /explain for a request; all asks every node.
func ExplainQuery(q api.ExplainedRequest, all bool) url.Values {
	v := url.Values{"url": {q.URL}}
	if q.Method != "" {
		v.Set("method", q.Method)
	}
	if len(q.Headers) > 0 {
		v["header"] = q.Headers
	}
	if q.ClientIP != "" {
		v.Set("client_ip", q.ClientIP)
	}
	if all {
		v.Set("node", api.ExplainAll)
	}
	return v
}

// Explain asks what the node that answers, or every node, would do with a request. Only the URL is needed.
func (c *Client) Explain(ctx context.Context, q api.ExplainedRequest, all bool) (api.Explanation, error) {
	out, _, err := callFor[api.Explanation](ctx, c, Request{Method: http.MethodGet, Path: "/explain", Query: ExplainQuery(q, all)})
	return out, err
}
