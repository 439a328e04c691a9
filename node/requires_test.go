package node

import (
	"testing"

	"github.com/lbnode/lbnode/state"
)

// Nothing is proposed that this version itself would not take, and what came after the first protocol asks for more.
func TestRequires(t *testing.T) {
	t.Parallel()
	for typ, want := range map[state.CommandType]uint8{
		state.TypeInit: 1, state.TypeTxn: 1, state.TypeStates: 1, state.TypeRestore: 1, state.TypeBBB: 2, state.TypeReseal: 2,
	} {
		b, err := state.Encode(state.Command{Type: typ})
		if err != nil {
			t.Fatal(err)
		}
		if got := requires(b); got != want || got > protocol {
			t.Errorf("requires(type %d) = %d, want %d, at most %d", typ, got, want, protocol)
		}
	}
}
