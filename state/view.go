package state

import (
	"encoding/binary"
	"iter"

	iradix "github.com/hashicorp/go-immutable-radix/v2"
)

// View is an immutable picture of everything replicated, as of one log index. All methods may be called
// by any number of goroutines; nothing reached through a view may be changed.
type View struct {
	Index     uint64 // last applied log index
	Term      uint64 // its term
	ClusterID string // "" until the first entry
	// FormerIDs are those that the cluster had before it was recovered from the loss of its quorum, the oldest first.
	FormerIDs []string
	ConfigGen uint64 // index of the last change an operator made: routing must be compiled anew when it moves
	StateGen  uint64 // index of the last change of a verdict or drain

	trees    map[Kind]*iradix.Tree[Object] // by id
	byPool   *iradix.Tree[string]          // pool NUL id → id
	byAddr   *iradix.Tree[string]          // normalized address NUL id → id
	results  *iradix.Tree[*kept]           // request id → result
	byResult *iradix.Tree[string]          // index, big endian → request id
	history  *iradix.Tree[*Change]         // by index, big endian
	pending  *iradix.Tree[*Pending]        // by index, big endian
	bbb      bbbTrees

	historyBase uint64 // see HistoryBase
	historySize int    // bytes, by Change.measure
}

// kept is a remembered result.
type kept struct {
	RequestID   string `json:"request_id"`
	Fingerprint string `json:"fingerprint"` // hash of what the command asked for
	Result      Result `json:"result"`
}

// NewView returns the empty view.
func NewView() *View {
	v := &View{
		trees:  make(map[Kind]*iradix.Tree[Object], len(Kinds())),
		byPool: iradix.New[string](), byAddr: iradix.New[string](),
		results: iradix.New[*kept](), byResult: iradix.New[string](), history: iradix.New[*Change](),
		pending: iradix.New[*Pending](), bbb: newBBBTrees(),
	}
	for _, k := range Kinds() {
		v.trees[k] = iradix.New[Object]()
	}
	return v
}

// Get returns an object by kind and id, or nil.
func (v *View) Get(k Kind, id string) Object {
	t := v.trees[k]
	if t == nil {
		return nil
	}
	o, _ := t.Get([]byte(id))
	return o
}

// All goes through the objects of a kind in the order of their ids.
func (v *View) All(k Kind) iter.Seq[Object] {
	return func(yield func(Object) bool) {
		t := v.trees[k]
		if t == nil {
			return
		}
		it := t.Root().Iterator()
		for _, o, ok := it.Next(); ok; _, o, ok = it.Next() {
			if !yield(o) {
				return
			}
		}
	}
}

// Len returns how many objects of a kind there are.
func (v *View) Len(k Kind) int {
	if t := v.trees[k]; t != nil {
		return t.Len()
	}
	return 0
}

func get[T Object](v *View, k Kind, id string) (T, bool) {
	o, ok := v.Get(k, id).(T)
	return o, ok
}

func all[T Object](v *View, k Kind) iter.Seq[T] {
	return func(yield func(T) bool) {
		for o := range v.All(k) {
			if !yield(o.(T)) {
				return
			}
		}
	}
}

// Backend returns a backend by id.
func (v *View) Backend(id string) (*Backend, bool) { return get[*Backend](v, KindBackend, id) }

// Pool returns a pool by id.
func (v *View) Pool(id string) (*Pool, bool) { return get[*Pool](v, KindPool, id) }

// Route returns a route by id.
func (v *View) Route(id string) (*Route, bool) { return get[*Route](v, KindRoute, id) }

// Frontend returns a frontend by id.
func (v *View) Frontend(id string) (*Frontend, bool) { return get[*Frontend](v, KindFrontend, id) }

// Token returns a token by id.
func (v *View) Token(id string) (*Token, bool) { return get[*Token](v, KindToken, id) }

// Certificate returns a certificate by id.
func (v *View) Certificate(id string) (*Certificate, bool) {
	return get[*Certificate](v, KindCertificate, id)
}

// Backends goes through all backends by id.
func (v *View) Backends() iter.Seq[*Backend] { return all[*Backend](v, KindBackend) }

// Pools goes through all pools by id.
func (v *View) Pools() iter.Seq[*Pool] { return all[*Pool](v, KindPool) }

// Routes goes through all routes by id.
func (v *View) Routes() iter.Seq[*Route] { return all[*Route](v, KindRoute) }

// Frontends goes through all frontends by id.
func (v *View) Frontends() iter.Seq[*Frontend] { return all[*Frontend](v, KindFrontend) }

// Tokens goes through all tokens by id.
func (v *View) Tokens() iter.Seq[*Token] { return all[*Token](v, KindToken) }

// Certificates goes through all certificates by id.
func (v *View) Certificates() iter.Seq[*Certificate] { return all[*Certificate](v, KindCertificate) }

