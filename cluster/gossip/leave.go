package gossip

import "time"

// departures is the package's own State: the set of those who left on purpose.
// memberlist spreads that a node is gone but tells its user no reason.
//
// Encoding: ( len:u8 id | instance:u64 )*
type departures struct{ t *table }

func (d departures) MarshalBinary() ([]byte, error) {
	var b []byte
	for _, x := range d.t.departures() {
		b = appendDeparture(b, x)
	}
	return b, nil
}

// Merge is a union, bounded: a set that long is not the truth.
func (d departures) Merge(b []byte) error {
	const most = 10_000
	now := time.Now()
	for n := 0; len(b) > 0; n++ {
		id, rest, ok := cutString(b)
		if !ok || len(rest) < 8 || n == most {
			return errWire
		}
		d.t.leaving(departure{id, readUint64(rest)}, now)
		b = rest[8:]
	}
	return nil
}

func appendDeparture(b []byte, d departure) []byte {
	return appendUint64(appendString(b, d.id), d.instance)
}
