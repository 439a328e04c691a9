package api

import "time"

// Certificate is what the proxies show to clients, or to backends. Its private key is never shown.
type Certificate struct {
	ID          string     `json:"id"`
	Certificate string     `json:"certificate"` // PEM, the leaf first and then the chain
	Hosts       []string   `json:"hosts"`       // further names that it is shown for
	Names       []string   `json:"names"`       // all names that it is shown for
	Issuer      string     `json:"issuer"`
	Serial      string     `json:"serial"` // in hex
	NotBefore   *time.Time `json:"not_before"`
	NotAfter    *time.Time `json:"not_after"`
	Expired     bool       `json:"expired"` // by the clock of the answering node
	CreateIndex uint64     `json:"create_index"`
	ModifyIndex uint64     `json:"modify_index"`
}

// CertificateInput is what a client says about a certificate. Empty fields are left out; a key that is left out of
// a PUT stays as it is.
type CertificateInput struct {
	ID          string   `json:"id,omitempty"`
	Certificate string   `json:"certificate,omitempty"`
	PrivateKey  string   `json:"private_key,omitempty"` // PEM
	Hosts       []string `json:"hosts,omitempty"`
}
