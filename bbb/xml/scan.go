package xml

import (
	"bytes"
	"errors"
	"fmt"
)

// What can be wrong with a document.
var (
	// ErrMalformed is a document that is not well-formed XML, or more than this package takes.
	ErrMalformed = errors.New("malformed XML")
	// ErrTooLarge is a document or a nesting beyond the limits.
	ErrTooLarge = errors.New("XML too large")
)

// MaxDepth is how deeply elements may be nested. BigBlueButton's own answers need 7.
const MaxDepth = 64

// token is one piece of markup or text.
type token struct {
	kind  tokenKind
	name  []byte // of a start or an end
	start int    // offset of the first byte
	end   int    // offset behind the last byte
}

type tokenKind uint8

const (
	tokenText  tokenKind = iota + 1 // character data outside of CDATA
	tokenCDATA                      // <![CDATA[…]]>
	tokenStart
	tokenEmpty // <a/>
	tokenEnd
	tokenOther // comment, processing instruction, declaration
)

func malformed(at int, what string) error {
	return fmt.Errorf("%w: %s at byte %d", ErrMalformed, what, at)
}

// next is the token at an offset before the end of the document.
func next(doc []byte, at int) (token, error) {
	rest := doc[at:]
	if rest[0] != '<' {
		end := bytes.IndexByte(rest, '<')
		if end < 0 {
			end = len(rest)
		}
		return token{kind: tokenText, start: at, end: at + end}, nil
	}
	switch {
	case bytes.HasPrefix(rest, []byte("<!--")):
		return until(doc, at, tokenOther, "-->", 4)
	case bytes.HasPrefix(rest, []byte("<![CDATA[")):
		return until(doc, at, tokenCDATA, "]]>", len("<![CDATA["))
	case bytes.HasPrefix(rest, []byte("<?")):
		return until(doc, at, tokenOther, "?>", 2)
	case bytes.HasPrefix(rest, []byte("<!")):
		return token{}, malformed(at, "a document type")
	case bytes.HasPrefix(rest, []byte("</")):
		return endTag(doc, at)
	}
	return startTag(doc, at)
}

func until(doc []byte, at int, kind tokenKind, mark string, from int) (token, error) {
	k := bytes.Index(doc[at+from:], []byte(mark))
	if k < 0 {
		return token{}, malformed(at, "markup without end")
	}
	return token{kind: kind, start: at, end: at + from + k + len(mark)}, nil
}

func endTag(doc []byte, at int) (token, error) {
	name := nameAt(doc, at+2)
	end := skipSpace(doc, at+2+len(name))
	if len(name) == 0 || end >= len(doc) || doc[end] != '>' {
		return token{}, malformed(at, "a bad end tag")
	}
	return token{kind: tokenEnd, name: name, start: at, end: end + 1}, nil
}

func startTag(doc []byte, at int) (token, error) {
	name := nameAt(doc, at+1)
	if len(name) == 0 {
		return token{}, malformed(at, "a bad start tag")
	}
	p := at + 1 + len(name)
	for {
		q := skipSpace(doc, p)
		switch {
		case q >= len(doc):
			return token{}, malformed(at, "a start tag without end")
		case doc[q] == '>':
			return token{kind: tokenStart, name: name, start: at, end: q + 1}, nil
		case doc[q] == '/' && q+1 < len(doc) && doc[q+1] == '>':
			return token{kind: tokenEmpty, name: name, start: at, end: q + 2}, nil
		case q == p:
			return token{}, malformed(q, "a bad attribute")
		}
		if p = attribute(doc, q); p < 0 {
			return token{}, malformed(q, "a bad attribute")
		}
	}
}

// attribute is the offset behind name="value", -1 if there is none.
func attribute(doc []byte, at int) int {
	n := len(nameAt(doc, at))
	p := skipSpace(doc, at+n)
	if n == 0 || p >= len(doc) || doc[p] != '=' {
		return -1
	}
	p = skipSpace(doc, p+1)
	if p >= len(doc) || doc[p] != '"' && doc[p] != '\'' {
		return -1
	}
	k := bytes.IndexByte(doc[p+1:], doc[p])
	if k < 0 || bytes.IndexByte(doc[p+1:p+1+k], '<') >= 0 {
		return -1
	}
	return p + 1 + k + 1
}

// nameAt is the name at an offset, empty if there is none. Anything but ASCII is taken as it is.
func nameAt(doc []byte, at int) []byte {
	p := at
	for p < len(doc) && nameByte(doc[p], p == at) {
		p++
	}
	if at >= len(doc) {
		return nil
	}
	return doc[at:p]
}

func nameByte(c byte, first bool) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', c == '_', c == ':', c >= 0x80:
		return true
	case '0' <= c && c <= '9', c == '-', c == '.':
		return !first
	}
	return false
}

func skipSpace(doc []byte, at int) int {
	for at < len(doc) && isSpace(doc[at]) {
		at++
	}
	return at
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }
