// Package place chooses the BigBlueButton server for a new meeting.
//
// [Rank] takes a [Want] and what is known of each server ([Candidate]) and says of every one whether it may have the
// meeting, why not, and how loaded it is, the best first. [Candidates] makes that knowledge of a view of the state and
// of the loads that a node has seen. The gateway tries the servers in that order; listings and explanations show the
// same verdicts, so that what is shown is what is done.
//
// Everything here is pure: the same input gives the same order on every node. The package measures nothing, calls
// nobody and keeps nothing.
package place
