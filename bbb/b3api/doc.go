// Package b3api answers b3scale's REST API, /api/v1, so that b3scalectl and b3scaleagent work against a node as they are.
//
// [Server] is the handler. It reads the replicated state and what this node knows of servers ([load.Table]), and changes
// the state by commands, so that every node answers and none has to be asked in particular. Who may do what is said by
// the scopes of a token that the operator signed with a secret of both ([parseJWT]), or by the role of one of our own
// ([Tokens]).
//
// Backends are those of pools of BigBlueButton servers, and frontends those with a key; nothing else is shown. Where
// b3scale answers 500 to what a client got wrong, this answers 400, 404 or 409. An agent's word is kept in memory only:
// it adds to what the nodes find out by themselves, and its absence hides no backend.
//
// Package node mounts the handler. This package starts nothing and calls no server but through [Meetings].
package b3api
