package httpapi

import (
	"math"
	"net/http"
	"slices"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/internal/strictjson"
	"github.com/lbnode/lbnode/state"
)

// Loads takes what backends' agents report. Its method may be called concurrently; it does not wait for other nodes.
type Loads interface {
	Report(backendID string, r LoadReport)
}

// LoadReport is how loaded a backend says it is. It is kept in memory on every node, for a while.
type LoadReport struct {
	Load      float64 `json:"load"`
	Counted   bool    `json:"counted,omitempty"` // Meetings and Attendees are known
	Meetings  int     `json:"meetings,omitempty"`
	Attendees int     `json:"attendees,omitempty"`
}

// maxLoad bounds what a backend may report.
const maxLoad = 1e9

func loadEndpoints() []endpoint {
	return []endpoint{{method: http.MethodPost, path: "/backends/{id}/load", handle: reportLoad}}
}

// reportLoad does POST /backends/{id}/load. Nothing of it enters the log, so it works without a leader.
func reportLoad(c *call) (answer, error) {
	v := c.s.cfg.Store.View()
	res := resourceOf(state.KindBackend)
	id, old, err := res.resolve(c, v)
	if err != nil {
		return answer{}, err
	}
	if old == nil {
		return answer{}, res.missing(id)
	}
	if pools := c.who.pools; len(pools) > 0 && !slices.Contains(pools, old.(*state.Backend).Pool) {
		return answer{}, &failure{status: http.StatusForbidden, code: api.CodeForbidden, detail: "the token is bound to other pools"}
	}
	body, err := c.readBody()
	if err != nil {
		return answer{}, err
	}
	var in api.LoadInput
	doc, err := strictjson.Decode(body, &in, strictjson.Options{})
	if err != nil {
		return answer{}, err
	}
	var errs strictjson.Errors
	refuse := func(pointer, message string) {
		errs = append(errs, strictjson.Error{Pointer: pointer, Message: message})
	}
	if doc["load"] == nil || math.IsNaN(in.Load) || in.Load < 0 || in.Load > maxLoad {
		refuse("/load", "must be a number from 0 to 1e9")
	}
	if (in.Meetings == nil) != (in.Attendees == nil) {
		refuse("/attendees", "meetings and attendees belong together; give both or none")
	}
	r := LoadReport{Load: in.Load}
	for _, n := range []struct {
		pointer string
		in      *int
		out     *int
	}{{"/meetings", in.Meetings, &r.Meetings}, {"/attendees", in.Attendees, &r.Attendees}} {
		if n.in == nil {
			continue
		}
		if r.Counted, *n.out = true, *n.in; *n.in < 0 || *n.in > maxLoad {
			refuse(n.pointer, "must be a number from 0 to 1e9")
		}
	}
	if len(errs) > 0 {
		return answer{}, errs
	}
	c.s.cfg.Loads.Report(id, r)
	return answer{status: http.StatusNoContent}, nil
}
