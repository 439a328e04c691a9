package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// MaxDepth is how deep objects and lists may nest.
const MaxDepth = 32

type kind uint8

const (
	kindNull kind = iota
	kindBool
	kindNumber
	kindString
	kindList
	kindObject
)

// value is a parsed value with its text.
type value struct {
	kind    kind
	raw     []byte
	str     string // kindString: decoded
	list    []value
	members []member // kindObject: in the order of the document, the first of duplicates
}

type member struct {
	name  string
	value value
}

// describe says what a value is, for "got …".
func (v value) describe() string {
	switch v.kind {
	case kindNull:
		return "null"
	case kindList:
		return "a list"
	case kindObject:
		return "an object"
	case kindString:
		return "the string " + strconv.Quote(shorten(v.str))
	case kindBool, kindNumber:
	}
	return shorten(string(v.raw))
}

func shorten(s string) string {
	const most = 64
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

// parse reads a whole document. Errors about its syntax stop it; those about keys and text are collected.
func parse(data []byte, r *report) (value, bool) {
	if len(bytes.TrimSpace(data)) == 0 {
		r.add("", "the body is empty; it must be a JSON object")
		return value{}, false
	}
	if !utf8.Valid(data) {
		r.add("", "the text is not UTF-8, from byte %d on", firstInvalid(data))
		return value{}, false
	}
	if err := checkSyntax(data); err != nil {
		r.add("", "%s", err)
		return value{}, false
	}
	p := parser{data: data, report: r}
	p.space()
	v := p.value("", 1)
	return v, !p.tooDeep
}

// checkSyntax leaves the grammar to encoding/json, which checks all of it before it decodes anything.
func checkSyntax(data []byte) error {
	var skip json.RawMessage
	err := json.Unmarshal(data, &skip)
	if err == nil {
		return nil
	}
	var syntax *json.SyntaxError
	if !errors.As(err, &syntax) {
		return fmt.Errorf("malformed JSON: %w", err)
	}
	at := max(0, min(int(syntax.Offset)-1, len(data)))
	line, column := position(data, at)
	return fmt.Errorf("malformed JSON at line %d, column %d: %w", line, column, err)
}

func position(data []byte, at int) (line, column int) {
	before := string(data[:at])
	return strings.Count(before, "\n") + 1, utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:]) + 1
}

func firstInvalid(data []byte) int {
	for i := 0; i < len(data); {
		r, n := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return len(data)
}

// parser walks a document whose grammar is known to be right.
type parser struct {
	data    []byte
	at      int
	report  *report
	tooDeep bool
}

func (p *parser) space() {
	for p.at < len(p.data) && strings.IndexByte(" \t\r\n", p.data[p.at]) >= 0 {
		p.at++
	}
}

// next skips one byte of punctuation and the space around it.
func (p *parser) next() {
	p.at++
	p.space()
}

func (p *parser) value(pointer string, depth int) value {
	start := p.at
	var v value
	switch p.data[p.at] {
	case '{':
		v = p.object(pointer, depth)
	case '[':
		v = p.array(pointer, depth)
	case '"':
		v = value{kind: kindString, str: p.text(pointer)}
	default:
		v.kind = p.literal()
	}
	v.raw = p.data[start:p.at]
	p.space()
	return v
}

// deeper reports too many levels once, and says whether to go on.
func (p *parser) deeper(pointer string, depth int) bool {
	if depth <= MaxDepth {
		return true
	}
	if !p.tooDeep {
		p.report.add(pointer, "nests deeper than %d levels", MaxDepth)
		p.tooDeep = true
	}
	p.at = len(p.data)
	return false
}

func (p *parser) object(pointer string, depth int) value {
	v := value{kind: kindObject}
	if !p.deeper(pointer, depth) {
		return v
	}
	seen := map[string]bool{}
	p.next()
	for p.at < len(p.data) && p.data[p.at] != '}' {
		name := p.text(pointer)
		at := pointer + "/" + Escape(name)
		p.space()
		p.next() // the colon
		m := member{name, p.value(at, depth+1)}
		if seen[name] {
			p.report.add(at, "occurs twice")
		} else {
			seen[name] = true
			v.members = append(v.members, m)
		}
		if p.at < len(p.data) && p.data[p.at] == ',' {
			p.next()
		}
	}
	p.at = min(p.at+1, len(p.data))
	return v
}

func (p *parser) array(pointer string, depth int) value {
	v := value{kind: kindList}
	if !p.deeper(pointer, depth) {
		return v
	}
	p.next()
	for p.at < len(p.data) && p.data[p.at] != ']' {
		v.list = append(v.list, p.value(pointer+"/"+strconv.Itoa(len(v.list)), depth+1))
		if p.at < len(p.data) && p.data[p.at] == ',' {
			p.next()
		}
	}
	p.at = min(p.at+1, len(p.data))
	return v
}

func (p *parser) literal() kind {
	start := p.at
	for p.at < len(p.data) && strings.IndexByte(",]} \t\r\n", p.data[p.at]) < 0 {
		p.at++
	}
	switch p.data[start] {
	case 'n':
		return kindNull
	case 't', 'f':
		return kindBool
	}
	return kindNumber
}

// text reads a string.
func (p *parser) text(pointer string) string {
	start := p.at
	for p.at++; p.data[p.at] != '"'; p.at++ {
		if p.data[p.at] == '\\' {
			p.at++
		}
	}
	p.at++
	raw := p.data[start:p.at]
	if loneSurrogate(raw) {
		p.report.add(pointer, "holds half of a surrogate pair: %s", shorten(string(raw)))
	}
	var s string
	_ = json.Unmarshal(raw, &s) // a valid string always decodes
	return s
}

// loneSurrogate finds \uD800 to \uDFFF that are not pairs (RFC 8259 §8.2): decoding would silently lose them.
func loneSurrogate(raw []byte) bool {
	high := false
	for i := 0; i < len(raw); i++ {
		unit := uint64(0)
		if raw[i] == '\\' {
			i++
			if raw[i] == 'u' {
				unit, _ = strconv.ParseUint(string(raw[i+1:i+5]), 16, 16)
				i += 4
			}
		}
		low := unit >= 0xDC00 && unit <= 0xDFFF
		if high != low {
			return true
		}
		high = unit >= 0xD800 && unit <= 0xDBFF
	}
	return high
}
