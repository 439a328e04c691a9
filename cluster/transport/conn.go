package transport

import (
	"crypto/tls"
	"net"
	"sync/atomic"
)

// Conn is a connection whose peer is proved. Dial and the listeners of Accept
// return it as a net.Conn.
type Conn struct {
	*tls.Conn
	mux     *Mux
	raw     *meter
	peer    Peer
	key     Key // of ours, the one that signed the peer's certificate
	self    Identity
	inbound bool
}

// Peer is the other end as it stood when the connection was made.
func (c *Conn) Peer() Peer { return c.peer }

// Close says goodbye and closes the connection.
func (c *Conn) Close() error {
	c.mux.forget(c)
	return c.Conn.Close()
}

// meter counts what the kernel took: the difference between "not sent" and
// "outcome unknown" is one byte.
type meter struct {
	net.Conn
	written atomic.Int64
}

func (c *meter) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.written.Add(int64(n))
	return n, err
}
