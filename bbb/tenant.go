package bbb

import (
	"strings"
	"unicode/utf8"

	"github.com/lbnode/lbnode/bbb/ids"
	"github.com/lbnode/lbnode/bbb/xml"
	"github.com/lbnode/lbnode/state"
)

// tenant is who calls.
type tenant struct{ *state.Frontend }

// find is the tenant with a key, or with a host if the key is ""; nil = there is none.
func find(v *state.View, key, host string) *state.Frontend {
	var wild *state.Frontend
	for f := range v.Frontends() {
		if key != "" {
			if f.Key == key {
				return f
			}
			continue
		}
		for _, h := range f.Hosts {
			if suffix, is := strings.CutPrefix(h, "*"); is && strings.HasSuffix(host, suffix) {
				wild = f
			} else if h == host {
				return f
			}
		}
	}
	return wild
}

// onServer is the id that servers get for a meeting of the tenant.
func (t tenant) onServer(id string) string {
	if t.BBB.SharedIDs {
		return id
	}
	return ids.Encode(t.name(), id)
}

// name is what stands for the tenant in rewritten ids.
func (t tenant) name() string {
	if t.Key != "" {
		return t.Key
	}
	return t.ID
}

// own is the tenant's id for a server's one; false if it is not one of the tenant's rewritten ids.
func (t tenant) own(serverID string) (string, bool) {
	key, id, ok := ids.Decode(serverID)
	if !ok || t.BBB.SharedIDs || key != t.name() {
		return "", false
	}
	return id, true
}

// rewrite puts the tenant's ids in the place of the servers' ones, in an answer or a part of one.
func (t tenant) rewrite(doc []byte) ([]byte, error) {
	if t.BBB.SharedIDs {
		return doc, nil
	}
	return xml.Rewrite(doc, func(path []string, text string) (string, bool) {
		switch path[len(path)-1] {
		case "meetingID", "parentMeetingID", "meetingId", "meetingid":
			return t.own(text)
		}
		return "", false
	})
}

// checkID says what is wrong with a tenant's meeting id, or "".
func (t tenant) checkID(id string) string {
	switch {
	case !utf8.ValidString(id) || strings.ContainsFunc(id, func(r rune) bool { return r < ' ' || r == 0x7f }) || strings.Contains(id, ","):
		return "Meeting ID contains invalid characters."
	case utf8.RuneCountInString(id) < 2:
		return "Meeting ID must be between 2 and 256 characters."
	case len(t.onServer(id)) > ids.MaxLength:
		return "Meeting ID is too long."
	}
	return ""
}
