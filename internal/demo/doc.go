// Package demo runs a whole cluster on loopback for somebody who sees lbnode for the first time: three real
// node processes, three sample backends as processes of their own, a light stream of requests, and a small
// live table.
//
// [Run] is `lbnode demo` and `make run`. It talks to the cluster only as an operator would, through the
// admin API, and takes everything it started down again when its context ends.
package demo
