// Package load knows how loaded BigBlueButton servers are.
//
// A [Table] is one node's knowledge, in memory only: the meetings and attendees of each server as it last listed them
// ([Poller]), what its agent says between two lists, and the joins that were sent to it since. What reaches one node
// by itself, reports of agents and joins, is handed to the others as [News]. Nothing of it enters the replicated log,
// however much comes and goes.
//
// Callers: package node runs the poller and carries the news, the gateway counts joins, package bbb/place asks for
// loads, and the APIs show them. The package decides nothing about meetings.
package load
