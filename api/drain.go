package api

import "time"

// Drain is how a backend that was taken out is drained.
type Drain struct {
	Deadline   string `json:"deadline"`    // RFC 3339, by each node's own clock; "" = none
	OnDeadline string `json:"on_deadline"` // keep or close what still runs then
	Sticky     string `json:"sticky"`      // keep or release sticky sessions, on a stopped backend
}

// DrainInput is what a client says about a drain. Empty fields are left out.
type DrainInput struct {
	Deadline   string `json:"deadline,omitempty"`
	OnDeadline string `json:"on_deadline,omitempty"`
	Sticky     string `json:"sticky,omitempty"`
}

// The values of on_deadline and sticky.
const (
	DrainKeep    = "keep"
	DrainClose   = "close"   // on_deadline
	DrainRelease = "release" // sticky
)

// MaxDrainDeadline bounds ?deadline= as a duration.
const MaxDrainDeadline = 30 * 24 * time.Hour

// Settings are what holds for the whole cluster.
type Settings struct {
	ID         string `json:"id"`          // always "cluster"
	FenceAfter string `json:"fence_after"` // how long a node goes on without word of a leader; "0s" = for ever

	CreateIndex uint64 `json:"create_index"` // 0 = never written: all defaults hold
	ModifyIndex uint64 `json:"modify_index"`
}

// SettingsInput is what a client says about the settings. Empty fields are left out.
type SettingsInput struct {
	ID         string `json:"id,omitempty"`
	FenceAfter string `json:"fence_after,omitempty"`
}
