// Package api holds the types of the admin API as they go over the wire: what package httpapi answers,
// what package client sends, and the names of codes and headers that both know.
//
// [Backend], [Pool], [Route], [Frontend], [Stats], [Cluster] and [Node] are answers: no field is ever left
// out, lists and maps are never null, durations are strings in Go's notation ("1.5s"), times are RFC 3339 in
// UTC. [BackendInput] and its siblings are what a client writes: what it leaves out gets its default.
// [Problem] is every answer that is no success.
//
// The package imports nothing of lbnode and decides nothing. Field names are those of package state where
// the same thing exists there.
package api
