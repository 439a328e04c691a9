// Package e2e tests whole clusters of real lbnode processes: the binaries as shipped, on loopback ports or
// in network namespaces, with their own data directories, killed, stopped, cut off and brought back.
//
// The package holds tests only; nothing imports it. TestMain builds the binaries once. The harness is made
// of node (one child process), cluster (several of them), backend (a sample server inside the test process,
// which can hang, fail, refuse and come back), and load (clients with kept connections that note every
// failed request). Nothing here sleeps: everything waits on a condition with a deadline.
//
// Children end with the test that started them, and with the test process if that is killed. The tail of
// every node's log is printed when a test fails; -e2e.logs keeps them whole.
package e2e
