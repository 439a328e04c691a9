package apitest

import (
	"bytes"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/internal/seal"
)

// Backups is an httpapi.Backups with keys that are one byte over and over; the first one seals.
type Backups struct {
	Keys     []byte
	Schedule api.BackupStatus
}

// Box implements httpapi.Backups.
func (b *Backups) Box() (*seal.Box, bool) {
	keys := make([][]byte, len(b.Keys))
	for i, k := range b.Keys {
		keys[i] = bytes.Repeat([]byte{k}, seal.KeySize)
	}
	box, err := seal.New(keys...)
	if err != nil { // keys of this length always do
		panic(err)
	}
	return box, true
}

// Status implements httpapi.Backups.
func (b *Backups) Status() api.BackupStatus { return b.Schedule }
