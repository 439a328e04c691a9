package gossip

import (
	"errors"
	"fmt"
)

// Meta is what a node tells every other about itself. It must stay small: it
// rides in every message about the node.
type Meta struct {
	API      string   // address of the admin API, at most 128 bytes
	Proxy    string   // address of the proxy, at most 128 bytes
	Version  string   // of the program, at most 64 bytes
	Proto    [2]uint8 // lowest and highest command protocol understood
	Voter    bool     // takes part in elections
	Draining bool     // finishes what it has and takes no new traffic
	Insecure bool     // runs with --insecure
}

const (
	metaVersion = 1
	maxAddr     = 128
	maxVersion  = 64
	// maxMeta is what the longest legal Meta takes, far below memberlist's 512,
	// beyond which it panics.
	maxMeta = 1 + 1 + 2 + 8 + 3 + 2*maxAddr + maxVersion

	flagVoter    = 1 << 0
	flagDraining = 1 << 1
	flagInsecure = 1 << 2
)

var errMeta = errors.New("malformed member metadata")

// Validate names the field that is too long.
func (m Meta) Validate() error {
	for _, f := range []struct {
		name, value string
		limit       int
	}{
		{"API", m.API, maxAddr},
		{"Proxy", m.Proxy, maxAddr},
		{"Version", m.Version, maxVersion},
	} {
		if len(f.value) > f.limit {
			return fmt.Errorf("gossip metadata: %s has %d bytes, at most %d", f.name, len(f.value), f.limit)
		}
	}
	if m.Proto[0] > m.Proto[1] {
		return fmt.Errorf("gossip metadata: protocol range %d..%d is empty", m.Proto[0], m.Proto[1])
	}
	return nil
}

// wireMeta is a Meta and the instance of the process that sent it, which tells
// a node that left from the same node started again.
type wireMeta struct {
	Meta
	instance uint64
}

// encode writes
//
//	version:u8=1 | flags:u8 | proto min:u8 | proto max:u8 | instance:u64 | 3 × (len:u8 string)
//
// Later versions append; decoders ignore what follows. The Meta must be valid.
func (m wireMeta) encode() []byte {
	var flags byte
	if m.Voter {
		flags |= flagVoter
	}
	if m.Draining {
		flags |= flagDraining
	}
	if m.Insecure {
		flags |= flagInsecure
	}
	b := make([]byte, 0, maxMeta)
	b = append(b, metaVersion, flags, m.Proto[0], m.Proto[1])
	b = appendUint64(b, m.instance)
	b = appendString(b, m.API)
	b = appendString(b, m.Proxy)
	return appendString(b, m.Version)
}

func decodeMeta(b []byte) (wireMeta, error) {
	if len(b) < 12 || b[0] == 0 {
		return wireMeta{}, errMeta
	}
	m := wireMeta{
		Meta: Meta{
			Proto:    [2]uint8{b[2], b[3]},
			Voter:    b[1]&flagVoter != 0,
			Draining: b[1]&flagDraining != 0,
			Insecure: b[1]&flagInsecure != 0,
		},
		instance: readUint64(b[4:]),
	}
	b = b[12:]
	var ok bool
	for _, s := range []*string{&m.API, &m.Proxy, &m.Version} {
		if *s, b, ok = cutString(b); !ok {
			return wireMeta{}, errMeta
		}
	}
	if err := m.Validate(); err != nil {
		return wireMeta{}, fmt.Errorf("%w: %w", errMeta, err)
	}
	return m, nil
}
