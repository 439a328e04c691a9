package state

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"maps"
	"reflect"
	"slices"
)

// maxRestoration bounds the objects of a [Restoration] as JSON, in bytes. They are compressed in the log.
const maxRestoration = 64 << 20

// Restoration makes everything that operators say what a backup says, in one log entry: objects that are
// different are replaced, those that the backup does not have are removed at once, all others stay untouched.
// What the cluster observes is kept as far as it is still about the same thing.
type Restoration struct {
	Keep  []Kind `json:"keep,omitempty"`  // left as they are; only tokens and certificates can be
	Force bool   `json:"force,omitempty"` // even if no admin is left among the tokens
	Data  []byte `json:"data"`            // lines of restoredObject, compressed with gzip

	needs uint8 // the protocol that knows all of Data, for Encode
}

type restoredObject struct {
	Kind Kind            `json:"kind"`
	Spec json.RawMessage `json:"spec"`
}

// NewRestoration packs objects. It checks nothing but that they can be written.
func NewRestoration(objects iter.Seq[Spec]) (*Restoration, error) {
	var buf bytes.Buffer
	zip, err := gzip.NewWriterLevel(&buf, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	out := json.NewEncoder(zip)
	var needs uint8
	for o := range objects {
		raw, err := json.Marshal(o)
		if err == nil {
			needs = max(needs, objectNeeds(o.Kind(), raw, newer()))
			err = out.Encode(restoredObject{Kind: o.Kind(), Spec: raw})
		}
		if err != nil {
			return nil, fmt.Errorf("pack %s %q: %w", o.Kind(), o.ObjectID(), err)
		}
	}
	if err := zip.Close(); err != nil {
		return nil, err
	}
	return &Restoration{Data: buf.Bytes(), needs: needs}, nil
}

// Specs goes through everything that operators say, in the order of kind and id.
func (v *View) Specs() iter.Seq[Spec] {
	return func(yield func(Spec) bool) {
		for _, k := range Kinds() {
			for o := range v.All(k) {
				if !yield(o.Spec()) {
					return
				}
			}
		}
	}
}

// objects unpacks and checks each object by itself.
func (r *Restoration) objects() (map[ref]Spec, error) {
	zip, err := gzip.NewReader(bytes.NewReader(r.Data))
	if err != nil {
		return nil, fmt.Errorf("the objects cannot be unpacked: %w", err)
	}
	limited := &io.LimitedReader{R: zip, N: maxRestoration + 1}
	lines := bufio.NewScanner(limited)
	lines.Buffer(make([]byte, 0, 64<<10), maxRecord)
	out := map[ref]Spec{}
	for n := 1; lines.Scan(); n++ {
		var o restoredObject
		if err := json.Unmarshal(lines.Bytes(), &o); err != nil {
			return nil, fmt.Errorf("object %d: %w", n, err)
		}
		spec, errs := DecodeSpec(o.Kind, o.Spec, nil)
		if len(errs) > 0 {
			return nil, fmt.Errorf("object %d, of kind %q: %s %s", n, o.Kind, errs[0].Pointer, errs[0].Message)
		}
		at := ref{o.Kind, spec.ObjectID()}
		if out[at] != nil {
			return nil, fmt.Errorf("object %d: %s %q is there twice", n, at.kind, at.id)
		}
		out[at] = spec
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("the objects cannot be unpacked: %w", err)
	}
	if limited.N <= 0 {
		return nil, fmt.Errorf("the objects have more than %d bytes", maxRestoration)
	}
	return out, nil
}

func (a *applier) restore(r *Restoration) *Refusal {
	if r == nil {
		return &Refusal{Code: CodeInvalid, Message: "there is nothing to restore"}
	}
	for _, k := range r.Keep {
		if k != KindToken && k != KindCertificate {
			return &Refusal{Code: CodeInvalid, Message: fmt.Sprintf("only tokens and certificates can be kept as they are, not kind %q", k)}
		}
	}
	wanted, err := r.objects()
	if err != nil {
		return &Refusal{Code: CodeInvalid, Message: err.Error()}
	}
	maps.DeleteFunc(wanted, func(at ref, _ Spec) bool { return slices.Contains(r.Keep, at.kind) })
	if refusal := distinct(wanted); refusal != nil {
		return refusal
	}
	admins := a.admins()
	for _, k := range Kinds() {
		if !slices.Contains(r.Keep, k) {
			a.removeOthers(k, wanted)
		}
	}
	refs := slices.SortedFunc(maps.Keys(wanted), ref.compare)
	slices.SortStableFunc(refs, func(x, y ref) int { return restoreRank(x.kind) - restoreRank(y.kind) })
	for _, at := range refs {
		old := a.t.get(at.kind, at.id)
		if old == nil || !reflect.DeepEqual(old.Spec(), wanted[at]) {
			a.store(wanted[at], old)
		}
	}
	for _, at := range refs {
		if refusal := a.needCertificate(wanted[at]); refusal != nil {
			return refusal
		}
	}
	if left := a.admins(); len(admins) > 0 && len(left) == 0 && !r.Force {
		return &Refusal{
			Code: CodeInUse, Refs: admins,
			Message: "the backup has no token of an admin, so that nobody could change anything any more: keep the tokens of now, or force",
		}
	}
	return nil
}

// restoreRank puts pools before what names them.
func restoreRank(k Kind) int {
	if k == KindPool {
		return -1
	}
	return 0
}

func (a *applier) removeOthers(k Kind, wanted map[ref]Spec) {
	var gone []string
	a.t.tree(k).Root().Walk(func(id []byte, _ Object) bool {
		if wanted[ref{k, string(id)}] == nil {
			gone = append(gone, string(id))
		}
		return false
	})
	for _, id := range gone {
		a.remove(k, id)
	}
}

// distinct refuses frontends that have a host or key in common. Among what is restored as a whole, two may have
// swapped theirs, so unique does not do.
func distinct(wanted map[ref]Spec) *Refusal {
	owner := map[string]string{}
	for _, at := range slices.SortedFunc(maps.Keys(wanted), ref.compare) {
		f, ok := wanted[at].(*FrontendSpec)
		if !ok {
			continue
		}
		names := make([]string, 0, len(f.Hosts)+1)
		for _, h := range f.Hosts {
			names = append(names, "host "+h)
		}
		if f.Key != "" {
			names = append(names, "key "+f.Key)
		}
		for _, n := range names {
			if other, taken := owner[n]; taken && other != f.ID {
				return &Refusal{Code: CodeInvalid, Message: fmt.Sprintf("frontends %q and %q both have the same host or key", other, f.ID)}
			}
			owner[n] = f.ID
		}
	}
	return nil
}

// admins lists the tokens of admins, as kind/id.
func (a *applier) admins() []string {
	var out []string
	a.t.tree(KindToken).Root().Walk(func(_ []byte, o Object) bool {
		if t := o.(*Token); t.Role == RoleAdmin {
			out = append(out, string(KindToken)+"/"+t.ID)
		}
		return false
	})
	return out
}

// Renamed is the same view in a cluster with a new id, which knows the old one as a former id of its own. It is
// for recovery from a lost quorum: what is left of the old cluster must not be able to talk to the new one.
func (v *View) Renamed(clusterID string) *View {
	next := *v
	next.ClusterID = clusterID
	next.FormerIDs = append(slices.Clone(v.FormerIDs), v.ClusterID)
	return &next
}
