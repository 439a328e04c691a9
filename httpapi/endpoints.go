package httpapi

import (
	"net/http"
	"strings"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/state"
)

// endpoint is one operation of the API.
type endpoint struct {
	method, path string
	params       []string // of the query string; others are refused
	lenient      bool     // for probes and scrapers: other parameters are ignored
	handle       func(*call) (answer, error)
	raw          http.Handler // instead of handle: writes its own answer
	ownTimeout   bool         // of a read: ?timeout is that of something else
}

// The parameters of the query string.
const (
	paramMinIndex   = "min_index"
	paramLimit      = "limit"
	paramAfter      = "after"
	paramForce      = "force"
	paramVerbose    = "verbose"
	paramScope      = "scope"
	paramNode       = "node"
	paramPool       = "pool"
	paramTag        = "tag"
	paramAdminState = "admin_state"
	paramNodeState  = "node_state"
)

// endpoints is the whole API; openapi.yaml describes each of them.
func (s *Server) endpoints() []endpoint {
	all := []endpoint{
		{method: http.MethodGet, path: "/backends/health", params: []string{paramMinIndex, paramVerbose, paramPool}, handle: backendsHealth},
		{method: http.MethodPost, path: "/backends/{id}/enable", params: []string{paramWait, paramTimeout}, handle: waiting(setAdmin(state.AdminReady), api.WaitCommitted, api.WaitApplied)},
		{method: http.MethodPost, path: "/backends/{id}/disable", params: append(drainParams(), paramWait, paramTimeout), handle: waiting(setAdmin(state.AdminStopped), api.WaitCommitted, api.WaitApplied, api.WaitIdle)},
		{method: http.MethodGet, path: "/backends/{id}/wait", params: []string{paramWait, paramTimeout, paramIndex}, handle: getWait},
		{method: http.MethodGet, path: "/stats", params: []string{paramScope, paramNode}, handle: getStats},
		{method: http.MethodGet, path: "/explain", params: []string{paramMethod, paramURL, paramHeader, paramClientIP, paramNode}, handle: getExplain},
		{method: http.MethodGet, path: "/cluster", params: []string{paramMinIndex}, handle: getCluster},
		{method: http.MethodPost, path: "/cluster/transfer-leader", handle: transferLeader},
		{method: http.MethodGet, path: "/nodes", params: []string{paramLimit, paramAfter}, handle: listNodes},
		{method: http.MethodDelete, path: "/nodes/{id}", params: []string{paramForce}, handle: removeNode},
		{method: http.MethodPost, path: "/nodes/{id}/drain", handle: drainNode},
		{method: http.MethodPost, path: "/nodes/{id}/undrain", handle: undrainNode},
		{method: http.MethodPost, path: "/nodes/{id}/leave", handle: leaveNode},
		{method: http.MethodPost, path: "/txn", params: []string{paramConfirmWithin}, handle: runTxn},
		{method: http.MethodPost, path: "/apply", params: []string{paramDryRun, paramPrune, paramConfirmWithin}, handle: applyDocument},
		{method: http.MethodGet, path: "/apply/pending", handle: listPending},
		{method: http.MethodPost, path: "/apply/confirm", params: []string{paramIndex}, handle: confirm},
		{method: http.MethodGet, path: "/history", params: []string{paramMinIndex, paramLimit, paramBefore, paramKind, paramID}, handle: listHistory},
		{method: http.MethodGet, path: "/history/diff", params: []string{paramMinIndex, paramFrom, paramTo}, handle: diffHistory},
		{method: http.MethodGet, path: "/history/{index}", params: []string{paramMinIndex}, handle: getChange},
		{method: http.MethodPost, path: "/history/{index}/rollback", params: []string{paramForce}, handle: rollback},
		{method: http.MethodGet, path: "/watch", params: []string{paramFrom, paramTypes, paramKinds}, handle: watch},
		{method: http.MethodGet, path: "/livez", lenient: true, handle: livez},
		{method: http.MethodGet, path: "/readyz", lenient: true, handle: readyz},
		{method: http.MethodGet, path: "/metrics", lenient: true, raw: s.cfg.Metrics},
		{method: http.MethodGet, path: "/openapi.json", lenient: true, handle: getOpenAPI},
	}
	all = append(all, settingsEndpoints()...)
	all = append(all, keyEndpoints()...)
	all = append(all, loadEndpoints()...)
	all = append(all, callbackEndpoints()...)
	all = append(all, meetingEndpoints()...)
	all = append(all, tokenEndpoints()...)
	all = append(all, certificateEndpoints()...)
	all = append(all, snapshotEndpoints()...)
	for _, k := range configKinds() {
		if k == state.KindSettings {
			continue // not a collection
		}
		res := resourceOf(k)
		one := res.path + "/{id}"
		list := append([]string{paramMinIndex, paramLimit, paramAfter}, res.filters...)
		remove := endpoint{method: http.MethodDelete, path: one, params: []string{paramForce}, handle: res.remove}
		if k == state.KindBackend {
			remove.params = append(append(remove.params, paramWait, paramTimeout), drainParams()...)
			remove.handle = waiting(res.remove, api.WaitCommitted, api.WaitApplied, api.WaitIdle)
		}
		all = append(all, remove,
			endpoint{method: http.MethodGet, path: res.path, params: list, handle: res.list},
			endpoint{method: http.MethodPost, path: res.path, handle: res.create},
			endpoint{method: http.MethodGet, path: one, params: []string{paramMinIndex}, handle: res.get},
			endpoint{method: http.MethodPut, path: one, handle: res.put},
			endpoint{method: http.MethodPatch, path: one, handle: res.patch},
		)
	}
	for i := range all {
		all[i] = all[i].withReadParams()
	}
	return all
}

// handler runs an endpoint: what every request needs, then its own part, then the answer.
func (s *Server) handler(e endpoint) http.Handler {
	need := s.accessOf(e)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, err := principal{}, error(nil)
		if e.method != "" { // there is such a path and method
			who, err = s.authorize(r, need)
		}
		if err != nil {
			s.writeProblem(w, r, err)
			return
		}
		if e.raw != nil {
			e.raw.ServeHTTP(w, r)
			return
		}
		a, err := s.run(e, who, w, r)
		if err != nil {
			s.writeProblem(w, r, err)
			return
		}
		s.writeAnswer(w, r, a)
	})
}

func (s *Server) run(e endpoint, who principal, w http.ResponseWriter, r *http.Request) (answer, error) {
	c := &call{s: s, r: r, w: w, who: who}
	if e.method == "" { // no such path or method: nothing else about the request matters
		return e.handle(c)
	}
	if err := s.origin.Check(r); err != nil {
		return answer{}, &failure{status: http.StatusForbidden, code: api.CodeCrossOrigin, detail: "the browser sent this for another site"}
	}
	if err := checkIdempotencyKey(r.Header.Values(api.HeaderIdempotencyKey)); err != nil {
		return answer{}, err
	}
	var err error
	if c.params, err = parseParams(r.URL.RawQuery, e); err != nil {
		return answer{}, err
	}
	if err := c.catchUp(e); err != nil {
		return answer{}, err
	}
	return e.handle(c)
}

// base is the prefix that the client uses: "" or /v1.
func (c *call) base() string {
	if strings.HasPrefix(c.r.URL.Path, versionPrefix+"/") {
		return versionPrefix
	}
	return ""
}
