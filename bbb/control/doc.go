// Package control brings what the replicated state says of meetings and what servers run together.
//
// A [Control] ends meetings on request: it asks the server, and where that does not answer, the meeting is forgotten
// all the same and its copy noted as stale. While its node leads, it also compares each list of a server with the
// state: it confirms meetings whose creator died before it could say so, forgets those that are over, adopts those
// that a tenant's earlier balancer created, and ends stale copies, so that a server which comes back never has a
// second copy of a meeting that was moved away from it.
//
// Callers: package node feeds it the polls of package bbb/load and tells it when it leads, the APIs end meetings.
// Every change is compare-and-set, so that two nodes which both think they lead do no harm.
package control
