// Command bench compares lbnode's proxy with others on one machine, and is what docs/performance.md rests on.
//
// It builds an origin server, a load generator and a relay from csrc, starts every peer that it finds with the same
// work to do (three prefix rules, least connections over three servers, X-Forwarded-For), pins proxies to one core and
// origin and load to another, and takes turns: each round measures each peer once, so that what the machine does in
// between meets all of them. Every figure is a median with its range.
//
// The parts: a [Config] from flags, [workload]s, [peer]s that turn a [site] into a running proxy, a [lab] that owns
// every process, [sample]s in a [results], and [table]s for people. It imports nothing of lbnode: a node is measured as
// an operator runs it, a process with flags that is configured over its admin API.
//
// Nothing here runs in production. Everything stays on loopback and is ended by its pid.
package main
