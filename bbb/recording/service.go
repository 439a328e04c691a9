package recording

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/lbnode/lbnode/state"
)

// Path is below what servers and browsers call.
const Path = "/bbb/-/recordings/"

// Store is the replicated state. Its methods may be called concurrently; only Do blocks.
type Store interface {
	View() *state.View
	Do(ctx context.Context, c state.Command) (state.Result, error)
}

// Remote opens files that another node keeps.
type Remote interface {
	// Open returns an error that wraps fs.ErrNotExist if that node has no such file.
	Open(ctx context.Context, node, id, format, name string) (File, error)
}

// Config is what a Service is made of. All fields are needed.
type Config struct {
	NodeID string
	Store  Store
	Files  Files
	Remote Remote
	Log    *slog.Logger
	Now    func() time.Time
	// MaxUpload bounds the archive of an upload, in bytes.
	MaxUpload int64
}

// Validate names the fields that are missing.
func (c Config) Validate() error {
	var errs []error
	for _, f := range []struct {
		ok   bool
		name string
	}{{c.NodeID != "", "NodeID"}, {c.Store != nil, "Store"}, {c.Files != nil, "Files"}, {c.Remote != nil, "Remote"}, {c.Log != nil, "Log"}, {c.Now != nil, "Now"}, {c.MaxUpload > 0, "MaxUpload"}} {
		if !f.ok {
			errs = append(errs, fmt.Errorf("recording config: %s must be set", f.name))
		}
	}
	return errors.Join(errs...)
}

// Service answers tenants, servers and browsers. Its methods may be called concurrently.
type Service struct{ cfg Config }

// New makes a service. It starts nothing.
func New(cfg Config) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Service{cfg}, nil
}

// ImportOptions say whose a recording is where its metadata do not, or say it wrong.
type ImportOptions struct {
	FrontendKey string
	MeetingID   string // as the tenant calls it
}

// ImportXML takes a recording whose files are elsewhere into the index. The error wraps ErrMetadata or ErrNoTenant, is a
// *state.Refusal, or is one of Store.
func (s *Service) ImportXML(ctx context.Context, doc []byte, o ImportOptions) (state.Recording, error) {
	r, err := Parse(doc)
	if err != nil {
		return r, err
	}
	if r, err = s.own(s.cfg.Store.View(), r, o.FrontendKey, o.MeetingID); err != nil {
		return r, err
	}
	if err := s.put(ctx, r); err != nil {
		return r, err
	}
	if stored, ok := s.cfg.Store.View().Recording(r.ID); ok {
		return *stored, nil
	}
	return r, nil
}

// own says whose a recording is, and makes it as visible as its tenant wants all of them.
func (s *Service) own(v *state.View, r state.Recording, key, meetingID string) (_ state.Recording, err error) {
	if r.Frontend, r.MeetingID, err = Owner(v, r, key, meetingID); err != nil {
		return r, err
	}
	if r.Metadata["meetingid"] != "" {
		r.Metadata["meetingid"] = r.MeetingID
	}
	delete(r.Metadata, "b3s-frontend")
	if f, ok := v.Frontend(r.Frontend); ok && f.BBB.RecordingVisibility != "" {
		r.Visibility = f.BBB.RecordingVisibility
		r.Published = r.Visibility != state.VisibilityUnpublished
	}
	return r, nil
}

func (s *Service) put(ctx context.Context, r state.Recording) error {
	_, err := s.do(ctx, state.BBBOp{PutRecordings: &state.PutRecordings{Recordings: []state.Recording{r}}})
	return err
}

// do applies one operation.
func (s *Service) do(ctx context.Context, op state.BBBOp) (state.BBBResult, error) {
	cmd := state.BBB(op)
	cmd.Actor = "recording"
	res, err := s.cfg.Store.Do(ctx, cmd)
	if err != nil || len(res.BBB) == 0 {
		return state.BBBResult{}, err
	}
	return res.BBB[0], nil
}

// SetVisibility makes a recording as visible as an operator says. The error is one of Store; found is false if there
// is no such recording.
func (s *Service) SetVisibility(ctx context.Context, id, visibility string) (found bool, _ error) {
	res, err := s.do(ctx, state.BBBOp{PatchRecordings: &state.PatchRecordings{IDs: []string{id}, Visibility: visibility}})
	return res.Count > 0, err
}

// ServeHTTP answers below Path.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rest, ok := strings.CutPrefix(r.URL.Path, Path)
	what, rest, _ := strings.Cut(rest, "/")
	switch {
	case ok && what == "upload" && rest == "" && r.Method == http.MethodPost:
		s.serveUpload(w, r, s.upload)
	case ok && what == "import" && rest == "" && r.Method == http.MethodPost:
		s.serveUpload(w, r, s.receive)
	case ok && (what == "upload" || what == "import") && rest == "":
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "an upload is a POST", http.StatusMethodNotAllowed)
	case !ok || r.Method != http.MethodGet && r.Method != http.MethodHead:
		http.NotFound(w, r)
	case what == "link":
		s.serveLink(w, r, rest)
	case what == "play":
		s.servePlay(w, r, rest)
	default:
		http.NotFound(w, r)
	}
}

func (s *Service) serveUpload(w http.ResponseWriter, r *http.Request, take func(*http.Request) (state.Recording, error)) {
	rec, err := take(r)
	var bad errUpload
	var refusal *state.Refusal
	switch {
	case err == nil:
		s.cfg.Log.Info("a recording came in", "recording", rec.ID, "frontend", rec.Frontend, "formats", len(rec.Formats))
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, rec.ID+"\n")
	case errors.As(err, &bad):
		http.Error(w, bad.text, bad.status)
	case errors.Is(err, ErrNoTenant):
		http.Error(w, err.Error()+"; give frontendKey", http.StatusUnprocessableEntity)
	case errors.As(err, &refusal):
		http.Error(w, refusal.Message, http.StatusUnprocessableEntity)
	default:
		s.cfg.Log.Error("a recording could not be stored", "error", err)
		http.Error(w, "the recording could not be stored; send it again", http.StatusServiceUnavailable)
	}
}

// Remove removes the files that this node can see of a recording that was deleted.
func (s *Service) Remove(ctx context.Context, id string) error { return s.cfg.Files.Remove(ctx, id) }

// sweepGrace is how old files must be to be removed that the index does not name: an upload that is under way names
// them at its end.
const sweepGrace = time.Hour

// Sweep removes the files of recordings that the index does not have. It is for a node whose index a leader has
// confirmed: an old one would cost what is new.
func (s *Service) Sweep(ctx context.Context) error {
	ids, err := s.cfg.Files.IDs(ctx)
	if err != nil {
		return fmt.Errorf("list the files of recordings: %w", err)
	}
	v := s.cfg.Store.View()
	var errs []error
	for id, changed := range ids {
		if _, known := v.Recording(id); known || s.cfg.Now().Sub(changed) < sweepGrace {
			continue
		}
		if err := s.cfg.Files.Remove(ctx, id); err != nil {
			errs = append(errs, fmt.Errorf("remove the files of recording %s: %w", path.Base(id), err))
			continue
		}
		s.cfg.Log.Info("files of a deleted recording were removed", "recording", path.Base(id))
	}
	return errors.Join(errs...)
}
