package node

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/lbnode/lbnode/bbb/callback"
	"github.com/lbnode/lbnode/bbb/recording"
	"github.com/lbnode/lbnode/cluster/transport"
	"github.com/lbnode/lbnode/state"
)

const (
	recordingMethod = "recording"
	recordingChunk  = 256 << 10 // bytes that one call of another node brings
	sweepEvery      = 10 * time.Minute
	// clusterFile names, in a directory of recordings, whose they are: another cluster's index would cost all of them.
	clusterFile = ".cluster"
)

// buildRecordings makes what keeps and plays recordings.
func (n *Node) buildRecordings() error {
	files, err := n.recordingFiles()
	if err != nil {
		return err
	}
	n.recordings, err = recording.New(recording.Config{
		NodeID: n.ID(), Store: n.store, Files: files, Remote: remoteFiles{n}, Log: n.log, Now: time.Now, MaxUpload: n.cfg.RecordingsMaxUpload,
	})
	if err != nil {
		return err
	}
	n.cluster.Handle(recordingMethod, n.serveRecording)
	return nil
}

func (n *Node) recordingFiles() (recording.Files, error) {
	c := n.cfg
	switch {
	case c.RecordingsBucket != "":
		b, err := os.ReadFile(c.RecordingsKeyFile)
		if err != nil {
			return nil, fmt.Errorf("--recordings-key-file: %w", err)
		}
		keys := strings.Fields(string(b))
		if len(keys) != 2 {
			return nil, fmt.Errorf("--recordings-key-file %s must hold the access key and the secret key, one on a line", c.RecordingsKeyFile)
		}
		bucket, err := recording.OpenBucket(recording.BucketConfig{URL: c.RecordingsBucket, Region: c.RecordingsRegion, AccessKey: keys[0], SecretKey: keys[1]})
		if err != nil {
			return nil, fmt.Errorf("--recordings-bucket: %w", err)
		}
		return bucket, nil
	case c.RecordingsDir != "":
		dir, err := recording.OpenDir(c.RecordingsDir, recording.Sharing(c.RecordingsShared))
		if err != nil {
			return nil, fmt.Errorf("--recordings-dir: %w", err)
		}
		n.cleanup.push(dir.Close)
		return dir, nil
	}
	return recording.NoFiles{}, nil
}

