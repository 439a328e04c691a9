// Package tlsstore holds the certificates that the proxies show to clients and to backends: a default one from
// files ([Pair]), and those of the replicated state, whose keys are sealed with the cluster key. A [Store] picks one
// for each handshake by the name that the client asks for, and rotates the keys of session tickets so that a
// session that began on one node can be resumed on another.
//
// Package node gives every new view to [Store.Update] and the [Store.Server] configuration to the engines.
// The package decides nothing about who may change certificates and never writes or logs a private key.
package tlsstore
