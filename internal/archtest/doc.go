// Package archtest holds the rules that the compiler does not: who may import whom, that every package
// says what it is, and which versions of the Raft family build together. It has only tests.
package archtest
