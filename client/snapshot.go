package client

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"github.com/lbnode/lbnode/api"
)

// Snapshot returns a backup of everything that operators say, as a node has it.
func (c *Client) Snapshot(ctx context.Context) ([]byte, error) {
	resp, err := c.Do(ctx, Request{Method: http.MethodGet, Path: "/snapshot", ContentType: api.ContentBackup})
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

// RestoreOptions says how a backup is restored.
type RestoreOptions struct {
	DryRun       bool     // only say what would change
	Force        bool     // even if no admin is left among the tokens
	OtherCluster bool     // even if the backup is of another cluster
	Keep         []string // kinds that stay as they are: token, certificate
}

// Query is the options as parameters of PUT /snapshot.
func (o RestoreOptions) Query() url.Values {
	q := url.Values{}
	for name, on := range map[string]bool{"dry_run": o.DryRun, "force": o.Force, "other_cluster": o.OtherCluster} {
		if on {
			q.Set(name, "true")
		}
	}
	if len(o.Keep) > 0 {
		q.Set("keep", strings.Join(o.Keep, ","))
	}
	return q
}

// Restore makes everything what a backup says, in one change.
func (c *Client) Restore(ctx context.Context, backup []byte, o RestoreOptions) (api.RestoreResult, error) {
	resp, err := c.Do(ctx, Request{Method: http.MethodPut, Path: "/snapshot", Query: o.Query(), Body: backup, ContentType: api.ContentBackup})
	if err != nil {
		return api.RestoreResult{}, err
	}
	return Decode[api.RestoreResult](resp)
}
