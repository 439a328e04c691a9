package apitest

import (
	"context"
	"maps"

	"github.com/lbnode/lbnode/httpapi"
)

// Report implements httpapi.Loads.
func (f *Fake) Report(backendID string, r httpapi.LoadReport) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.Loads == nil {
		f.Loads = map[string]httpapi.LoadReport{}
	}
	f.Loads[backendID] = r
}

// Progress implements httpapi.Callbacks.
func (f *Fake) Progress(context.Context) map[string]httpapi.CallbackProgress {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.Tried)
}
