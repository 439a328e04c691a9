package state

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
)

// ErrSnapshot says that a stream is not a whole snapshot of this or an older format.
var ErrSnapshot = errors.New("not a whole lbnode snapshot")

const (
	snapshotFormat  = "lbnode-snapshot"
	snapshotVersion = 2
	maxRecord       = 16 << 20
)

// A snapshot is lines of JSON: a header, a record per object, remembered result and entry of the history in a fixed order, and a
// trailer with the count and the SHA-256 of all before it.
type snapshotHeader struct {
	Format    string `json:"format"`
	Version   int    `json:"version"`
	Index     uint64 `json:"index"`
	Term      uint64 `json:"term"`
	ClusterID string `json:"cluster_id"`
	ConfigGen uint64 `json:"config_gen"`
	StateGen  uint64 `json:"state_gen"`

	HistoryBase uint64   `json:"history_base"` // from version 2
	FormerIDs   []string `json:"former_cluster_ids,omitempty"`
}

type snapshotRecord struct {
	Kind   Kind            `json:"kind,omitempty"`
	Object json.RawMessage `json:"object,omitempty"`
	Result *kept           `json:"result,omitempty"`
	Change *Change         `json:"change,omitempty"` // from version 2
	// Pending comes only where confirm_within is in use; a reader that does not know it refuses the snapshot.
	Pending *Pending `json:"pending,omitempty"`
	// What follows comes only where meetings are served.
	Meeting *Meeting `json:"meeting,omitempty"`
	Stale   *Stale   `json:"stale,omitempty"`

	Callback  *Callback  `json:"callback,omitempty"`
	Recording *Recording `json:"recording,omitempty"`

	End *snapshotEnd `json:"end,omitempty"`
}

type snapshotEnd struct {
	Records int    `json:"records"`
	SHA256  string `json:"sha256"`
}

type snapshotWriter struct {
	w   io.Writer
	sum hash.Hash
	n   int
}

func (s *snapshotWriter) line(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	b = append(b, '\n')
	s.sum.Write(b)
	s.n++
	_, err = s.w.Write(b)
	return err
}

// WriteSnapshot streams a view. The same view gives the same bytes on every node.
func WriteSnapshot(w io.Writer, v *View) error {
	buf := bufio.NewWriterSize(w, 64<<10)
	s := &snapshotWriter{w: buf, sum: sha256.New()}
	if err := s.all(v); err != nil {
		return fmt.Errorf("write snapshot: %w", err)
	}
	if err := buf.Flush(); err != nil {
		return fmt.Errorf("write snapshot: %w", err)
	}
	return nil
}

func (s *snapshotWriter) all(v *View) error {
	if err := s.body(v); err != nil {
		return err
	}
	return s.line(snapshotRecord{End: &snapshotEnd{Records: s.n - 1, SHA256: hex.EncodeToString(s.sum.Sum(nil))}})
}

func (s *snapshotWriter) body(v *View) error {
	err := s.line(snapshotHeader{
		Format: snapshotFormat, Version: snapshotVersion, Index: v.Index, Term: v.Term,
		ClusterID: v.ClusterID, ConfigGen: v.ConfigGen, StateGen: v.StateGen, HistoryBase: v.historyBase, FormerIDs: v.FormerIDs,
	})
	if err != nil {
		return err
	}
	for _, k := range Kinds() {
		for o := range v.All(k) {
			raw, err := json.Marshal(o)
			if err != nil {
				return err
			}
			if err := s.line(snapshotRecord{Kind: k, Object: raw}); err != nil {
				return err
			}
		}
	}
	it := v.byResult.Root().Iterator()
	for _, id, ok := it.Next(); ok; _, id, ok = it.Next() {
		if k, found := v.results.Get([]byte(id)); found {
			if err := s.line(snapshotRecord{Result: k}); err != nil {
				return err
			}
		}
	}
	for c := range v.ChangesAfter(0) {
		if err := s.line(snapshotRecord{Change: c}); err != nil {
			return err
		}
	}
	for p := range v.Pendings() {
		if err := s.line(snapshotRecord{Pending: p}); err != nil {
			return err
		}
	}
	return s.bbb(v)
}

