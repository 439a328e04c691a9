package httpapi

import (
	"testing"

	"github.com/lbnode/lbnode/state"
)

func TestNewUUID(t *testing.T) {
	t.Parallel()
	a, b := newUUID(), newUUID()
	if a == b || state.CheckID(a) != "" || a[14] != '4' {
		t.Errorf("newUUID() = %s, %s, want two different ids of version 4", a, b)
	}
}
