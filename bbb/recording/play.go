package recording

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"io/fs"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/lbnode/lbnode/state"
)

// How long a protected link and the cookie that it gives are good for.
const (
	linkFor   = time.Hour
	cookieFor = 8 * time.Hour
)

const cookieName = "lbnode_recording"

// grant is a text that says until when a recording may be played, signed with its tenant's secret. It is good for this
// recording alone.
func grant(use, id string, until time.Time, secret string) string {
	text := strconv.FormatInt(until.Unix(), 36)
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte("lbnode recording\x00" + use + "\x00" + id + "\x00" + text))
	return text + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:16])
}

// granted checks what grant made, with any secret that the tenant has now.
func granted(use, id, got string, now time.Time, secrets []string) bool {
	text, _, ok := strings.Cut(got, ".")
	unix, err := strconv.ParseInt(text, 36, 64)
	if !ok || err != nil || now.Unix() >= unix {
		return false
	}
	for _, s := range secrets {
		if s != "" && subtle.ConstantTimeCompare([]byte(grant(use, id, time.Unix(unix, 0), s)), []byte(got)) == 1 {
			return true
		}
	}
	return false
}

// The uses of a grant.
const (
	useLink   = "link"
	useCookie = "cookie"
)

// playURL is where a format is played, as the tenant that asks for it may.
func (s *Service) playURL(f *state.Frontend, r *state.Recording, format state.RecordingFormat, base string) string {
	switch {
	case format.Files == 0: // not ours
		return format.URL
	case r.Protected():
		secrets := f.AllSecrets()
		if len(secrets) == 0 {
			return ""
		}
		return base + Path + "link/" + r.ID + "/" + format.Type + "/" + grant(useLink, r.ID, s.cfg.Now().Add(linkFor), secrets[0])
	}
	return base + Path + "play/" + r.ID + "/" + format.Type + "/"
}

// playable finds a recording that is published, and its tenant.
func (s *Service) playable(id string) (*state.Recording, *state.Frontend, bool) {
	v := s.cfg.Store.View()
	r, ok := v.Recording(id)
	if !ok || !r.Published {
		return nil, nil, false
	}
	f, ok := v.Frontend(r.Frontend)
	return r, f, ok && !f.BBB.Disabled
}

// serveLink turns a protected link into a cookie for this recording.
func (s *Service) serveLink(w http.ResponseWriter, r *http.Request, rest string) {
	parts := strings.Split(rest, "/")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Referrer-Policy", "no-referrer")
	if len(parts) != 3 {
		http.NotFound(w, r)
		return
	}
	id, format, token := parts[0], parts[1], parts[2]
	rec, f, ok := s.playable(id)
	if !ok || !granted(useLink, id, token, s.cfg.Now(), f.AllSecrets()) {
		http.Error(w, "This link is not or no longer valid.", http.StatusForbidden)
		return
	}
	if _, ok := rec.Format(format); !ok {
		http.NotFound(w, r)
		return
	}
	until := s.cfg.Now().Add(cookieFor)
	c := &http.Cookie{
		Name: cookieName, Value: grant(useCookie, id, until, f.AllSecrets()[0]), Path: Path + "play/" + id + "/",
		Expires: until, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	}
	if secure(r) { // a player may be in a frame of the tenant's site
		c.Secure, c.SameSite = true, http.SameSiteNoneMode
	}
	http.SetCookie(w, c)
	http.Redirect(w, r, Path+"play/"+id+"/"+format+"/", http.StatusFound)
}

func secure(r *http.Request) bool {
	return r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https"
}

// BaseOf is our own address as a client has called it.
func BaseOf(r *http.Request) string {
	u := url.URL{Scheme: "http", Host: r.Host}
	if secure(r) {
		u.Scheme = "https"
	}
	return u.String()
}

// servePlay sends a file, or parts of it.
func (s *Service) servePlay(w http.ResponseWriter, r *http.Request, rest string) {
	id, rest, _ := strings.Cut(rest, "/")
	format, name, _ := strings.Cut(rest, "/")
	rec, f, ok := s.playable(id)
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Cache-Control", "public, max-age=300")
	if rec.Protected() {
		w.Header().Set("Cache-Control", "private, max-age=300")
		c, err := r.Cookie(cookieName)
		if err != nil || !granted(useCookie, id, c.Value, s.cfg.Now(), f.AllSecrets()) {
			w.Header().Set("Cache-Control", "no-store")
			http.Error(w, "This recording is protected: open it by its link.", http.StatusForbidden)
			return
		}
	}
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if name == "" || strings.HasSuffix(name, "/") {
		name += "index.html"
	}
	file, err := s.open(r.Context(), rec, format, name)
	if err != nil {
		w.Header().Del("Cache-Control")
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrName) {
			http.NotFound(w, r)
			return
		}
		s.cfg.Log.Warn("a file of a recording cannot be read", "recording", id, "format", format, "error", err)
		w.Header().Set("Retry-After", "5")
		http.Error(w, "The recording cannot be read at the moment.", http.StatusServiceUnavailable)
		return
	}
	defer file.Close()
	http.ServeContent(w, r, path.Base(name), file.Changed(), file)
}

// open opens a file where it is.
func (s *Service) open(ctx context.Context, rec *state.Recording, format, name string) (File, error) {
	f, ok := rec.Format(format)
	if !ok || f.Files == 0 {
		return nil, fs.ErrNotExist
	}
	name, err := CheckName(name)
	if err != nil {
		return nil, err
	}
	if f.Node != "" && f.Node != s.cfg.NodeID && !s.cfg.Files.Shared() {
		return s.cfg.Remote.Open(ctx, f.Node, rec.ID, format, name)
	}
	return s.cfg.Files.Open(ctx, rec.ID, format, name)
}

// OpenLocal opens a file for another node.
func (s *Service) OpenLocal(ctx context.Context, id, format, name string) (File, error) {
	name, err := CheckName(name)
	if err != nil || state.CheckRecordingID(id) != "" || state.CheckFormat(format) != "" {
		return nil, fs.ErrNotExist
	}
	return s.cfg.Files.Open(ctx, id, format, name)
}
