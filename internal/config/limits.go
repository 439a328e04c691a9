package config

import (
	"fmt"
	"time"
)

// Limits bound what clients may take of this node. docs/limits.md has all bounds, those that cannot be set too.
type Limits struct {
	Connections  int
	ClientConns  int // of one client; 0 = all
	BodyRate     int // bytes a second; 0 = any
	HeaderBytes  int // of a request's head
	RequestLine  int // bytes, without CRLF
	HeaderFields int

	Header, Body, Write, Idle, Handshake time.Duration
}

func defaultLimits() Limits {
	return Limits{
		Connections: 100_000, HeaderBytes: 32 << 10, RequestLine: 8 << 10, HeaderFields: 100,
		Header: 10 * time.Second, Body: time.Minute, Write: time.Minute, Idle: 75 * time.Second, Handshake: 10 * time.Second,
	}
}

func (l Limits) check() error {
	for _, n := range []struct {
		name        string
		v, min, max int
	}{
		{"max-connections", l.Connections, 1, 10_000_000},
		{"max-connections-per-client", l.ClientConns, 0, 10_000_000},
		{"min-body-rate", l.BodyRate, 0, 1 << 30},
		{"max-header-bytes", l.HeaderBytes, 1024, 128 << 10},
		{"max-request-line", l.RequestLine, 64, 64 << 10},
		{"max-header-fields", l.HeaderFields, 10, 10_000},
	} {
		if n.v < n.min || n.v > n.max {
			return fmt.Errorf("--%s %d must be between %d and %d", n.name, n.v, n.min, n.max)
		}
	}
	if l.HeaderBytes < l.RequestLine+4 {
		return fmt.Errorf("--max-header-bytes %d must be more than --max-request-line %d, which is part of it", l.HeaderBytes, l.RequestLine)
	}
	for _, d := range []struct {
		name string
		v    time.Duration
	}{
		{"header-timeout", l.Header},
		{"body-timeout", l.Body},
		{"write-timeout", l.Write},
		{"idle-timeout", l.Idle},
		{"tls-handshake-timeout", l.Handshake},
	} {
		if d.v < 100*time.Millisecond || d.v > 24*time.Hour {
			return fmt.Errorf("--%s %s must be between 100ms and 24h", d.name, d.v)
		}
	}
	return nil
}
