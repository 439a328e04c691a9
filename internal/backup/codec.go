package backup

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"iter"
	"strings"

	"github.com/lbnode/lbnode/internal/seal"
	"github.com/lbnode/lbnode/state"
)

type writer struct {
	w   *bufio.Writer
	sum hash.Hash
}

func newWriter(w io.Writer) *writer {
	return &writer{w: bufio.NewWriterSize(w, 64<<10), sum: sha256.New()}
}

func (w *writer) line(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	b = append(b, '\n')
	w.sum.Write(b)
	_, err = w.w.Write(b)
	return err
}

// Write makes a backup of a view. Of the header only Lbnode, Time, Node and OpenKey are the caller's.
func Write(w io.Writer, h Header, v *state.View, box *seal.Box) error {
	h.Format, h.Version = format, version
	h.ClusterID, h.FormerIDs, h.Index, h.Term, h.ConfigGen = v.ClusterID, v.FormerIDs, v.Index, v.Term, v.ConfigGen
	h.SealedWith, h.Time = box.KeyID(), h.Time.UTC()
	return write(w, h, func(yield func(state.Spec, error) bool) {
		for s := range v.Specs() {
			if !yield(sealed(s, box)) {
				return
			}
		}
	})
}

// WriteOpened writes a backup with its secrets in the clear, for a cluster that has another key than the one that
// box opens them with. It is only ever sent to the API, as any secret is that an operator sets.
func (b *Backup) WriteOpened(w io.Writer, box *seal.Box) error {
	h := b.Header
	h.SealedWith, h.OpenKey = "", false
	return write(w, h, func(yield func(state.Spec, error) bool) {
		for _, s := range b.sealed {
			if !yield(b.opened(s, box)) {
				return
			}
		}
	})
}

func write(w io.Writer, h Header, specs iter.Seq2[state.Spec, error]) error {
	out := newWriter(w)
	err := out.line(h)
	n := 0
	for s, serr := range specs {
		if err == nil {
			err = serr
		}
		if err == nil {
			err = out.line(line{Kind: s.Kind(), Spec: s})
		}
		if err != nil {
			break
		}
		n++
	}
	if err == nil {
		err = out.line(line{End: &end{Objects: n, SHA256: hex.EncodeToString(out.sum.Sum(nil))}})
	}
	if err == nil {
		err = out.w.Flush()
	}
	if err != nil {
		return fmt.Errorf("write backup: %w", err)
	}
	return nil
}

// sealed is an object as backups have it.
func sealed(s state.Spec, box *seal.Box) (state.Spec, error) {
	copied, secrets := withSecrets(s)
	if _, already := s.(*state.CertificateSpec); already {
		return copied, nil
	}
	for _, secret := range secrets {
		if *secret.text == "" {
			continue
		}
		text, err := box.Seal(secret.purpose, []byte(*secret.text))
		if err != nil {
			return nil, err
		}
		*secret.text = text
	}
	return copied, nil
}

// reader goes through a file and knows where it is.
type reader struct {
	in   *bufio.Scanner
	sum  hash.Hash
	n    int // lines
	size int64
}

func (r *reader) damaged(f string, args ...any) error {
	return fmt.Errorf("%w: line %d, from byte %d on: %s", ErrDamaged, r.n+1, r.size, fmt.Sprintf(f, args...))
}

// next returns the next line without its end.
func (r *reader) next() ([]byte, error) {
	if !r.in.Scan() {
		if err := r.in.Err(); err != nil {
			return nil, r.damaged("%s", err)
		}
		return nil, r.damaged("it ends early: it was cut short")
	}
	b := r.in.Bytes()
	if len(b) == 0 || b[len(b)-1] != '\n' {
		return nil, r.damaged("the line has no end: it was cut short")
	}
	return b, nil
}

// done counts a line that was found right.
func (r *reader) done(b []byte) {
	r.sum.Write(b)
	r.n++
	r.size += int64(len(b))
}

// wholeLines is bufio.ScanLines with the line's end left on, so that a missing one shows.
func wholeLines(data []byte, atEOF bool) (advance int, token []byte, err error) {
	if i := bytes.IndexByte(data, '\n'); i >= 0 {
		return i + 1, data[:i+1], nil
	}
	if atEOF && len(data) > 0 {
		return len(data), data, nil
	}
	return 0, nil, nil
}

