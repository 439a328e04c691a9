package api

import "time"

// Bounds of ?confirm_within= on POST /apply and POST /txn.
const (
	MinConfirm = time.Second
	MaxConfirm = 24 * time.Hour
)

// Pending is a change that is undone unless somebody confirms it in time.
type Pending struct {
	Index     uint64         `json:"index"` // of the change; what POST /apply/confirm?index= takes
	Time      time.Time      `json:"time"`
	Actor     string         `json:"actor"`
	Summary   string         `json:"summary"`
	ConfirmBy time.Time      `json:"confirm_by"`
	Remaining string         `json:"remaining"` // until then, by the clock of the answering node; 0s = due
	Objects   []ObjectChange `json:"objects"`
}

// ConfirmResult is the answer of POST /apply/confirm.
type ConfirmResult struct {
	Index     uint64 `json:"index"`     // log index of the confirmation
	Confirmed uint64 `json:"confirmed"` // of the change that now stays
}
