package b3api

import "time"

// status is what GET /api/v1 answers.
type status struct {
	Version    string       `json:"version"`
	Build      string       `json:"build"`
	API        string       `json:"api"`
	AccountRef string       `json:"account_ref"`
	IsAdmin    bool         `json:"is_admin"`
	Database   schemaStatus `json:"database"`
}

// schemaStatus says that there is nothing to migrate: the state is the nodes' own.
type schemaStatus struct {
	Available bool       `json:"available"`
	Database  string     `json:"database"`
	Migrated  bool       `json:"migrated"`
	Migration *migration `json:"migration"`
	Pending   int        `json:"pending_migrations"`
	Error     *string    `json:"error"`
}

type migration struct {
	AppliedAt   time.Time `json:"applied_at"`
	Description string    `json:"description"`
	Version     int       `json:"version"`
}

func schema() schemaStatus {
	return schemaStatus{Available: true, Database: "lbnode", Migrated: true, Migration: &migration{AppliedAt: never(), Description: "replicated state"}}
}

// never is what b3scale says of a time that has not come.
func never() time.Time { return time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) }

func (c *call) status() (any, error) {
	return status{
		Version: c.s.cfg.Version, Build: "lbnode@" + c.s.cfg.NodeID, API: "v1", AccountRef: c.who.ref, IsAdmin: c.who.has(scopeAdmin),
		Database: schema(),
	}, nil
}
