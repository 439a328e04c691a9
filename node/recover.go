package node

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/lbnode/lbnode/cluster"
	"github.com/lbnode/lbnode/fsm"
	"github.com/lbnode/lbnode/internal/config"
	"github.com/lbnode/lbnode/state"
)

// Recovered is what [Recover] did.
type Recovered struct {
	cluster.Recovered
	ClusterID string // of the new cluster
	View      *state.View
}

// Recover makes the node of a data dir the only member of a new cluster that begins with all that this node knows,
// after the old one has lost its quorum for good. No node may run on the data dir, which is copied first.
func Recover(cfg config.Config, ignoreAnswers bool, log *slog.Logger) (out Recovered, err error) {
	type stop struct{ error } // Apply does not return from an entry that it cannot apply
	defer func() {
		switch p := recover().(type) {
		case nil:
		case stop:
			err = fmt.Errorf("%w: nothing was changed", p.error)
		default:
			panic(p)
		}
	}()
	out.ClusterID = cluster.NewClusterID()
	f := fsm.NewFSM(fsm.Config{Logger: log, Fatal: func(err error) { panic(stop{err}) }})
	out.Recovered, err = cluster.Recover(cluster.Recovery{
		DataDir: cfg.DataDir, ClusterID: out.ClusterID, FSM: fsm.Successor{FSM: f, ClusterID: out.ClusterID},
		Keep:          func() error { return fsm.ViewFile{Path: cfg.ViewFile()}.Save(f.View()) },
		IgnoreAnswers: ignoreAnswers, Now: time.Now(), Logger: log,
	})
	out.View = f.View()
	return out, err
}
