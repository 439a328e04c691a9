package state

import (
	"bytes"
	"encoding/json"
	"strings"
)

// A program that reads a command with fields which it does not know leaves them out, and so has another state from
// then on than those that know them. So an encoded command says from which protocol on all of it is understood: the
// leader takes it only once every member is that far, and a member that is not, if it comes to that, stops at it.

// CommandProtocol is the highest version of the command protocol that this program understands. It rises with the first
// change after a release that older programs would not understand.
const CommandProtocol = 3

// newer is what came after protocol 2, with the protocol that it came with: paths of fields as JSON has them, those
// of objects behind their kind ("pool.health.path"), a kind itself ("acme"), those of commands behind "command".
// A path with "=" is a value that a field did not have before ("pool.algorithm=maglev"). What protocol 2 knows
// stands in testdata/v3/fields.txt, and a test finds what is in neither.
func newer() map[string]uint8 {
	return map[string]uint8{}
}

// Requires is the lowest protocol of which a program understands an encoded command.
func Requires(cmd []byte) uint8 {
	if len(cmd) < envelopeLen {
		return 1
	}
	needs := max(cmd[2], 1)
	switch TypeOf(cmd) {
	case TypeReseal, TypeBBB: // which came without another version
		needs = max(needs, 2)
	}
	return needs
}

// needs is the protocol that the newest of what a command says came with, 1 if all of it is old. payload is the
// command in JSON.
func (c Command) needs(payload []byte, newer map[string]uint8) uint8 {
	s := search{newer, c.oldVersion()}
	if c.Type == TypeBBB && c.Note != "" { // the field is old, its entry in the history is not
		s.needs = max(s.needs, 3)
	}
	if c.Restore != nil {
		s.needs = max(s.needs, c.Restore.needs)
	}
	if mentions(payload, newer) {
		s.value("command", payload)
		for _, op := range c.Ops {
			s.object(op.Kind, op.Value)
		}
	}
	return s.needs
}

// objectNeeds is needs for a single object.
func objectNeeds(k Kind, raw []byte, newer map[string]uint8) uint8 {
	s := search{newer, newer[string(k)]}
	if mentions(raw, newer) {
		s.object(k, raw)
	}
	return s.needs
}

// mentions reports whether any of the names occurs in JSON at all, so that hardly any is read twice.
func mentions(raw []byte, newer map[string]uint8) bool {
	for path := range newer {
		name := path[strings.LastIndexAny(path, ".=")+1:]
		if bytes.Contains(raw, []byte(`"`+name+`"`)) {
			return true
		}
	}
	return false
}

// search looks for what is newer.
type search struct {
	newer map[string]uint8
	needs uint8
}

func (s *search) object(k Kind, raw []byte) {
	s.needs = max(s.needs, s.newer[string(k)])
	s.value(string(k), raw)
}

func (s *search) value(path string, raw []byte) {
	var v any
	if json.Unmarshal(raw, &v) == nil { // an operation without a value has none
		s.fields(path, v)
	}
}

// fields goes through a value. Null says no more than what is left out.
func (s *search) fields(path string, v any) {
	switch v := v.(type) {
	case map[string]any:
		for name, inner := range v {
			if at := path + "." + name; at != "command.ops.value" && inner != nil {
				s.needs = max(s.needs, s.newer[at])
				s.fields(at, inner)
			}
		}
	case []any:
		for _, inner := range v {
			s.fields(path, inner)
		}
	case string:
		s.needs = max(s.needs, s.newer[path+"="+v])
	}
}
