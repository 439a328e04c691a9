package gossip

import (
	"encoding/binary"
	"errors"
)

// A message is one delta of one state:
//
//	kind:u8 | len:u8 key | payload
//
// and a full exchange is every state, one after the other:
//
//	( kind:u8 | len:u8 key | length:u32 | payload )*
const (
	kindState byte = 1 // registered with AddState
	kindLeave byte = 2 // the package's own: who left on purpose
)

var errWire = errors.New("malformed gossip message")

// stateKey names a state within its kind.
type stateKey struct {
	kind byte
	name string
}

type section struct {
	key     stateKey
	payload []byte
}

func encodeMessage(k stateKey, payload []byte) []byte {
	b := make([]byte, 0, 2+len(k.name)+len(payload))
	b = append(b, k.kind)
	b = appendString(b, k.name)
	return append(b, payload...)
}

func decodeMessage(b []byte) (section, error) {
	if len(b) < 2 {
		return section{}, errWire
	}
	s := section{key: stateKey{kind: b[0]}}
	var ok bool
	if s.key.name, s.payload, ok = cutString(b[1:]); !ok {
		return section{}, errWire
	}
	return s, nil
}

func appendSection(b []byte, s section) []byte {
	b = append(b, s.key.kind)
	b = appendString(b, s.key.name)
	b = binary.BigEndian.AppendUint32(b, uint32(len(s.payload)))
	return append(b, s.payload...)
}

func cutSection(b []byte) (s section, rest []byte, err error) {
	s, err = decodeMessage(b)
	if err != nil {
		return section{}, nil, err
	}
	if len(s.payload) < 4 {
		return section{}, nil, errWire
	}
	n := uint64(binary.BigEndian.Uint32(s.payload))
	body := s.payload[4:]
	if n > uint64(len(body)) {
		return section{}, nil, errWire
	}
	s.payload = body[:n:n]
	return s, body[n:], nil
}

// appendString writes a length byte and at most 255 bytes.
func appendString(b []byte, s string) []byte {
	if len(s) > 255 {
		s = s[:255]
	}
	return append(append(b, byte(len(s))), s...)
}

func cutString(b []byte) (s string, rest []byte, ok bool) {
	if len(b) < 1 || len(b)-1 < int(b[0]) {
		return "", nil, false
	}
	n := 1 + int(b[0])
	return string(b[1:n]), b[n:], true
}

func appendUint64(b []byte, v uint64) []byte { return binary.BigEndian.AppendUint64(b, v) }
func readUint64(b []byte) uint64             { return binary.BigEndian.Uint64(b) }
