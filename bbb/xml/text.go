package xml

import (
	"bytes"
	"strconv"
	"strings"
	"unicode/utf8"
)

// checkText refuses text outside of the root, and references that are not well-formed.
func checkText(doc []byte, t token, depth int) error {
	s := doc[t.start:t.end]
	if depth == 0 {
		if len(bytes.TrimSpace(s)) > 0 {
			return malformed(t.start, "text outside of the root")
		}
		return nil
	}
	if t.kind == tokenCDATA {
		return nil
	}
	for at := 0; ; {
		k := bytes.IndexByte(s[at:], '&')
		if k < 0 {
			return nil
		}
		at += k
		_, n := reference(s[at:])
		if n == 0 {
			return malformed(t.start+at, "a bad reference")
		}
		at += n
	}
}

// maxReference is the longest reference: &#x0010FFFF; and a little.
const maxReference = 16

// reference decodes the reference at the beginning of s; n is its length, 0 if there is none.
func reference(s []byte) (r rune, n int) {
	end := bytes.IndexByte(s[:min(len(s), maxReference)], ';')
	if end < 2 {
		return 0, 0
	}
	name := string(s[1:end])
	switch name {
	case "amp":
		return '&', end + 1
	case "lt":
		return '<', end + 1
	case "gt":
		return '>', end + 1
	case "quot":
		return '"', end + 1
	case "apos":
		return '\'', end + 1
	}
	digits, ok := strings.CutPrefix(name, "#")
	if !ok {
		return 0, 0
	}
	base := 10
	if hex, ok := strings.CutPrefix(digits, "x"); ok {
		digits, base = hex, 16
	}
	c, err := strconv.ParseUint(digits, base, 32)
	if err != nil || c > utf8.MaxRune || !legal(rune(c)) {
		return 0, 0
	}
	return rune(c), end + 1
}

// legal says whether XML 1.0 §2.2 allows a character.
func legal(r rune) bool {
	switch {
	case r == '\t', r == '\n', r == '\r':
		return true
	case r < 0x20, r >= 0xd800 && r <= 0xdfff, r == 0xfffe, r == 0xffff:
		return false
	}
	return r <= utf8.MaxRune
}

// text decodes the inside of a leaf that Walk has checked.
func text(inner []byte) string {
	if bytes.IndexByte(inner, '&') < 0 && bytes.IndexByte(inner, '<') < 0 {
		return string(inner)
	}
	var b strings.Builder
	for at := 0; at < len(inner); {
		t, err := next(inner, at)
		if err != nil {
			break
		}
		at = t.end
		switch t.kind {
		case tokenCDATA:
			b.Write(inner[t.start+len("<![CDATA[") : t.end-len("]]>")])
		case tokenText:
			unescape(&b, inner[t.start:t.end])
		}
	}
	return b.String()
}

func unescape(b *strings.Builder, s []byte) {
	for {
		k := bytes.IndexByte(s, '&')
		if k < 0 {
			b.Write(s)
			return
		}
		b.Write(s[:k])
		r, n := reference(s[k:])
		if n == 0 {
			r, n = '&', 1
		}
		b.WriteRune(r)
		s = s[k+n:]
	}
}

var escapes = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

// Escape is a text as it can stand between tags. Characters that XML cannot hold become U+FFFD.
func Escape(s string) string { return escapes.Replace(clean(s)) }

// clean takes out what XML cannot hold.
func clean(s string) string {
	ok := utf8.ValidString(s)
	for _, r := range s {
		if !legal(r) {
			ok = false
			break
		}
	}
	if ok {
		return s
	}
	return strings.Map(func(r rune) rune {
		if !legal(r) {
			return utf8.RuneError
		}
		return r
	}, s)
}
