// Package enginetest is the behaviour suite of the proxy engines: [Run] holds for every implementation of
// proxy.Engine. Clients and backends in it are raw TCP, so that the tests see each byte.
package enginetest