// withJobs serves what servers call of callbacks and recordings, and browsers of recordings; all else is next's.
func (n *Node) withJobs(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasPrefix(r.URL.Path, callback.Path):
			n.callbackProxy.ServeHTTP(w, r)
		case strings.HasPrefix(r.URL.Path, recording.Path):
			n.recordings.ServeHTTP(w, r)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// sweepRecordings removes what is left of deleted recordings on this node's disk, now and then, until ctx ends.
func (n *Node) sweepRecordings(ctx context.Context) {
	if n.cfg.RecordingsDir == "" || n.cfg.RecordingsShared || n.cfg.RecordingsBucket != "" {
		return // a shared place is emptied by the node that deletes
	}
	store := apiStore{n.store, n.cluster, new(atomic.Bool)}
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	views := n.store.Watch(ctx)
	last := n.store.View()
	for {
		var err error
		select {
		case v, ok := <-views:
			if !ok {
				return
			}
			if v.LenRecordings() < last.LenRecordings() {
				n.removeDeleted(ctx, last, v)
			}
			last = v
			continue
		case <-tick.C: // what was deleted while this node did not run
			if store.Stale() {
				continue
			}
			if err = n.ownsRecordings(); err == nil {
				err = n.recordings.Sweep(ctx)
			}
		}
		if err != nil && ctx.Err() == nil {
			n.log.Warn("files of deleted recordings stay", "error", err)
		}
	}
}

// removeDeleted removes the files that this node has of recordings that were in one view and are not in the next.
func (n *Node) removeDeleted(ctx context.Context, old, v *state.View) {
	if old.ClusterID != v.ClusterID {
		return // a backup of somewhere else
	}
	for r := range old.Recordings() {
		if _, ok := v.Recording(r.ID); ok {
			continue
		}
		if err := n.recordings.Remove(ctx, r.ID); err != nil {
			n.log.Warn("files of a deleted recording stay until they are swept", "recording", r.ID, "error", err)
		}
	}
}

// ownsRecordings says that the directory is this cluster's, and makes it so if it is nobody's.
func (n *Node) ownsRecordings() error {
	file := filepath.Join(n.cfg.RecordingsDir, clusterFile)
	id := n.store.View().ClusterID
	b, err := os.ReadFile(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return os.WriteFile(file, []byte(id+"\n"), 0o600)
	case err != nil:
		return err
	case strings.TrimSpace(string(b)) != id:
		return fmt.Errorf("--recordings-dir %s is that of cluster %s, not of %s: nothing in it is removed until %s is", n.cfg.RecordingsDir, strings.TrimSpace(string(b)), id, clusterFile)
	}
	return nil
}

// remoteFiles reads files of recordings that other nodes keep.
type remoteFiles struct{ n *Node }

// recordingRead asks for a part of a file.
type recordingRead struct {
	ID, Format, Name string
	Offset           int64
}

// Open implements recording.Remote.
func (r remoteFiles) Open(ctx context.Context, node, id, format, name string) (recording.File, error) {
	f := &remoteFile{n: r.n, ctx: ctx, node: node, ask: recordingRead{ID: id, Format: format, Name: name}}
	return f, f.fetch(0)
}

// remoteFile reads a file in pieces. Its context is that of the request that it is read for.
type remoteFile struct {
	n    *Node
	ctx  context.Context //nolint:containedctx // io.Reader takes none
	node string
	ask  recordingRead

	size    int64
	changed time.Time
	at      int64
	piece   []byte
	from    int64 // offset of piece
}

// fetch gets the piece at an offset. An answer is size and time of the file (8 bytes each, the time in ns), and bytes.
func (f *remoteFile) fetch(offset int64) error {
	f.ask.Offset = offset
	body, err := json.Marshal(f.ask)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(f.ctx, 5*time.Second)
	defer cancel()
	b, err := f.n.cluster.Call(ctx, f.node, recordingMethod, body)
	if err != nil {
		return fmt.Errorf("node %s has the file: %w", f.node, err)
	}
	if len(b) < 16 {
		return fmt.Errorf("%s: %w", f.ask.Name, fs.ErrNotExist)
	}
	f.size, f.changed = int64(binary.BigEndian.Uint64(b)), time.Unix(0, int64(binary.BigEndian.Uint64(b[8:])))
	f.piece, f.from = b[16:], offset
	return nil
}

// Read implements io.Reader.
func (f *remoteFile) Read(p []byte) (int, error) {
	if f.at >= f.size {
		return 0, io.EOF
	}
	if f.at < f.from || f.at >= f.from+int64(len(f.piece)) {
		if err := f.fetch(f.at); err != nil {
			return 0, err
		}
		if len(f.piece) == 0 {
			return 0, io.ErrUnexpectedEOF
		}
	}
	n := copy(p, f.piece[f.at-f.from:])
	f.at += int64(n)
	return n, nil
}

// Seek implements io.Seeker.
func (f *remoteFile) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += f.at
	case io.SeekEnd:
		offset += f.size
	}
	if offset < 0 {
		return f.at, fmt.Errorf("seek to %d", offset)
	}
	f.at = offset
	return offset, nil
}

func (f *remoteFile) Close() error       { return nil }
func (f *remoteFile) Size() int64        { return f.size }
func (f *remoteFile) Changed() time.Time { return f.changed }

// serveRecording answers another node with a part of a file; with nothing if there is none.
func (n *Node) serveRecording(ctx context.Context, _ transport.Peer, body []byte) ([]byte, error) {
	var ask recordingRead
	if err := json.Unmarshal(body, &ask); err != nil {
		return nil, fmt.Errorf("part of a recording: %w", err)
	}
	f, err := n.recordings.OpenLocal(ctx, ask.ID, ask.Format, ask.Name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if _, err := f.Seek(ask.Offset, io.SeekStart); err != nil {
		return nil, err
	}
	out := binary.BigEndian.AppendUint64(nil, uint64(f.Size()))
	out = binary.BigEndian.AppendUint64(out, uint64(f.Changed().UnixNano()))
	piece, err := io.ReadAll(io.LimitReader(f, recordingChunk))
	return append(out, piece...), err
}
