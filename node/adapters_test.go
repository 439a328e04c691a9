package node

import (
	"errors"
	"fmt"
	"testing"

	"github.com/lbnode/lbnode/cluster"
	"github.com/lbnode/lbnode/httpapi"
)

// The API knows the errors of package cluster under its own names, and says what they say once.
func TestAPIError(t *testing.T) {
	t.Parallel()
	err := apiError(fmt.Errorf("%w: n1 is the last voter", cluster.ErrNotSafe))
	if !errors.Is(err, httpapi.ErrNotSafe) || !errors.Is(err, cluster.ErrNotSafe) {
		t.Errorf("%v is not known as not safe", err)
	}
	if got, want := err.Error(), "not safe: n1 is the last voter"; got != want {
		t.Errorf("text = %q, want %q", got, want)
	}
	if err := apiError(nil); err != nil {
		t.Errorf("apiError(nil) = %v", err)
	}
}
