package load

import (
	"iter"
	"sync"
	"time"

	"github.com/lbnode/lbnode/bbb/place"
	"github.com/lbnode/lbnode/state"
)

// freshReport is how long a report of an agent counts: three of its longest intervals.
const freshReport = 30 * time.Second

// Report is what an agent says of its server.
type Report struct {
	// Counted says that Meetings and Attendees are known; otherwise it is only a sign of life.
	Counted   bool    `json:"counted,omitempty"`
	Meetings  int     `json:"meetings,omitempty"`
	Attendees int     `json:"attendees,omitempty"`
	Load      float64 `json:"load,omitempty"` // in the agent's own unit, for algorithm least_load
}

// Event is what an agent says of one meeting.
type Event struct {
	Backend    string `json:"backend"`
	InternalID string `json:"internal_id"`
	Change     int    `json:"change,omitempty"`  // people who came, or, below 0, left
	Empty      bool   `json:"empty,omitempty"`   // nobody is there any more
	Running    bool   `json:"running,omitempty"` // it has begun
}

// News is what one node learned by itself and the others have not.
type News struct {
	Reports map[string]Report `json:"reports,omitempty"` // the newest, by backend
	Joins   map[string]int    `json:"joins,omitempty"`   // by backend
	Events  []Event           `json:"events,omitempty"`
}

// Empty says that there is none.
func (n News) Empty() bool { return len(n.Reports) == 0 && len(n.Joins) == 0 && len(n.Events) == 0 }

// maxEvents bounds the events that wait to be told: the next poll makes up for what is lost.
const maxEvents = 10_000

// Table is what a node knows of servers. Its methods do not block and may be called concurrently.
type Table struct {
	now  func() time.Time
	veto func(backendID string) string

	mu      sync.Mutex // guards all below
	servers map[string]*server
	news    News
}

type server struct {
	polled   time.Time // of the last list; zero = none yet
	latency  time.Duration
	err      string // of the last poll; "" = it worked
	running  map[string]*Running
	internal map[string]*Running
	joins    int

	report   Report
	reported time.Time // zero = never
}

// NewTable makes an empty table. veto says why this node sends nothing new to a backend; nil = it always does.
func NewTable(now func() time.Time, veto func(backendID string) string) *Table {
	if veto == nil {
		veto = func(string) string { return "" }
	}
	return &Table{now: now, veto: veto, servers: map[string]*server{}}
}

func (t *Table) server(id string) *server {
	s := t.servers[id]
	if s == nil {
		s = &server{}
		t.servers[id] = s
	}
	return s
}

// Polled notes what a server lists.
func (t *Table) Polled(id string, meetings []Running, latency time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.server(id)
	s.polled, s.latency, s.err, s.joins = t.now(), latency, "", 0
	s.running, s.internal = make(map[string]*Running, len(meetings)), make(map[string]*Running, len(meetings))
	for i := range meetings {
		m := &meetings[i]
		s.running[m.ServerID] = m
		if m.InternalID != "" {
			s.internal[m.InternalID] = m
		}
	}
}

// Failed notes that a server did not give its list. What it listed before stands.
func (t *Table) Failed(id string, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.server(id).err = err.Error()
}

// Joined notes that somebody was sent to a server.
func (t *Table) Joined(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.server(id).joins++
	if t.news.Joins == nil {
		t.news.Joins = map[string]int{}
	}
	t.news.Joins[id]++
}

// Report notes what an agent says, and that it lives.
func (t *Table) Report(id string, r Report) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.report(id, r)
	if t.news.Reports == nil {
		t.news.Reports = map[string]Report{}
	}
	if !r.Counted && t.news.Reports[id].Counted {
		return // a sign of life does not replace a count that nobody else has yet
	}
	t.news.Reports[id] = r
}

func (t *Table) report(id string, r Report) {
	s := t.server(id)
	s.reported = t.now()
	if r.Counted || r.Load > 0 {
		s.report, s.joins = r, 0
	}
}

// Event notes what an agent says of a meeting.
func (t *Table) Event(e Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.event(e)
	if len(t.news.Events) < maxEvents {
		t.news.Events = append(t.news.Events, e)
	}
}

func (t *Table) event(e Event) {
	s := t.server(e.Backend)
	m := s.internal[e.InternalID]
	if m == nil {
		return // the next list has it
	}
	next := *m
	switch {
	case e.Empty:
		next.Attendees, next.Running = 0, false
	case e.Running:
		next.Running = true
	}
	next.Attendees = max(next.Attendees+e.Change, 0)
	if e.Change > 0 {
		s.joins = max(s.joins-e.Change, 0)
	}
	s.internal[e.InternalID], s.running[m.ServerID] = &next, &next
}

// Merge takes another node's news.
func (t *Table) Merge(n News) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id, r := range n.Reports {
		t.report(id, r)
	}
	for id, k := range n.Joins {
		t.server(id).joins += max(k, 0)
	}
	for _, e := range n.Events {
		t.event(e)
	}
}

// TakeNews returns what the others have not been told, and forgets it.
func (t *Table) TakeNews() News {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.news
	t.news = News{}
	return n
}

// Keep forgets servers that are not to be kept.
func (t *Table) Keep(there func(id string) bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id := range t.servers {
		if !there(id) {
			delete(t.servers, id)
		}
	}
}

// Status is what is known of a server.
type Status struct {
	Polled, Reported    time.Time // of the last list and the agent's last word; zero = never
	Error               string    // of the last poll
	Latency             time.Duration
	Meetings, Attendees int
}

// Status returns what is known of a server. Breakout rooms are not counted: their people are in their meeting too.
func (t *Table) Status(id string) Status {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.servers[id]
	if s == nil {
		return Status{}
	}
	out := Status{Polled: s.polled, Reported: s.reported, Error: s.err, Latency: s.latency}
	out.Meetings, out.Attendees = s.counts(t.now())
	return out
}

// counts are the agent's, if they are newer than the last list.
func (s *server) counts(now time.Time) (meetings, attendees int) {
	if s.report.Counted && s.reported.After(s.polled) && now.Sub(s.reported) < freshReport {
		return s.report.Meetings, s.report.Attendees
	}
	for _, m := range s.running {
		if !m.Breakout {
			meetings++
			attendees += m.Attendees
		}
	}
	return meetings, attendees
}

// Meeting returns a meeting as its server last listed it.
func (t *Table) Meeting(backendID, serverID string) (Running, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := t.servers[backendID]; s != nil {
		if m := s.running[serverID]; m != nil {
			return *m, true
		}
	}
	return Running{}, false
}

var _ place.Known = (*Table)(nil)

// Veto implements [place.Known].
func (t *Table) Veto(backendID string) string { return t.veto(backendID) }

// Load implements [place.Known]. A meeting that is reserved and not listed yet counts as a young one.
func (t *Table) Load(b *state.Backend, p *state.Pool, reserved iter.Seq[*state.Meeting], now time.Time) place.Load {
	young := p.BBB.WithDefaults()
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.servers[b.ID]
	if s == nil {
		s = &server{}
	}
	var l place.Load
	l.Meetings, l.Attendees = s.counts(now)
	l.Joins = s.joins
	for _, m := range s.running {
		if age := now.Sub(time.UnixMilli(m.CreateTime)); !m.Breakout && m.CreateTime > 0 && age < time.Duration(young.YoungFor) {
			l.Shortfall += max(young.YoungAttendees-m.Attendees, 0)
		}
	}
	for m := range reserved {
		if s.running[m.OnServer()] == nil {
			l.Meetings++
			l.Shortfall += young.YoungAttendees
		}
	}
	return l
}
