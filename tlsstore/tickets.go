package tlsstore

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"fmt"
	"time"
)

// ticketEpoch is how long one key of session tickets is used. Its neighbours are accepted too, so that a clock which
// is off, and a session that crosses the border, are no matter.
const ticketEpoch = 12 * time.Hour

// ticketKeys derives the keys of session tickets at a time from the cluster keys, the one that is used first. All
// nodes derive the same ones, so that a session that began on one can be resumed on another.
func ticketKeys(clusterKeys [][]byte, now time.Time) ([][32]byte, error) {
	epoch := now.Unix() / int64(ticketEpoch/time.Second)
	var out [][32]byte
	for _, k := range clusterKeys {
		for _, e := range []int64{epoch, epoch - 1, epoch + 1} {
			b, err := hkdf.Key(sha256.New, k, nil, fmt.Sprintf("lbnode/1 session tickets %d", e), 32)
			if err != nil {
				return nil, fmt.Errorf("derive keys of session tickets: %w", err)
			}
			out = append(out, [32]byte(b))
		}
	}
	return out, nil
}

// SetTicketKeys derives the keys of session tickets at a time from the cluster keys, the first of which is used. A
// lab without a cluster key has none: each node then uses random ones of its own.
func (s *Store) SetTicketKeys(clusterKeys [][]byte, now time.Time) error {
	keys, err := ticketKeys(clusterKeys, now)
	if err != nil || len(keys) == 0 {
		return err
	}
	s.server.SetSessionTicketKeys(keys)
	return nil
}

// FollowTicketKeys sets the keys of session tickets now, every minute and when changed says that the cluster keys are
// others, until ctx ends. clusterKeys gives those of the moment; none = a lab.
func (s *Store) FollowTicketKeys(ctx context.Context, clusterKeys func() [][]byte, changed <-chan struct{}) {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		if err := s.SetTicketKeys(clusterKeys(), time.Now()); err != nil {
			s.cfg.Logger.Error("session tickets keep their old keys", "error", err)
		}
		select {
		case <-tick.C:
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}
