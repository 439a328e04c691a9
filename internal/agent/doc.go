// Package agent is what runs beside a server that lbnode balances: it registers the server, tells the cluster
// how loaded it is, and takes it out of use before it stops.
//
// [Load] reads the settings, [New] makes an [Agent] of them, [Agent.Run] works until its context ends and then
// drains. What the server is doing comes from a [Source]: a BigBlueButton server's API and Redis events, a URL,
// or the load average of the host. Where it goes is a [Balancer]: the admin API of lbnode with a token of its
// own, or the API of b3scale with a JWT, in both cases any node of a list.
//
// The agent is a convenience. A server without one is checked and balanced all the same, from outside; the agent
// makes what is known of it newer. It holds no state but a marker that says that it was the agent who disabled
// the server, so that its next start enables it again and never undoes what an operator did.
//
// Command cmd/lbagent calls it. It never talks to Raft or gossip.
package agent
