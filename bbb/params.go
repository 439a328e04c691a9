package bbb

import (
	"maps"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lbnode/lbnode/bbb/server"
	"github.com/lbnode/lbnode/bbb/sign"
	"github.com/lbnode/lbnode/bbb/xml"
	"github.com/lbnode/lbnode/state"
)

// merge fills what a call leaves out with defaults, and replaces what it says by overrides. disabledFeatures is a list: a
// default is added to what the call, or the override, says.
func merge(p sign.Params, defaults, overrides map[string]string) sign.Params {
	for _, name := range slices.Sorted(maps.Keys(overrides)) {
		p = p.With(name, overrides[name])
	}
	for _, name := range slices.Sorted(maps.Keys(defaults)) {
		if have, ok := p.Lookup(name); !ok {
			p = p.With(name, defaults[name])
		} else if name == "disabledFeatures" {
			p = p.With(name, union(have, defaults[name]))
		}
	}
	return p
}

// union is two comma lists as one without repeats.
func union(a, b string) string {
	var out []string
	for s := range strings.SplitSeq(a+","+b, ",") {
		if s = strings.TrimSpace(s); s != "" && !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return strings.Join(out, ",")
}

// createParams are the parameters of a tenant's create for a server.
func createParams(t tenant, p sign.Params) sign.Params {
	id := p.Get("meetingID")
	p = merge(p, t.BBB.CreateDefault, t.BBB.CreateOverride)
	if most := int(time.Duration(t.BBB.MaxDuration) / time.Minute); most > 0 {
		if n, err := strconv.Atoi(p.Get("duration")); err != nil || n <= 0 || n > most {
			p = p.With("duration", strconv.Itoa(most))
		}
	}
	if most := t.BBB.AttendeeQuota; most > 0 {
		if n, err := strconv.Atoi(p.Get("maxParticipants")); err != nil || n <= 0 || n > most {
			p = p.With("maxParticipants", strconv.Itoa(most))
		}
	}
	if parent, ok := p.Lookup("parentMeetingID"); ok && parent != "" {
		p = p.With("parentMeetingID", t.onServer(parent))
	}
	return p.With("meetingID", t.onServer(id)).With("meta_b3s-frontend", t.name())
}

// presentation is the body of a create with the tenant's default presentation, if it is due.
func presentation(d *state.Presentation, body *server.Body) *server.Body {
	if d == nil || body != nil && !d.Force {
		return body
	}
	name := "presentation"
	if u, err := url.Parse(d.URL); err == nil && path.Base(u.Path) != "." && path.Base(u.Path) != "/" {
		name = path.Base(u.Path)
	}
	attr := func(s string) string { return strings.ReplaceAll(xml.Escape(s), `"`, "&quot;") }
	module := `<module name="presentation"><document url="` + attr(d.URL) + `" filename="` + attr(name) + `"/></module>`
	return &server.Body{Type: "application/xml", Data: []byte("<modules>" + otherModules(body) + module + "</modules>")}
}

// otherModules is the modules of a body but for presentations, as they are.
func otherModules(body *server.Body) string {
	if body == nil {
		return ""
	}
	var b strings.Builder
	_ = xml.Walk(body.Data, func(e *xml.Element) error {
		if e.Is("modules", "module") {
			head, _, _ := strings.Cut(string(e.Raw), ">")
			if !strings.Contains(head, `"presentation"`) && !strings.Contains(head, `'presentation'`) {
				b.Write(e.Raw)
			}
		}
		return nil
	})
	return b.String()
}
