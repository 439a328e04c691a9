package node

import (
	"context"
	"time"

	"github.com/lbnode/lbnode/cluster/transport"
	"github.com/lbnode/lbnode/internal/seal"
	"github.com/lbnode/lbnode/tlsstore"
)

// buildCertificates reads the default certificate and prepares those of the state.
func (n *Node) buildCertificates() error {
	cfg := tlsstore.Config{Box: n.box, Logger: n.log}
	if n.cfg.TLSCertFile != "" {
		pair := &tlsstore.Pair{CertFile: n.cfg.TLSCertFile, KeyFile: n.cfg.TLSKeyFile}
		if err := n.watch("--tls-cert-file, --tls-key-file", pair.Load, pair.CertFile, pair.KeyFile); err != nil {
			return err
		}
		cfg.Default = pair.Certificate
	}
	n.certs = tlsstore.New(cfg)
	n.certs.Update(n.fsm.View())
	return n.certs.SetTicketKeys(n.ticketSecrets(), time.Now())
}

// box seals and opens with the cluster keys of now. open says that the first one is the well-known key of labs.
func (n *Node) box() (box *seal.Box, open bool) { return (&backups{n: n}).Box() }

// ticketSecrets are the cluster keys, from which those of session tickets are derived; none in a lab, whose key
// everybody knows.
func (n *Node) ticketSecrets() [][]byte {
	var keys [][]byte
	for _, k := range n.cluster.KeyRing() {
		if k != transport.LabKey() {
			keys = append(keys, k[:])
		}
	}
	return keys
}

func (n *Node) followTicketKeys(ctx context.Context) {
	n.certs.FollowTicketKeys(ctx, n.ticketSecrets, n.rekeyed.tickets)
}
