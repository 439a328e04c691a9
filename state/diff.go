package state

import (
	"strings"

	iradix "github.com/hashicorp/go-immutable-radix/v2"
)

// Changed returns the ids of the objects of a kind that are not the same in another view: new ones, those that are gone
// and those that have changed, in the order of their ids. Views of which one came from the other share what has not
// changed, and only what they do not share is looked at, as long as that is worth it: a change among thousands of
// objects costs what some dozens of lookups do.
func (v *View) Changed(old *View, k Kind) []string {
	a, b := old.trees[k], v.trees[k]
	if a == b || a == nil || b == nil {
		return nil
	}
	d := differ{a: a.Root(), b: b.Root(), steps: 16 + (a.Len()+b.Len())/400}
	if !d.under("") {
		d.ids = d.ids[:0]
		la, _ := upTo(a.Root().Iterator(), a.Len())
		lb, _ := upTo(b.Root().Iterator(), b.Len())
		d.each(la, lb)
	}
	return d.ids
}

// fewKeys is up to how many objects are compared one by one.
const fewKeys = 32

// differ compares two trees. A node of a tree is known by its watch channel, which is made with the node and never
// given to another: two nodes with one channel are one node, with all that is below.
type differ struct {
	a, b  *iradix.Node[Object]
	ids   []string
	steps int // prefixes that may still be looked at; one costs as much as some hundred comparisons
}

// under compares what lies under a prefix; false: so much has changed that one had better compare everything.
func (d *differ) under(prefix string) bool {
	ia, ib := d.a.Iterator(), d.b.Iterator()
	if ia.SeekPrefixWatch([]byte(prefix)) == ib.SeekPrefixWatch([]byte(prefix)) {
		return true
	}
	if d.steps--; d.steps < 0 {
		return false
	}
	if la, all := upTo(ia, fewKeys); all {
		if lb, all := upTo(ib, fewKeys); all {
			d.each(la, lb)
			return true
		}
	}
	a, _ := d.a.Get([]byte(prefix))
	b, _ := d.b.Get([]byte(prefix))
	if a != b {
		d.ids = append(d.ids, prefix)
	}
	for c := 0; ; c++ {
		c = min(next(d.a, prefix, c), next(d.b, prefix, c))
		if c == noByte {
			return true
		}
		if !d.under(prefix + string([]byte{byte(c)})) {
			return false
		}
	}
}

// each compares two lists in order of their ids.
func (d *differ) each(a, b []Object) {
	for len(a) > 0 || len(b) > 0 {
		var order int
		switch {
		case len(a) == 0:
			order = 1
		case len(b) == 0:
			order = -1
		case a[0] == b[0]:
			a, b = a[1:], b[1:]
			continue
		default:
			order = strings.Compare(a[0].ObjectID(), b[0].ObjectID())
		}
		var id string
		if order <= 0 {
			id, a = a[0].ObjectID(), a[1:]
		}
		if order >= 0 {
			id, b = b[0].ObjectID(), b[1:]
		}
		d.ids = append(d.ids, id)
	}
}

// upTo returns what an iterator has left, if that is no more than so many.
func upTo(it *iradix.Iterator[Object], most int) (list []Object, all bool) {
	for _, o, ok := it.Next(); ok; _, o, ok = it.Next() {
		if len(list) == most {
			return nil, false
		}
		list = append(list, o)
	}
	return list, true
}

const noByte = 256

// next is the first byte from c on with which a key goes on behind a prefix, or noByte.
func next(n *iradix.Node[Object], prefix string, c int) int {
	if c == noByte {
		return noByte
	}
	it := n.Iterator()
	it.SeekLowerBound(append([]byte(prefix), byte(c)))
	key, _, ok := it.Next()
	if !ok || !strings.HasPrefix(string(key), prefix) {
		return noByte
	}
	return int(key[len(prefix)])
}
