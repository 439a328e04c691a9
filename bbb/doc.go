// Package bbb is what tenants of BigBlueButton servers call: one API in front of many servers.
//
// [Gateway] is an http.Handler for `/bbb/{key}/bigbluebutton/api/…` and, by a frontend's hosts, `/bigbluebutton/api/…`.
// It checks the tenant's checksum, reserves a new meeting in the replicated state before any server is asked for it,
// and passes all calls about a meeting to the server that has it, signed by that server's secret. Answers go back as
// they came, but for the meeting ids of tenants whose ids are isolated.
//
// Every answer has HTTP status 200 and BigBlueButton's shape; a refusal names no server, URL or secret. Of two nodes that
// are asked for the same meeting, one finds the other's reservation. A server that fails costs getMeetings its own
// meetings only.
//
// The package keeps nothing itself: meetings are in the state, loads in package bbb/load.
package bbb
