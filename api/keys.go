package api

// ClusterKeys is which keys the members of the cluster hold. The keys themselves never leave the nodes.
type ClusterKeys struct {
	Generation uint64       `json:"generation"` // rises with every change; 0 = the keys are those of the key files
	Keys       []ClusterKey `json:"keys"`       // the one in use first
	Silent     []string     `json:"silent"`     // members that do not answer, of whom nothing is known
}

// ClusterKey is one key.
type ClusterKey struct {
	ID     string   `json:"id"`      // a fingerprint: 8 hex digits
	InUse  bool     `json:"in_use"`  // on the node that answers
	Nodes  []string `json:"nodes"`   // members that accept it
	UsedBy []string `json:"used_by"` // members that use it for what they send
}

// InstallKeyInput is the optional body of POST /cluster/keys.
type InstallKeyInput struct {
	Key string `json:"key,omitempty"` // as `lbnode keygen` prints it; "" = the cluster makes one
}

// KeyChange is the answer to a change of the keys: who has it. A member that has not confirmed takes the change
// over as soon as it talks to the others again.
type KeyChange struct {
	ID          string   `json:"id"` // of the key
	Confirmed   []string `json:"confirmed"`
	Unconfirmed []string `json:"unconfirmed"`
}
