package bbbtest

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"
)

// Fault is something that goes wrong with calls. The fields that are set say what; at most one of them, but for Act.
type Fault struct {
	Call  string // which call; "" = every one
	Times int    // how often; 0 = always

	Act       bool          // do what the call says before the fault, so that only its answer is lost
	Slow      time.Duration // answer after so long
	Hang      bool          // until the caller gives up
	Gate      chan struct{} // answer once it is closed
	Status    int           // with a page instead of XML
	Malformed bool          // cut the answer in two, but end it properly
	Huge      int           // so many bytes of white space before the answer
	Refuse    string        // with this message key, such as checksumError
	CutOff    bool          // break off within the answer
	Raw       string        // this instead of the answer
}

// Inject adds a fault, which goes before those that are there.
func (s *Server) Inject(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append([]*Fault{&f}, s.faults...)
}

// Heal takes all faults away.
func (s *Server) Heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// fault is the fault that a call meets, nil for none. It is called with mu held.
func (s *Server) fault(call string) *Fault {
	for i, f := range s.faults {
		if f.Call != "" && f.Call != call {
			continue
		}
		if f.Times > 0 {
			if f.Times--; f.Times == 0 {
				s.faults = append(s.faults[:i:i], s.faults[i+1:]...)
			}
		}
		c := *f
		return &c
	}
	return nil
}

// serve lets the fault happen; it is false if the answer is still to come.
func (f *Fault) serve(w http.ResponseWriter, r *http.Request, answer func(http.ResponseWriter)) bool {
	rec := httptest.NewRecorder()
	if f.Act {
		answer(rec)
	}
	switch {
	case f.Gate != nil:
		select {
		case <-f.Gate:
		case <-r.Context().Done():
		}
	case f.Slow > 0:
		t := time.NewTimer(f.Slow)
		defer t.Stop()
		select {
		case <-t.C:
		case <-r.Context().Done():
		}
	case f.Hang:
		<-r.Context().Done()
		return true
	case f.Status > 0:
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(f.Status)
		_, _ = io.WriteString(w, "<html><body>something is wrong</body></html>")
		return true
	case f.Refuse != "":
		write(w, failed(f.Refuse, "refused by a fault"))
		return true
	case f.Raw != "":
		write(w, f.Raw)
		return true
	case f.Malformed, f.CutOff, f.Huge > 0:
		f.spoil(w, rec, answer)
		return true
	}
	if f.Act {
		write(w, rec.Body.String())
	}
	return f.Act
}

func (f *Fault) spoil(w http.ResponseWriter, rec *httptest.ResponseRecorder, answer func(http.ResponseWriter)) {
	if !f.Act {
		answer(rec)
	}
	doc := rec.Body.String()
	switch {
	case f.Malformed:
		write(w, doc[:len(doc)/2])
	case f.CutOff:
		write(w, doc[:len(doc)/2])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	default:
		block := strings.Repeat(" ", 64<<10)
		for n := 0; n < f.Huge; n += len(block) {
			if _, err := io.WriteString(w, block); err != nil {
				return
			}
		}
		_, _ = io.WriteString(w, doc)
	}
}
