package xml

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// Element is one element of a document. Its slices are of the document: they must not be changed.
type Element struct {
	// Path is the names from the root to the element itself, without their name space prefixes' meaning: as they
	// are written. It is valid during the visit only.
	Path []string
	// Raw is the element from the first byte of its start tag to the last of its end tag.
	Raw []byte
	// Inner is what is between the tags; nil for `<a/>`.
	Inner []byte
	// Leaf says that there is no element within.
	Leaf bool

	inner int // offset of Inner
	empty bool
}

// Is says whether the element's path is the one given, such as "response", "returncode".
func (e *Element) Is(path ...string) bool { return slices.Equal(e.Path, path) }

// Name is the last of the path.
func (e *Element) Name() string { return e.Path[len(e.Path)-1] }

// Text is the decoded text of a leaf with the white space around it taken away; "" for other elements.
func (e *Element) Text() string {
	if !e.Leaf {
		return ""
	}
	return strings.TrimSpace(text(e.Inner))
}

// open is an element whose end is still to come.
type open struct {
	start, inner int
	parent       bool // it has elements
}

// walker is the state of one walk.
type walker struct {
	doc   []byte
	visit func(*Element) error
	path  []string
	stack []open
	names map[string]string // each name is made a string once
	roots int
	e     Element // reused, so that a walk does not allocate for each element
}

// Walk visits every element at its end: children before their parents, otherwise in the order of the document. The
// element is valid during its visit only. An error of visit ends the walk and is returned. Errors of the document wrap
// ErrMalformed or ErrTooLarge; what was visited until then was well-formed.
func Walk(doc []byte, visit func(*Element) error) error {
	w := walker{doc: doc, visit: visit, names: map[string]string{}}
	at := 0
	if bytes.HasPrefix(doc, []byte("\xef\xbb\xbf")) {
		at = 3
	}
	for at < len(doc) {
		t, err := next(doc, at)
		if err != nil {
			return err
		}
		if err := w.take(t); err != nil {
			return err
		}
		at = t.end
	}
	if len(w.stack) > 0 {
		return malformed(at, "the end within an element")
	}
	if w.roots == 0 {
		return malformed(at, "no element")
	}
	return nil
}

func (w *walker) take(t token) error {
	switch t.kind {
	case tokenText, tokenCDATA:
		return checkText(w.doc, t, len(w.stack))
	case tokenStart:
		return w.enter(t)
	case tokenEmpty:
		if err := w.enter(t); err != nil {
			return err
		}
		return w.leave(t)
	case tokenEnd:
		if n := len(w.path); n == 0 || w.path[n-1] != string(t.name) {
			return malformed(t.start, fmt.Sprintf("an end tag %.40q that ends nothing", t.name))
		}
		return w.leave(t)
	}
	return nil
}

// enter opens an element.
func (w *walker) enter(t token) error {
	n := len(w.stack)
	switch {
	case n == 0 && w.roots > 0:
		return malformed(t.start, "a second root")
	case n == 0:
		w.roots++
	case n >= MaxDepth:
		return fmt.Errorf("%w: elements are nested more than %d deep", ErrTooLarge, MaxDepth)
	default:
		w.stack[n-1].parent = true
	}
	name, ok := w.names[string(t.name)]
	if !ok {
		name = string(t.name)
		w.names[name] = name
	}
	w.path = append(w.path, name)
	w.stack = append(w.stack, open{start: t.start, inner: t.end})
	return nil
}

// leave visits the innermost element, which ends with a token, and closes it.
func (w *walker) leave(t token) error {
	n := len(w.stack) - 1
	o := w.stack[n]
	w.e = Element{Path: w.path, Raw: w.doc[o.start:t.end], Leaf: !o.parent, inner: o.inner, empty: t.kind == tokenEmpty}
	if !w.e.empty {
		w.e.Inner = w.doc[o.inner:t.start]
	}
	if err := w.visit(&w.e); err != nil {
		return err
	}
	w.stack, w.path = w.stack[:n], w.path[:n]
	return nil
}

// Text is the text of the leaf at a path, the first if there are more, and whether there is one.
func Text(doc []byte, path ...string) (string, bool) {
	var s string
	found := false
	_ = Walk(doc, func(e *Element) error {
		if !found && e.Leaf && e.Is(path...) {
			s, found = e.Text(), true
		}
		return nil
	})
	return s, found
}

// Rewrite is the document with the text of some leaves replaced. For each leaf, f gets the path and the decoded text and
// returns the new text and true, or false to leave every byte of it. A text in CDATA stays in CDATA. Without a
// replacement the document itself is returned.
func Rewrite(doc []byte, f func(path []string, text string) (string, bool)) ([]byte, error) {
	var out []byte
	done := 0 // so much of doc is in out
	err := Walk(doc, func(e *Element) error {
		if !e.Leaf {
			return nil
		}
		repl, ok := f(e.Path, e.Text())
		if !ok {
			return nil
		}
		if e.empty {
			// <a x="1"/> becomes <a x="1">text</a>.
			slash := e.inner - 2
			out = append(append(out, doc[done:slash]...), '>')
			out = append(out, Escape(repl)...)
			out = append(append(append(out, "</"...), e.Name()...), '>')
			done = e.inner
			return nil
		}
		out = append(out, doc[done:e.inner]...)
		if bytes.HasPrefix(bytes.TrimSpace(e.Inner), []byte("<![CDATA[")) && !strings.Contains(repl, "]]>") {
			out = append(append(append(out, "<![CDATA["...), clean(repl)...), "]]>"...)
		} else {
			out = append(out, Escape(repl)...)
		}
		done = e.inner + len(e.Inner)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if done == 0 {
		return doc, nil
	}
	return append(out, doc[done:]...), nil
}
