// Package server calls the API of single BigBlueButton servers.
//
// A [Client] signs calls with the best checksum that a server takes, finds out which of its secrets is in force,
// reuses connections, bounds what runs at a time, how long it takes and how much is read, and says of a call that
// failed whether the server can have acted on it. [Of] is a backend of the state as a server. Callers: package bbb and
// its sub-packages. It chooses nothing and keeps nothing about meetings.
//
// The texts of its errors are for the log: they name hosts, but never a query, a checksum or a secret.
package server
