package client

import (
	"context"
	"net/http"

	"github.com/lbnode/lbnode/api"
)

// Txn makes several changes in one log entry, all or none. The pointers of an error begin with the operation.
func (c *Client) Txn(ctx context.Context, ops []api.TxnOp, w Write) (api.TxnResult, error) {
	out, _, err := send[api.TxnResult](ctx, c, http.MethodPost, "/txn", api.TxnInput{Ops: ops}, w)
	return out, err
}
