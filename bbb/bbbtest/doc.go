// Package bbbtest is a BigBlueButton server for tests: an http.Handler that keeps meetings, attendees, recordings and
// hooks in memory, checks signatures strictly by code of its own, answers with every field of BigBlueButton 3.0's
// templates and some that no version has, calls back, and has faults injected: it can be slow, hang, fail, lie, send
// too much, die within an answer, act without answering, or come back from the dead with old meetings.
//
// Tests and the program in bbbtest/fakebbb use it. Nothing of it serves anybody.
package bbbtest
