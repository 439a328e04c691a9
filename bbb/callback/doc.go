// Package callback carries what BigBlueButton servers tell tenants: that a meeting is over, a recording is ready,
// what was learned of a meeting, and the events of bbb-webhooks.
//
// A [Proxy] puts URLs of our own in the place of a tenant's when a meeting is created; a server calls them on any
// node. What it says is checked against the servers' secrets and goes into the queue in the replicated state. The
// leader's [Sender] delivers from there, signed with the tenant's secret, at least once: with pauses that grow until
// the receiver accepts or the callback is too old, and then keeps it for an operator to see.
//
// [Decide] and [Pause] are the decisions, pure; the rest does I/O. A receiver is a stranger's address, so the sender
// connects only to public addresses and to the networks that an operator allows, follows few redirects, reads
// little of an answer, and gives all of it a deadline.
package callback
