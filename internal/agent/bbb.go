package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// Bounds of a call to the server beside the agent.
const (
	pollTimeout   = 10 * time.Second
	maxPollAnswer = 64 << 20
)

// bbbSource counts a BigBlueButton server's meetings: all of them by getMeetings, and what happens between two
// polls by its events. A server that does not answer has no load, and the agent reports none: so the cluster's
// knowledge of it grows old, as it should.
type bbbSource struct {
	server Server
	every  time.Duration
	http   *http.Client
	log    *slog.Logger
	now    func() time.Time

	mu     sync.Mutex
	tally  Tally
	polled time.Time // when getMeetings last worked; zero = never
	err    error     // of the last poll
}

// Run implements [Source].
func (s *bbbSource) Run(ctx context.Context, changed func()) {
	var loops sync.WaitGroup
	defer loops.Wait()
	loops.Go(func() { s.listen(ctx, changed) })
	for {
		s.poll(ctx)
		changed()
		if !sleep(ctx, time.Duration(float64(s.every)*(0.9+0.2*rand.Float64()))) {
			return
		}
	}
}

// listen counts events until ctx ends.
func (s *bbbSource) listen(ctx context.Context, changed func()) {
	follow(ctx, subscription{Addr: s.server.Redis, Password: s.server.RedisPassword, Log: s.log}, func(payload []byte) {
		e, ok := ParseEvent(payload)
		if !ok {
			return
		}
		s.mu.Lock()
		news := s.tally.Apply(e)
		s.mu.Unlock()
		if news {
			changed()
		}
	})
}

func (s *bbbSource) poll(ctx context.Context) {
	found, err := s.meetings(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		if s.err == nil && ctx.Err() == nil {
			s.log.Warn("BigBlueButton does not answer", "address", s.server.Address, "error", err)
		}
		s.err = err
		return
	}
	if s.err != nil {
		s.log.Info("BigBlueButton answers again", "address", s.server.Address)
	}
	s.tally.Reset(found)
	s.polled, s.err = s.now(), nil
}

// Load implements [Source].
func (s *bbbSource) Load(context.Context) (Report, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.err != nil:
		return Report{}, fmt.Errorf("BigBlueButton: %w", s.err)
	case s.polled.IsZero():
		return Report{}, errNoLoad
	}
	m, a := s.tally.Totals()
	return Report{Load: float64(a), BBB: true, Meetings: m, Attendees: a}, nil
}

// meetings asks the server for the attendees of each meeting.
func (s *bbbSource) meetings(ctx context.Context) (map[string]int, error) {
	ctx, cancel := context.WithTimeout(ctx, pollTimeout)
	defer cancel()
	sum := sha256.Sum256([]byte("getMeetings" + s.server.Secret))
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.server.Address+"getMeetings?checksum="+hex.EncodeToString(sum[:]), http.NoBody)
	if err != nil {
		return nil, errors.New("the address is no URL")
	}
	resp, err := s.http.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err // the URL holds a checksum that is worth as much as a password
		}
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("getMeetings answers %s", resp.Status)
	}
	return parseMeetings(io.LimitReader(resp.Body, maxPollAnswer))
}

func parseMeetings(r io.Reader) (map[string]int, error) {
	var answer struct {
		Code     string `xml:"returncode"`
		Key      string `xml:"messageKey"`
		Meetings []struct {
			InternalID string `xml:"internalMeetingID"`
			Ended      bool   `xml:"hasBeenForciblyEnded"`
			Attendees  int    `xml:"participantCount"`
		} `xml:"meetings>meeting"`
	}
	if err := xml.NewDecoder(r).Decode(&answer); err != nil {
		return nil, fmt.Errorf("getMeetings: %w", err)
	}
	if answer.Code != "SUCCESS" {
		return nil, fmt.Errorf("getMeetings answers %.20q %.40q", answer.Code, answer.Key)
	}
	found := make(map[string]int, len(answer.Meetings))
	for _, m := range answer.Meetings {
		if m.InternalID != "" && !m.Ended {
			found[m.InternalID] = m.Attendees
		}
	}
	return found, nil
}

// sleep says false when ctx ended before.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
