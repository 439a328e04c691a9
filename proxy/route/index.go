package route

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/lbnode/lbnode/state"
)

// node is a radix tree over the bytes of paths.
type node struct {
	gen    uint64 // see Compiler.gen
	label  string
	index  string // first bytes of the kids' labels
	kids   []*node
	prefix []*entry
	regex  []*entry // by their literal beginning
}

// edit changes a table that nobody has seen yet. What it shares with older tables, which are in use, is copied before
// it is changed: all that was not made in the edit's own generation.
type edit struct {
	*Table
	gen           uint64
	exact, suffix bool // the map is this table's own
	fresh         bool // everything is this table's own, and entries come in the order of rank
}

// add puts an entry in its place.
func (t *edit) add(e *entry) {
	h := t.host(e.rule)
	h.size++
	h.first = min(h.first, e.rank)
	if e.rule.route.Match.PathType == state.PathExact {
		if h.exact == nil {
			h.exact = map[string][]*entry{}
		}
		h.exact[e.rule.path] = with(h.exact[e.rule.path], e)
		return // few have the same path
	}
	n := h.tree.at(e.rule.path, t.gen)
	if list := n.list(e); t.fresh {
		*list = append(*list, e)
	} else {
		*list = with(*list, e)
	}
}

// drop takes an entry out.
func (t *edit) drop(e *entry) {
	h := t.host(e.rule)
	if h.size--; h.size == 0 {
		switch r := e.rule; {
		case r.host == "":
			t.any = nil
		case r.wild:
			delete(t.Table.suffix, r.host)
		default:
			delete(t.Table.exact, r.host)
		}
		return
	}
	if e.rule.route.Match.PathType != state.PathExact {
		h.tree.drop(e.rule.path, e, t.gen)
		return
	}
	if rest := without(h.exact[e.rule.path], e); len(rest) > 0 {
		h.exact[e.rule.path] = rest
	} else {
		delete(h.exact, e.rule.path)
	}
}

// host is what holds the routes of a rule's host, made or copied if need be.
func (t *edit) host(r *rule) *hostRoutes {
	if r.host == "" {
		t.any = t.own(t.any)
		return t.any
	}
	m, ours := &t.Table.exact, &t.exact
	if r.wild {
		m, ours = &t.Table.suffix, &t.suffix
	}
	if !*ours {
		*m, *ours = maps.Clone(*m), true
	}
	h := t.own((*m)[r.host])
	(*m)[r.host] = h
	return h
}

func (t *edit) own(h *hostRoutes) *hostRoutes {
	switch {
	case h == nil:
		return &hostRoutes{gen: t.gen, first: ^uint64(0), tree: node{gen: t.gen}}
	case h.gen == t.gen:
		return h
	}
	c := *h
	c.gen, c.exact, c.tree = t.gen, maps.Clone(h.exact), *h.tree.own(t.gen)
	return &c
}

// with returns a list with one entry more. The list itself stays as it is.
func with(list []*entry, e *entry) []*entry {
	at := place(list, e.rank)
	return slices.Insert(slices.Clip(list), at, e)
}

// without returns a list without an entry. The list itself stays as it is.
func without(list []*entry, e *entry) []*entry {
	at := place(list, e.rank)
	return append(list[:at:at], list[at+1:]...)
}

// place is where an entry of a rank stands, or would stand.
func place(list []*entry, rank uint64) int {
	at, _ := slices.BinarySearchFunc(list, rank, func(e *entry, rank uint64) int { return cmp.Compare(e.rank, rank) })
	return at
}

// own returns the node, or a copy if an older table has it too.
func (n *node) own(gen uint64) *node {
	if n.gen == gen {
		return n
	}
	c := *n
	c.gen, c.kids = gen, slices.Clone(n.kids)
	return &c
}

// list is where an entry stands in its node.
func (n *node) list(e *entry) *[]*entry {
	if e.rule.route.Match.PathType == state.PathRegex {
		return &n.regex
	}
	return &n.prefix
}

// at returns the node for a path below n, which is of this generation, making it if need be.
func (n *node) at(path string, gen uint64) *node {
	for path != "" {
		k := strings.IndexByte(n.index, path[0])
		if k < 0 {
			kid := &node{gen: gen, label: path}
			n.index += path[:1]
			n.kids = append(n.kids, kid)
			return kid
		}
		kid := n.kids[k].own(gen)
		n.kids[k] = kid
		same := common(path, kid.label)
		if same < len(kid.label) {
			kid.label = kid.label[same:]
			kid = &node{gen: gen, label: path[:same], index: kid.label[:1], kids: []*node{kid}}
			n.kids[k] = kid
		}
		n, path = kid, path[same:]
	}
	return n
}

// drop takes the entry of a path below n, which is of this generation, out, and nodes that are good for nothing then.
func (n *node) drop(path string, e *entry, gen uint64) {
	if path == "" {
		list := n.list(e)
		*list = without(*list, e)
		return
	}
	k := strings.IndexByte(n.index, path[0])
	kid := n.kids[k].own(gen)
	kid.drop(path[len(kid.label):], e, gen)
	switch bare := len(kid.prefix) == 0 && len(kid.regex) == 0; {
	case bare && len(kid.kids) == 0:
		n.index = n.index[:k] + n.index[k+1:]
		n.kids = slices.Delete(n.kids, k, k+1)
	case bare && len(kid.kids) == 1:
		only := kid.kids[0].own(gen)
		only.label = kid.label + only.label
		n.kids[k] = only
	default:
		n.kids[k] = kid
	}
}
