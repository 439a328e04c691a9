package api

// Cluster is the state of the cluster as the answering node sees it.
type Cluster struct {
	ID               string   `json:"id"`                // "" = not yet formed or joined
	Node             string   `json:"node"`              // who answers
	State            string   `json:"state"`             // what the answering node is: leader, follower, candidate, …
	Leader           *Leader  `json:"leader"`            // null = none known
	Healthy          bool     `json:"healthy"`           // a leader is known and a majority of voters is alive
	FailureTolerance int      `json:"failure_tolerance"` // how many more voters may fail
	Index            uint64   `json:"index"`             // last log entry in what this node answers
	Term             uint64   `json:"term"`
	CommitIndex      uint64   `json:"commit_index"`
	LastIndex        uint64   `json:"last_index"`
	Voters           []string `json:"voters"`
	LiveVoters       int      `json:"live_voters"`
	LastContact      string   `json:"last_contact"` // since the leader was last heard; "" = unknown
	Stale            bool     `json:"stale"`        // what this node answers comes from its disk, unconfirmed
}

// Leader is where the leader is.
type Leader struct {
	ID    string `json:"id"`
	API   string `json:"api"`
	Proxy string `json:"proxy"`
}

// Node is one member of the cluster.
type Node struct {
	ID           string  `json:"id"`
	Address      string  `json:"address"` // cluster address
	API          string  `json:"api"`
	Proxy        string  `json:"proxy"`
	Version      string  `json:"version"`
	Status       string  `json:"status"` // alive, suspect, dead, left
	Voter        bool    `json:"voter"`
	Leader       bool    `json:"leader"`
	Self         bool    `json:"self"` // who answers
	Draining     bool    `json:"draining"`
	Fences       bool    `json:"fences"`        // known to keep the fence_after of now; false without one
	LastContact  string  `json:"last_contact"`  // since it was last heard; "" = unknown
	AppliedIndex uint64  `json:"applied_index"` // 0 = unknown
	StoreFull    bool    `json:"store_full"`    // its disk is full: as the leader it takes no operators' changes
	Lag          *uint64 `json:"lag"`           // committed entries that it has not applied; null = unknown
}

// TransferInput is the optional body of POST /cluster/transfer-leader.
type TransferInput struct {
	To string `json:"to,omitempty"` // node id; "" = the best voter
}

// Live is the answer of GET /livez.
type Live struct {
	Status string `json:"status"` // ok
}

// Ready is the answer of GET /readyz on a node that is ready.
type Ready struct {
	Ready   bool     `json:"ready"`
	Reasons []string `json:"reasons"`
}

// NotReady is the problem that GET /readyz answers with status 503.
type NotReady struct {
	Problem
	Ready   bool     `json:"ready"`
	Reasons []string `json:"reasons"`
}