// Hash is the SHA-256 of what a snapshot of the view holds. At an equal index it is equal on all nodes.
func Hash(v *View) string {
	s := &snapshotWriter{w: io.Discard, sum: sha256.New()}
	if err := s.body(v); err != nil { // only a type that JSON cannot say could fail
		return "error: " + err.Error()
	}
	return hex.EncodeToString(s.sum.Sum(nil))
}

// ReadSnapshot reads what WriteSnapshot wrote, in this or any older version. Anything short, damaged or
// newer gives an error that wraps [ErrSnapshot] and no view.
func ReadSnapshot(r io.Reader) (*View, error) {
	sc := bufio.NewScanner(r)
	sc.Buffer(make([]byte, 0, 64<<10), maxRecord)
	sum := sha256.New()
	v := NewView()
	h, err := readHeader(sc, sum)
	if err != nil {
		return nil, err
	}
	v.Index, v.Term, v.ClusterID, v.ConfigGen, v.StateGen = h.Index, h.Term, h.ClusterID, h.ConfigGen, h.StateGen
	v.historyBase, v.FormerIDs = h.HistoryBase, h.FormerIDs
	if h.Version < 2 { // what was before is not known
		v.historyBase = h.Index
	}
	t := v.txn()
	for n := 0; sc.Scan(); n++ {
		var rec snapshotRecord
		if err := json.Unmarshal(sc.Bytes(), &rec); err != nil {
			return nil, fmt.Errorf("%w: record %d: %w", ErrSnapshot, n+1, err)
		}
		if rec.End != nil {
			if got := hex.EncodeToString(sum.Sum(nil)); rec.End.Records != n || rec.End.SHA256 != got {
				return nil, fmt.Errorf("%w: %d records with checksum %s, want %d with %s", ErrSnapshot, n, got, rec.End.Records, rec.End.SHA256)
			}
			return t.commit(), nil
		}
		sum.Write(sc.Bytes())
		sum.Write([]byte{'\n'})
		if err := t.load(rec); err != nil {
			return nil, fmt.Errorf("%w: record %d: %w", ErrSnapshot, n+1, err)
		}
	}
	if err := sc.Err(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSnapshot, err)
	}
	return nil, fmt.Errorf("%w: it ends early", ErrSnapshot)
}

func readHeader(sc *bufio.Scanner, sum hash.Hash) (snapshotHeader, error) {
	var h snapshotHeader
	if !sc.Scan() {
		return h, fmt.Errorf("%w: it is empty or unreadable", ErrSnapshot)
	}
	if err := json.Unmarshal(sc.Bytes(), &h); err != nil || h.Format != snapshotFormat {
		return h, fmt.Errorf("%w: it does not start with a header", ErrSnapshot)
	}
	if h.Version < 1 || h.Version > snapshotVersion {
		return h, fmt.Errorf("%w: version %d, this lbnode reads up to %d", ErrSnapshot, h.Version, snapshotVersion)
	}
	sum.Write(sc.Bytes())
	sum.Write([]byte{'\n'})
	return h, nil
}

// load puts one record into the transaction without changing it.
func (t *txn) load(rec snapshotRecord) error {
	if rec.Result != nil {
		t.v.remember(rec.Result.RequestID, rec.Result.Fingerprint, rec.Result.Result)
		return nil
	}
	if rec.Change != nil {
		if err := rec.Change.loaded(); err != nil {
			return err
		}
		t.v.record(rec.Change)
		return nil
	}
	if rec.Pending != nil {
		return t.v.loadPending(rec.Pending)
	}
	if known, err := t.v.loadBBB(rec); known {
		return err
	}
	var o Object
	switch rec.Kind {
	case KindBackend:
		o = &Backend{}
	case KindPool:
		o = &Pool{}
	case KindRoute:
		o = &Route{}
	case KindFrontend:
		o = &Frontend{}
	case KindToken:
		o = &Token{}
	case KindCertificate:
		o = &Certificate{}
	case KindSettings:
		o = &Settings{}
	default:
		return fmt.Errorf("unknown kind %q", rec.Kind)
	}
	if err := json.Unmarshal(rec.Object, o); err != nil {
		return err
	}
	if msg := CheckID(o.ObjectID()); msg != "" {
		return fmt.Errorf("%s id %s", rec.Kind, msg)
	}
	t.put(o)
	return nil
}
