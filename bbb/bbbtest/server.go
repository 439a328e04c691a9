package bbbtest

import (
	"cmp"
	"crypto/sha1" //nolint:gosec // BigBlueButton's internal ids
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// Config is what a server is like.
type Config struct {
	Name    string   // goes into texts, so that tests see who answered
	Secrets []string // accepted; the first signs callbacks
	Hashes  []string // of checksums: sha1, sha256, sha384, sha512; none = all
	Client  *http.Client
	Now     func() time.Time // nil = time.Now
	Version string           // bbbVersion; "" = 3.0.4
	// MaxMeetings makes create fail beyond it; 0 = no bound.
	MaxMeetings int
}

// Server is a BigBlueButton server. Its methods may be called concurrently.
type Server struct {
	cfg   Config
	calls sync.WaitGroup // callbacks on their way

	mu         sync.Mutex // guards the rest
	meetings   map[string]*Meeting
	recordings map[string]*Recording
	hooks      []hook
	nextHook   int
	seen       []Call
	faults     []*Fault
	down       bool
}

// Call is a call that passed the check of its signature.
type Call struct {
	Name   string
	Params map[string]string
	Body   string
	Hash   string
	Secret string
}

// Meeting is a running meeting.
type Meeting struct {
	ID, InternalID, Name string
	Created              time.Time
	Params               map[string]string
	Body                 string // of the call that created it
	Attendees            []Attendee
	HasUserJoined        bool
}

// Attendee is somebody in a meeting.
type Attendee struct{ UserID, FullName, Role string }

// Recording is a recording.
type Recording struct {
	ID, MeetingID, Name string
	Published           bool
	Meta                map[string]string
}

type hook struct{ id, url, meetingID string }

// New makes a server.
func New(cfg Config) *Server {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Client == nil {
		cfg.Client = &http.Client{Timeout: 5 * time.Second}
	}
	cfg.Version = cmp.Or(cfg.Version, "3.0.4")
	return &Server{cfg: cfg, meetings: map[string]*Meeting{}, recordings: map[string]*Recording{}}
}

// Wait returns once no callback is on its way.
func (s *Server) Wait() { s.calls.Wait() }

// Meetings returns the ids of the running meetings, sorted.
func (s *Server) Meetings() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]string, 0, len(s.meetings))
	for id := range s.meetings {
		out = append(out, id)
	}
	slices.Sort(out)
	return out
}

// Meeting returns a copy of a running meeting.
func (s *Server) Meeting(id string) (Meeting, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m, ok := s.meetings[id]
	if !ok {
		return Meeting{}, false
	}
	c := *m
	c.Attendees = slices.Clone(m.Attendees)
	return c, true
}

// Put starts a meeting without a call, with attendees, as if it had been there before.
func (s *Server) Put(id, name string, attendees int, params map[string]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.newMeeting(id, name, params)
	for i := range attendees {
		m.Attendees = append(m.Attendees, Attendee{UserID: fmt.Sprintf("w_%d", i), FullName: fmt.Sprintf("User %d", i), Role: "VIEWER"})
	}
	m.HasUserJoined = attendees > 0
}

// Calls returns the calls of a name, all for "".
func (s *Server) Calls(name string) []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Call
	for _, c := range s.seen {
		if name == "" || c.Name == name {
			out = append(out, c)
		}
	}
	return out
}

// Down makes the server break off every connection, until it is called with false. The meetings stay, as those of a
// server that was cut off do.
func (s *Server) Down(down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = down
}

// Restart forgets the meetings, as a restart of BigBlueButton does.
func (s *Server) Restart() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.meetings)
}

// newMeeting is called with mu held.
func (s *Server) newMeeting(id, name string, params map[string]string) *Meeting {
	now := s.cfg.Now()
	h := sha1.Sum([]byte(id)) //nolint:gosec // see the import
	m := &Meeting{
		ID: id, Name: name, Created: now, Params: params,
		InternalID: fmt.Sprintf("%s-%d", hex.EncodeToString(h[:]), now.UnixMilli()),
	}
	s.meetings[id] = m
	return m
}

// maxBody is what a call may bring.
const maxBody = 64 << 20

// ServeHTTP answers calls to /bigbluebutton/api.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	down := s.down
	s.mu.Unlock()
	if down {
		panic(http.ErrAbortHandler)
	}
	call, ok := strings.CutPrefix(r.URL.Path, "/bigbluebutton/api")
	if !ok {
		http.NotFound(w, r)
		return
	}
	call = strings.Trim(call, "/")
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
	if err != nil {
		return
	}
	if call == "" {
		s.index(w)
		return
	}
	c, refusal := s.check(r, call, string(body))
	if refusal != "" {
		write(w, refusal)
		return
	}
	s.mu.Lock()
	s.seen = append(s.seen, c)
	f := s.fault(call)
	s.mu.Unlock()
	if f != nil && f.serve(w, r, func(w http.ResponseWriter) { s.answer(w, r, c) }) {
		return
	}
	s.answer(w, r, c)
}

func (s *Server) index(w http.ResponseWriter) {
	write(w, fmt.Sprintf("<response><returncode>SUCCESS</returncode><version>2.0</version><apiVersion>2.0</apiVersion><bbbVersion>%s</bbbVersion>"+
		"<graphqlWebsocketUrl>wss://%s/graphql</graphqlWebsocketUrl><graphqlApiUrl>https://%s/api/rest</graphqlApiUrl></response>", s.cfg.Version, s.cfg.Name, s.cfg.Name))
}

func write(w http.ResponseWriter, doc string) {
	w.Header().Set("Content-Type", "text/xml;charset=utf-8")
	_, _ = io.WriteString(w, doc)
}

func failed(key, message string) string {
	return "<response><returncode>FAILED</returncode><messageKey>" + key + "</messageKey><message>" + message + "</message></response>"
}
