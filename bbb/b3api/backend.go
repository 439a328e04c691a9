package b3api

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/lbnode/lbnode/bbb/server"
	"github.com/lbnode/lbnode/state"
)

// backend is a server as b3scale shows it. Every key is there in every answer.
type backend struct {
	ID             string          `json:"id"`
	NodeState      string          `json:"node_state"`
	AdminState     string          `json:"admin_state"`
	AgentHeartbeat time.Time       `json:"agent_heartbeat"`
	AgentRef       *string         `json:"agent_ref"`
	LastError      *string         `json:"last_error"`
	Latency        int64           `json:"latency"` // ns
	MeetingsCount  int             `json:"meetings_count"`
	AttendeesCount int             `json:"attendees_count"`
	LoadFactor     float64         `json:"load_factor"`
	BBB            backendBBB      `json:"bbb"`
	Settings       backendSettings `json:"settings"`
	CreatedAt      time.Time       `json:"created_at"`
	UpdatedAt      time.Time       `json:"updated_at"`
	SyncedAt       time.Time       `json:"synced_at"`
}

type backendBBB struct {
	Host   string `json:"host"`
	Secret string `json:"secret"`
}

type backendSettings struct {
	Tags []string `json:"tags"`
}

// adminStates are those that an operator may ask for.
func adminStates() []string {
	return []string{string(state.AdminInit), string(state.AdminReady), string(state.AdminStopped), string(state.AdminDecommissioned)}
}

// isServer says that a backend is a BigBlueButton server.
func isServer(v *state.View, b *state.Backend) bool {
	p, ok := v.Pool(b.Pool)
	return ok && p.Health.Type == state.CheckBBB || len(b.BBB.Secrets) > 0
}

// hostURL is the URL of a backend's API as operators of b3scale write it: their own text, if that was one.
func hostURL(address string) string {
	if strings.Contains(address, "://") {
		return address
	}
	return canonical(address) + "/"
}

// canonical is the same for all texts that mean one server; that itself for what means none.
func canonical(address string) string {
	url, err := server.API(address)
	if err != nil {
		return address
	}
	return url
}

// backend shows a stored backend.
func (c *call) backend(v *state.View, b *state.Backend) backend {
	seen := c.s.cfg.Table.Status(b.ID)
	out := backend{
		ID: b.ID, NodeState: string(b.NodeState()), AdminState: string(b.AdminState), AgentHeartbeat: never(),
		Latency: int64(seen.Latency), MeetingsCount: seen.Meetings, AttendeesCount: seen.Attendees, LoadFactor: b.LoadFactor,
		BBB: backendBBB{Host: hostURL(b.Address), Secret: b.BBB.Secret()}, Settings: backendSettings{Tags: slices.Clone(b.Tags)},
		CreatedAt: changedAt(v, b.CreateIndex), UpdatedAt: changedAt(v, b.ModifyIndex), SyncedAt: seen.Polled.UTC(),
	}
	if len(out.Settings.Tags) == 0 {
		out.Settings.Tags = nil
	}
	if !seen.Reported.IsZero() {
		out.AgentHeartbeat = seen.Reported.UTC()
	}
	if b.BBB.AgentRef != "" {
		out.AgentRef = &b.BBB.AgentRef
	}
	if b.NodeState() == state.NodeError {
		out.LastError = &b.VerdictText
	}
	if c.who.blind {
		out.BBB.Secret = ""
	}
	return out
}

// changedAt is when a change was made, as far back as the history goes.
func changedAt(v *state.View, index uint64) time.Time {
	if ch, ok := v.Change(index); ok {
		return ch.At.UTC()
	}
	return time.Time{}
}

// check says what is wrong with what a client wants a backend to be. What the state checks itself is left to it.
func (b *backend) check() error {
	v := invalid{}
	v.required("bbb.host", b.BBB.Host)
	v.required("bbb.secret", b.BBB.Secret)
	if !slices.Contains(adminStates(), b.AdminState) {
		v.add("admin_state", "must be one of "+strings.Join(adminStates(), ", "))
	}
	if b.BBB.Host != "" {
		if _, err := server.API(b.BBB.Host); err != nil {
			v.add("bbb.host", err.Error())
		}
	}
	return v.err()
}

// apply takes over what a client may change of a backend that was shown as old.
func (b *backend) apply(spec *state.BackendSpec, old backend) {
	if b.BBB.Host != old.BBB.Host {
		spec.Address = b.BBB.Host
	}
	if b.BBB.Secret != "" && b.BBB.Secret != spec.BBB.Secret() {
		rest := slices.Clone(spec.BBB.Secrets[min(1, len(spec.BBB.Secrets)):])
		spec.BBB.Secrets = append([]string{b.BBB.Secret}, rest...)
	}
	spec.AdminState, spec.Tags, spec.LoadFactor = state.AdminState(b.AdminState), b.Settings.Tags, b.LoadFactor
}

// op makes an operation that says all of a spec.
func op(verb state.Verb, spec state.Spec, ifMatch uint64) (state.Op, error) {
	value, err := json.Marshal(spec)
	return state.Op{Verb: verb, Kind: spec.Kind(), ID: spec.ObjectID(), Value: value, IfMatch: ifMatch}, err
}
