package e2e

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lbnode/lbnode/api"
)

// filter has a host's link to the other nodes obey rules of nftables, each "in RULE" or "out RULE"; none = no rules.
func (l *lan) filter(i int, rules ...string) {
	l.t.Helper()
	doc := "table inet lb\ndelete table inet lb\n"
	if len(rules) > 0 {
		doc += "table inet lb {\n chain in { type filter hook input priority 0; }\n chain out { type filter hook output priority 0; }\n}\n"
	}
	for _, r := range rules {
		chain, rule, _ := strings.Cut(r, " ")
		doc += fmt.Sprintf("add rule inet lb %s %sifname c0 %s\n", chain, chain[:1], rule)
	}
	cmd := exec.CommandContext(l.t.Context(), "ip", "netns", "exec", l.host(i), "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(doc)
	if out, err := cmd.CombinedOutput(); err != nil {
		l.t.Fatalf("nft: %v: %s\n%s", err, out, doc)
	}
}

// The link between the nodes loses packets one way, some of them, or one kind. It is part of the soak, as it takes
// minutes.
func TestSoak_packetFilters(t *testing.T) {
	soakOnly(t)
	if _, err := exec.LookPath("nft"); err != nil {
		t.Skip("needs the nft command (nftables)")
	}
	l := newLAN(t, 3)
	c, backends := l.form(3)
	for _, fault := range []struct {
		name   string
		all    bool // on every node, else on the leader only
		rules  []string
		writes int // through another node
		within time.Duration
	}{
		{"leader is not heard", false, []string{"out drop"}, 1, 10 * time.Second},
		{"leader does not hear", false, []string{"in drop"}, 1, 10 * time.Second},
		{"leader resets", false, []string{"out meta l4proto tcp reject with tcp reset", "in meta l4proto tcp reject with tcp reset"}, 1, 10 * time.Second},
		{"30 % loss at the leader", false, []string{"in numgen random mod 100 < 30 drop", "out numgen random mod 100 < 30 drop"}, 20, 20 * time.Second},
		{"gossip without UDP", true, []string{"in meta l4proto udp drop"}, 20, 5 * time.Second},
	} {
		t.Run(strings.ReplaceAll(fault.name, " ", "_"), func(t *testing.T) {
			leader := c.leader()
			other := c.except(leader)[0]
			traffic := startLoad(t, "/", c.nodes...)
			traffic.more(t, 50, c.nodes...)
			for i, n := range c.nodes {
				if fault.all || n == leader {
					l.filter(i, fault.rules...)
				}
			}
			var took []time.Duration
			for i := range fault.writes {
				took = append(took, put(t, other, fmt.Sprintf("%s-%d", strings.NewReplacer(" ", "-", "%", "").Replace(strings.ToLower(fault.name)), i), fault.within))
				traffic.more(t, 20, c.nodes...)
			}
			slices.Sort(took)
			for _, n := range c.nodes {
				var h api.Health
				n.read("/backends/health", &h)
				for _, b := range backends {
					if h[b.id] != api.Healthy {
						t.Errorf("%s says %v; what goes on between nodes says nothing about backends", n.name, h)
					}
				}
			}
			for i := range c.nodes {
				l.filter(i)
			}
			c.formed(c.nodes...)
			put(t, leader, "healed", 10*time.Second)
			traffic.stop()
			traffic.wantAtMost(t, 0, time.Time{}, c.nodes...)
			c.same()
			t.Logf("%s: writes took %s at the median, %s at most; 0 requests failed", fault.name, took[len(took)/2], took[len(took)-1])
		})
	}
}
