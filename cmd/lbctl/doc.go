// Command lbctl is the operator's tool: verb, noun, object, over the admin API of any node of a cluster.
//
// It holds no knowledge of the cluster's rules: what is typed becomes one request (see fields.go for which
// flag is which field), what the API answers becomes text, and an error becomes an exit code (exit.go). What
// is printed on standard output is the answer; notes, progress and errors go to standard error.
package main
