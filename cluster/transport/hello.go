package transport

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
)

// The protocols behind the cluster port, as ALPN names.
const (
	ProtoRaft   = "lb-raft/1"
	ProtoRPC    = "lb-rpc/1"
	ProtoGossip = "lb-gossip/1"
)

const (
	helloMagic   = "LBN"
	helloVersion = 1
	helloHead    = len(helloMagic) + 1 + 2 // magic, version, length
	// maxHello bounds what an authenticated but unknown peer makes us read.
	maxHello = 2048
	// maxID bounds node and cluster ids: one length byte each.
	maxID = 255
	// maxReason keeps an answer under maxHello whatever the ids are.
	maxReason = 1024
)

// Identity is who a node says it is. The node id is proved by its certificate;
// the cluster id is "" until the node is a member of a cluster.
type Identity struct{ NodeID, ClusterID string }

// Peer is the other end of a connection.
type Peer struct {
	Identity
	RemoteAddr string // host:port as seen here, which need not be where it listens
}

var errHello = errors.New("malformed hello")

// hello is the first frame on every connection, from the client:
//
//	"LBN" version:u8 length:u16 | len:u8 node id | len:u8 cluster id | …
//
// What follows the known fields is ignored, so that later versions can append.
type hello struct {
	Identity
}

// answer is the server's reply to a hello:
//
//	"LBN" version:u8 length:u16 | code:u8 | len:u8 node id | len:u8 cluster id | len:u16 reason | …
type answer struct {
	Identity
	code   refusal
	reason string
}

func appendHead(b []byte) []byte {
	b = append(b, helloMagic...)
	return append(b, helloVersion, 0, 0)
}

func finishHead(b []byte) []byte {
	binary.BigEndian.PutUint16(b[helloHead-2:], uint16(len(b)-helloHead))
	return b
}

func appendID(b []byte, id string) []byte {
	id = clip(id, maxID)
	return append(append(b, byte(len(id))), id...)
}

func (h hello) encode() []byte {
	b := appendHead(make([]byte, 0, helloHead+2+len(h.NodeID)+len(h.ClusterID)))
	b = appendID(b, h.NodeID)
	b = appendID(b, h.ClusterID)
	return finishHead(b)
}

func (a answer) encode() []byte {
	reason := clip(a.reason, maxReason)
	b := appendHead(make([]byte, 0, helloHead+5+len(a.NodeID)+len(a.ClusterID)+len(reason)))
	b = append(b, byte(a.code))
	b = appendID(b, a.NodeID)
	b = appendID(b, a.ClusterID)
	b = binary.BigEndian.AppendUint16(b, uint16(len(reason)))
	b = append(b, reason...)
	return finishHead(b)
}

// readHelloFrame reads one frame and returns its payload. It never reads past
// the frame: what follows belongs to the protocol.
func readHelloFrame(r io.Reader) ([]byte, error) {
	var head [helloHead]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	if string(head[:len(helloMagic)]) != helloMagic || head[len(helloMagic)] == 0 {
		return nil, errHello
	}
	n := int(binary.BigEndian.Uint16(head[helloHead-2:]))
	if n > maxHello {
		return nil, fmt.Errorf("%w: %d bytes", errHello, n)
	}
	payload := make([]byte, n)
	if _, err := io.ReadFull(r, payload); err != nil {
		return nil, err
	}
	return payload, nil
}

func readHello(r io.Reader) (hello, error) {
	p, err := readHelloFrame(r)
	if err != nil {
		return hello{}, err
	}
	return decodeHello(p)
}

func readAnswer(r io.Reader) (answer, error) {
	p, err := readHelloFrame(r)
	if err != nil {
		return answer{}, err
	}
	return decodeAnswer(p)
}

func decodeHello(p []byte) (hello, error) {
	var h hello
	var ok bool
	if h.NodeID, p, ok = cutID(p); !ok {
		return hello{}, errHello
	}
	if h.ClusterID, _, ok = cutID(p); !ok {
		return hello{}, errHello
	}
	return h, nil
}

func decodeAnswer(p []byte) (answer, error) {
	if len(p) < 1 {
		return answer{}, errHello
	}
	a := answer{code: refusal(p[0])}
	p = p[1:]
	var ok bool
	if a.NodeID, p, ok = cutID(p); !ok {
		return answer{}, errHello
	}
	if a.ClusterID, p, ok = cutID(p); !ok {
		return answer{}, errHello
	}
	if len(p) < 2 {
		return answer{}, errHello
	}
	n := int(binary.BigEndian.Uint16(p))
	if n > len(p)-2 {
		return answer{}, errHello
	}
	a.reason = printable(string(p[2 : 2+n]))
	return a, nil
}

func cutID(p []byte) (id string, rest []byte, ok bool) {
	if len(p) < 1 || len(p)-1 < int(p[0]) {
		return "", nil, false
	}
	n := int(p[0])
	return printable(string(p[1 : 1+n])), p[1+n:], true
}

// printable makes a peer's text harmless for logs and terminals.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || (r >= 0x80 && r < 0xa0) {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}

func clip(s string, n int) string {
	if len(s) > n {
		return s[:n]
	}
	return s
}

// checkMembership is the rule for everything but open methods: both sides are
// members, of the same cluster. The reason is written for the peer's operator;
// "this node" is the one that answers.
func checkMembership(self, peer Identity) (refusal, string) {
	switch {
	case self.ClusterID == "":
		return refusedMember, fmt.Sprintf("this node (%s) is not a member of any cluster yet; it will answer once it has joined or bootstrapped one", self.NodeID)
	case peer.ClusterID == "":
		return refusedMember, fmt.Sprintf("%s is not a member of any cluster yet and has to join first (--join)", peer.NodeID)
	case self.ClusterID != peer.ClusterID:
		return refusedCluster, fmt.Sprintf("this node (%s) belongs to cluster %s, %s belongs to cluster %s; a node keeps to one cluster: correct the addresses it was given, or start it with an empty data dir to let it join here",
			self.NodeID, self.ClusterID, peer.NodeID, peer.ClusterID)
	default:
		return accepted, ""
	}
}