// Read checks a whole file: its form, its sum, and each object by itself. No key is needed.
func Read(in io.Reader) (*Backup, error) {
	r := &reader{in: bufio.NewScanner(io.LimitReader(in, MaxSize+1)), sum: sha256.New()}
	r.in.Buffer(make([]byte, 0, 64<<10), maxLine)
	r.in.Split(wholeLines)
	b := &Backup{}
	if err := r.header(&b.Header); err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for {
		raw, err := r.next()
		if err != nil {
			return nil, err
		}
		var l struct {
			Kind state.Kind      `json:"kind"`
			Spec json.RawMessage `json:"spec"`
			End  *end            `json:"end"`
		}
		if err := strict(raw, &l); err != nil {
			return nil, r.damaged("%s", err)
		}
		if l.End != nil {
			return b, r.end(b, raw, *l.End)
		}
		s, err := b.object(l.Kind, l.Spec)
		if err != nil {
			return nil, r.damaged("%s", err)
		}
		name := string(l.Kind) + "/" + s.ObjectID()
		if seen[name] {
			return nil, r.damaged("%s is there twice", name)
		}
		seen[name] = true
		b.sealed = append(b.sealed, s)
		r.done(raw)
	}
}

func (r *reader) header(h *Header) error {
	raw, err := r.next()
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, h); err != nil || h.Format != format {
		return r.damaged("it does not start with the header of a backup")
	}
	if h.Version > version {
		return fmt.Errorf("%w: format %d by lbnode %s, this one reads up to %d", ErrNewer, h.Version, h.Lbnode, version)
	}
	if err := strict(raw, h); err != nil || h.Version < 1 || h.ClusterID == "" && h.Index > 0 {
		return r.damaged("the header is not right: version %d, cluster id %q, %v", h.Version, h.ClusterID, err)
	}
	r.done(raw)
	return nil
}

// end checks the last line, and that it is the last. As a sum cannot cover itself, the line must be as Write makes it.
func (r *reader) end(b *Backup, raw []byte, e end) error {
	b.SHA256 = hex.EncodeToString(r.sum.Sum(nil))
	want, err := json.Marshal(line{End: &end{Objects: len(b.sealed), SHA256: b.SHA256}})
	switch {
	case err != nil:
		return err
	case e.Objects != len(b.sealed):
		return r.damaged("there are %d objects, and the end says %d", len(b.sealed), e.Objects)
	case !bytes.Equal(raw, append(want, '\n')):
		return r.damaged("the checksum is %s, and the end says %.80s: some line before was changed", b.SHA256, e.SHA256)
	}
	r.done(raw)
	b.Size = r.size
	if r.in.Scan() {
		return r.damaged("something comes after the end")
	}
	if err := r.in.Err(); err != nil {
		return r.damaged("%s", err)
	}
	return nil
}

// object reads one object. What is sealed is checked as far as that is possible.
func (b *Backup) object(k state.Kind, raw json.RawMessage) (state.Spec, error) {
	s := state.NewSpec(k)
	if s == nil {
		return nil, fmt.Errorf("unknown kind %q: a newer lbnode may know it", k)
	}
	if err := strict(raw, s); err != nil {
		return nil, fmt.Errorf("%s: %w", k, err)
	}
	if t, ok := s.(*state.TokenSpec); ok { // Normalize would take a sealed text for a hash in capitals
		text := t.Hash
		s.Normalize()
		t.Hash = text
	} else {
		s.Normalize()
	}
	check, secrets := withSecrets(s)
	switch c := check.(type) {
	case *state.TokenSpec:
		if b.SealedWith == "" {
			break
		}
		if !seal.Is(c.Hash) {
			return nil, fmt.Errorf("token %q: its hash is not sealed", c.ID)
		}
		c.Hash = strings.Repeat("0", sha256.Size*2) // of any other text Validate cannot tell
	case *state.CertificateSpec:
		if b.SealedWith == "" {
			c.PrivateKey = "sealed later"
		}
	default:
		for _, secret := range secrets {
			if b.SealedWith != "" && *secret.text != "" { // a sealed one is longer; it is checked once it is open
				*secret.text = "sealed"
			}
		}
	}
	if errs := check.Validate(); len(errs) > 0 {
		return nil, fmt.Errorf("%s %q: %s %s", k, s.ObjectID(), errs[0].Pointer, errs[0].Message)
	}
	return s, nil
}

// strict decodes exactly one value all of whose fields are known.
func strict(raw []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if rest, err := io.ReadAll(io.MultiReader(d.Buffered())); err != nil || len(bytes.TrimSpace(rest)) > 0 {
		return fmt.Errorf("something comes after the value")
	}
	return nil
}
