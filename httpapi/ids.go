package httpapi

import (
	"crypto/sha256"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/state"
)

// chooseID finds an id for an object that came without one, so that sending it again makes no second object:
// that of the object which already says the same, else one derived from the Idempotency-Key, else a new one.
func (c *call) chooseID(spec state.Spec) string {
	v := c.s.cfg.Store.View()
	derived := ""
	if key := c.r.Header.Get(api.HeaderIdempotencyKey); key != "" {
		sum := sha256.Sum256([]byte("lbnode " + string(spec.Kind()) + " " + key))
		derived = formatUUID([16]byte(sum[:16]), 8) // RFC 9562 §5.8
		if v.Get(spec.Kind(), derived) != nil {
			return derived
		}
	}
	if id := sameObject(v, spec); id != "" {
		return id
	}
	if derived != "" {
		return derived
	}
	return c.s.cfg.NewID()
}

// sameObject returns the id of the first object that says the same as spec: a backend of the pool with that
// address, or anything else that is equal but for the id.
func sameObject(v *state.View, spec state.Spec) string {
	if b, ok := spec.(*state.BackendSpec); ok {
		want, err := state.ParseAddress(b.Address)
		if err != nil {
			return ""
		}
		for _, other := range v.FindBackends(b.Address) {
			if a, err := state.ParseAddress(other.Address); err == nil && a == want && other.Pool == b.Pool {
				return other.ID
			}
		}
		return ""
	}
	for o := range v.All(spec.Kind()) {
		other := o.Spec()
		setID(other, spec.ObjectID())
		if reflect.DeepEqual(other, spec) {
			return o.ObjectID()
		}
	}
	return ""
}

// lists are an object's lists as the client wrote them. Normalizing sorts them; errors must name the
// client's positions.
type lists map[string][]string

func listsOf(spec state.Spec) lists {
	switch s := spec.(type) {
	case *state.BackendSpec:
		return lists{"/tags": slices.Clone(s.Tags)}
	case *state.FrontendSpec:
		return lists{"/hosts": slices.Clone(s.Hosts), "/required_tags": slices.Clone(s.RequiredTags)}
	case *state.TokenSpec:
		return lists{"/pools": slices.Clone(s.Pools)}
	case *state.CertificateSpec:
		return lists{"/hosts": slices.Clone(s.Hosts)}
	}
	return nil
}

// repoint changes the pointers of errors about elements of lists, given the normalized spec.
func (l lists) repoint(spec state.Spec, errs []state.FieldError) []state.FieldError {
	if len(l) == 0 || len(errs) == 0 {
		return errs
	}
	spec.Normalize()
	sorted := listsOf(spec)
	out := slices.Clone(errs)
	for i, e := range out {
		at := strings.LastIndexByte(e.Pointer, '/')
		if at < 0 {
			continue
		}
		list := e.Pointer[:at]
		n, err := strconv.Atoi(e.Pointer[at+1:])
		if err != nil || n < 0 || n >= len(sorted[list]) {
			continue
		}
		was := slices.IndexFunc(l[list], func(s string) bool {
			return s == sorted[list][n] || strings.ToLower(strings.TrimSpace(s)) == sorted[list][n]
		})
		if was >= 0 {
			out[i].Pointer = fmt.Sprintf("%s/%d", list, was)
		}
	}
	return out
}
