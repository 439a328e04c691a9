// Package sign makes and checks the checksums of BigBlueButton's API.
//
// A call is signed with hex(hash(call + query + secret)). The query is the raw one of the URL, as it was sent,
// without the parameter `checksum`. The hash is told by the length of the checksum: SHA-1, SHA-256, SHA-384 or
// SHA-512. The parameters of a POSTed form, `checksum` among them, may be in its body, which the checksum does not
// cover. Names are case-sensitive, and a parameter in the query and in the body is an error.
//
// [Check] is for what clients send to us, [Query] for what is sent to a server. Callers: the gateway in package bbb,
// whatever polls servers, and callbacks. The package does no I/O and keeps nothing.
package sign
