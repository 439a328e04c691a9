package api

import "time"

// Token lets whoever bears its text use the API. Neither the text nor its hash is ever shown again.
type Token struct {
	ID          string     `json:"id"`
	Role        string     `json:"role"` // viewer, operator, admin
	Description string     `json:"description"`
	Pools       []string   `json:"pools"`      // its writes are bound to backends and routes of these pools; empty = not bound
	ExpiresAt   *time.Time `json:"expires_at"` // null = never
	Expired     bool       `json:"expired"`    // by the clock of the answering node
	CreateIndex uint64     `json:"create_index"`
	ModifyIndex uint64     `json:"modify_index"`
}

// TokenSecret is a token with its text, as only the answer that made it has it.
type TokenSecret struct {
	Token
	Text string `json:"token"` // to be sent as Authorization: Bearer
}

// TokenInput is what a client says about a token. Nil and empty fields are left out.
type TokenInput struct {
	ID          string     `json:"id,omitempty"`
	Role        string     `json:"role,omitempty"`
	Description string     `json:"description,omitempty"`
	Pools       []string   `json:"pools,omitempty"`
	ExpiresAt   *time.Time `json:"expires_at,omitempty"`
}