// PoolBackends goes through the backends of one pool by id.
func (v *View) PoolBackends(pool string) iter.Seq[*Backend] {
	return func(yield func(*Backend) bool) {
		it := v.byPool.Root().Iterator()
		it.SeekPrefix([]byte(pool + "\x00"))
		for _, id, ok := it.Next(); ok; _, id, ok = it.Next() {
			if b, found := v.Backend(id); found && !yield(b) {
				return
			}
		}
	}
}

// FindBackends resolves what an operator typed for a backend: an id, else an address. An address matches
// exactly (but for case, default port and trailing slashes), else, if it has no path of its own, every
// backend on that host and port, so that https://node23.example.org finds
// https://node23.example.org/bigbluebutton/api/.
func (v *View) FindBackends(ref string) []*Backend {
	if b, ok := v.Backend(ref); ok {
		return []*Backend{b}
	}
	key := addressKey(ref)
	if key == "" {
		return nil
	}
	if found := v.addressed(key + "\x00"); len(found) > 0 {
		return found
	}
	if a, _ := ParseAddress(ref); a.Base == "" {
		return v.addressed(key + "/")
	}
	return nil
}

func (v *View) addressed(prefix string) []*Backend {
	var out []*Backend
	it := v.byAddr.Root().Iterator()
	it.SeekPrefix([]byte(prefix))
	for _, id, ok := it.Next(); ok; _, id, ok = it.Next() {
		if b, found := v.Backend(id); found {
			out = append(out, b)
		}
	}
	return out
}

// txn collects the changes of one command. Nothing is seen until commit.
type txn struct {
	v     *View // a private copy
	trees map[Kind]*iradix.Txn[Object]
	pool  *iradix.Txn[string]
	addr  *iradix.Txn[string]
}

func (v *View) txn() *txn {
	next := *v
	return &txn{v: &next, trees: map[Kind]*iradix.Txn[Object]{}, pool: v.byPool.Txn(), addr: v.byAddr.Txn()}
}

func (t *txn) tree(k Kind) *iradix.Txn[Object] {
	if t.trees[k] == nil {
		t.trees[k] = t.v.trees[k].Txn()
	}
	return t.trees[k]
}

func (t *txn) get(k Kind, id string) Object {
	o, _ := t.tree(k).Get([]byte(id))
	return o
}

func (t *txn) put(o Object) {
	if b, ok := o.(*Backend); ok {
		t.unindex(b.ID)
		t.pool.Insert([]byte(b.Pool+"\x00"+b.ID), b.ID)
		t.addr.Insert([]byte(addressKey(b.Address)+"\x00"+b.ID), b.ID)
	}
	t.tree(o.Kind()).Insert([]byte(o.ObjectID()), o)
}

func (t *txn) delete(k Kind, id string) {
	if k == KindBackend {
		t.unindex(id)
	}
	t.tree(k).Delete([]byte(id))
}

func (t *txn) unindex(id string) {
	if old, ok := t.get(KindBackend, id).(*Backend); ok {
		t.pool.Delete([]byte(old.Pool + "\x00" + id))
		t.addr.Delete([]byte(addressKey(old.Address) + "\x00" + id))
	}
}

// named returns the keys under a prefix of the pool index, as kind/id.
func (t *txn) poolMembers(pool string) []string {
	var out []string
	t.pool.Root().WalkPrefix([]byte(pool+"\x00"), func(_ []byte, id string) bool {
		out = append(out, id)
		return false
	})
	return out
}

func (t *txn) commit() *View {
	trees := make(map[Kind]*iradix.Tree[Object], len(t.v.trees))
	for k, tree := range t.v.trees {
		trees[k] = tree
		if changed := t.trees[k]; changed != nil {
			trees[k] = changed.CommitOnly()
		}
	}
	t.v.trees, t.v.byPool, t.v.byAddr = trees, t.pool.CommitOnly(), t.addr.CommitOnly()
	return t.v
}

// maxResults bounds the remembered results: by position in the log, so that every node forgets alike.
const maxResults = 4096

func (v *View) remember(requestID, fingerprint string, r Result) {
	if requestID == "" {
		return
	}
	results, order := v.results.Txn(), v.byResult.Txn()
	results.Insert([]byte(requestID), &kept{RequestID: requestID, Fingerprint: fingerprint, Result: r})
	order.Insert(binary.BigEndian.AppendUint64(nil, r.Index), requestID)
	v.results, v.byResult = results.CommitOnly(), order.CommitOnly()
	for v.byResult.Len() > maxResults {
		at, oldest, _ := v.byResult.Root().Minimum()
		order, _, _ := v.byResult.Delete(at)
		results, _, _ := v.results.Delete([]byte(oldest))
		v.byResult, v.results = order, results
	}
}
