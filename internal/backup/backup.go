// Package backup is the format of backup files: everything that operators say, as of one log index, in a file that
// shows what it is and whether it is whole, and that holds no secret in the clear.
//
// A file is lines of JSON: a [Header], one object a line in the order of kind and id, and an end with the number of
// objects and the SHA-256 of all lines before it. A file that was cut short has no end, one that was changed has a
// wrong sum, and after the end nothing may come. Secrets of frontends and BigBlueButton servers and hashes of tokens are sealed with the cluster
// key (package seal); private keys of certificates are sealed in the state already.
//
// [Write] makes a file of a view, [Read] checks one, [Backup.Specs] opens the secrets, and [WriteFile] puts it on disk so
// that there is never half of one. Package httpapi serves and restores backups, package node writes them on a
// schedule, lbctl reads them offline. Nothing here restores anything.
package backup

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/lbnode/lbnode/internal/seal"
	"github.com/lbnode/lbnode/state"
)

// Errors of reading.
var (
	// ErrDamaged says that a file is not a whole backup. The error says where.
	ErrDamaged = errors.New("not a whole lbnode backup")
	// ErrNewer says that a newer lbnode wrote the file.
	ErrNewer = errors.New("written by a newer lbnode")
	// ErrKey says that the key which sealed the secrets is not at hand. The error names it by its id.
	ErrKey = errors.New("sealed with another cluster key")
)

// ContentType is what backups are over HTTP.
const ContentType = "application/vnd.lbnode.backup"

// MaxSize bounds a backup, in bytes.
const MaxSize = 64 << 20

const (
	format  = "lbnode-backup"
	version = 1
	maxLine = 16 << 20
)

// Header is the first line of a file.
type Header struct {
	Format    string    `json:"format"`
	Version   int       `json:"version"`
	Lbnode    string    `json:"lbnode"` // version of the one that wrote it
	ClusterID string    `json:"cluster_id"`
	FormerIDs []string  `json:"former_cluster_ids,omitempty"` // those that the cluster had before a recovery
	Index     uint64    `json:"index"`                        // last log entry that it has the effect of
	Term      uint64    `json:"term"`
	ConfigGen uint64    `json:"config_gen"` // index of the last change by an operator
	Time      time.Time `json:"time"`
	Node      string    `json:"node"` // that wrote it
	// SealedWith is the id of the key that opens the secrets; "" = they are not sealed, as on their way into a cluster
	// whose key is another one.
	SealedWith string `json:"sealed_with"`
	// OpenKey says that this is the well-known key of labs on loopback: anybody can open the secrets.
	OpenKey bool `json:"open_key"`
}

type line struct {
	Kind state.Kind `json:"kind,omitempty"`
	Spec any        `json:"spec,omitempty"`
	End  *end       `json:"end,omitempty"`
}

type end struct {
	Objects int    `json:"objects"`
	SHA256  string `json:"sha256"`
}

// Backup is a file that was read and found whole.
type Backup struct {
	Header
	SHA256 string // of all but the end
	Size   int64  // bytes

	sealed []state.Spec
}

// Len is the number of objects.
func (b *Backup) Len() int { return len(b.sealed) }

// Counts says how many objects of each kind there are.
func (b *Backup) Counts() map[state.Kind]int {
	out := map[state.Kind]int{}
	for _, s := range b.sealed {
		out[s.Kind()]++
	}
	return out
}

// Of says whether the backup is of a cluster, be it under a former id of either.
func (b *Backup) Of(v *state.View) bool {
	for _, id := range append([]string{v.ClusterID}, v.FormerIDs...) {
		if id == b.ClusterID {
			return true
		}
	}
	return false
}

// Specs returns the objects with their secrets opened, but for private keys of certificates, which are sealed with
// the box's first key as the state has them. The error wraps [ErrKey] or [ErrDamaged].
func (b *Backup) Specs(box *seal.Box) ([]state.Spec, error) {
	out := make([]state.Spec, len(b.sealed))
	for i, s := range b.sealed {
		plain, err := b.opened(s, box)
		if err != nil {
			return nil, err
		}
		if c, ok := plain.(*state.CertificateSpec); ok {
			if c.PrivateKey, err = box.Seal(seal.CertificateKey(c.ID), []byte(c.PrivateKey)); err != nil {
				return nil, err
			}
			if text := b.sealed[i].(*state.CertificateSpec).PrivateKey; keyOf(text) == box.KeyID() {
				c.PrivateKey = text // so that what is there already stays untouched
			}
		}
		if errs := plain.Validate(); len(errs) > 0 {
			return nil, fmt.Errorf("%w: %s %q: %s", ErrDamaged, s.Kind(), s.ObjectID(), errs[0].Message)
		}
		out[i] = plain
	}
	return out, nil
}

func keyOf(sealed string) string {
	id, err := seal.KeyOf(sealed)
	if err != nil {
		return ""
	}
	return id
}

// opened is an object with nothing sealed.
func (b *Backup) opened(s state.Spec, box *seal.Box) (state.Spec, error) {
	copied, secrets := withSecrets(s)
	for _, secret := range secrets {
		if *secret.text == "" || b.SealedWith == "" {
			continue
		}
		plain, err := box.Open(secret.purpose, *secret.text)
		switch {
		case errors.Is(err, seal.ErrUnknownKey):
			return nil, fmt.Errorf("%w: %w", ErrKey, err)
		case err != nil:
			return nil, fmt.Errorf("%w: %s %q: %w", ErrDamaged, s.Kind(), s.ObjectID(), err)
		}
		*secret.text = string(plain)
	}
	return copied, nil
}

// hidden is a text of an object that must not be read, and what it is sealed for.
type hidden struct {
	text    *string
	purpose string
}

// withSecrets copies an object and points to its secrets.
func withSecrets(s state.Spec) (copied state.Spec, secrets []hidden) {
	switch s := s.(type) {
	case *state.BackendSpec:
		c := *s
		c.BBB.Secrets = slices.Clone(s.BBB.Secrets)
		return &c, listed(c.BBB.Secrets, "backup backend "+c.ID+" bbb secret")
	case *state.FrontendSpec:
		c := *s
		c.BBB.Secrets = slices.Clone(s.BBB.Secrets)
		one := hidden{&c.Secret, "backup frontend " + c.ID + " secret"}
		return &c, append([]hidden{one}, listed(c.BBB.Secrets, "backup frontend "+c.ID+" bbb secret")...)
	case *state.TokenSpec:
		c := *s
		return &c, []hidden{{&c.Hash, "backup token " + c.ID + " hash"}}
	case *state.CertificateSpec:
		c := *s
		return &c, []hidden{{&c.PrivateKey, seal.CertificateKey(c.ID)}}
	}
	return s, nil
}

func listed(texts []string, purpose string) []hidden {
	out := make([]hidden, len(texts))
	for i := range texts {
		out[i] = hidden{&texts[i], purpose}
	}
	return out
}
