package e2e

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
)

// portAllocator hands out loopback ports below the range that the system gives to outgoing connections, so
// that a node finds its port free again after a restart. No port is handed out twice.
type portAllocator struct {
	mu   sync.Mutex
	next int
}

const (
	firstPort = 15000
	lastPort  = 32000
)

var ports = portAllocator{next: firstPort + rand.IntN(lastPort-firstPort)}

// freeAddr returns a loopback address whose port is free for TCP and UDP.
func freeAddr(t testing.TB) string {
	t.Helper()
	ports.mu.Lock()
	defer ports.mu.Unlock()
	for range 1000 {
		if ports.next++; ports.next > lastPort {
			ports.next = firstPort
		}
		addr := fmt.Sprintf("127.0.0.1:%d", ports.next)
		if isFree(addr) {
			return addr
		}
	}
	t.Fatal("no free loopback port")
	return ""
}

func isFree(addr string) bool {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return false
	}
	defer l.Close()
	p, err := net.ListenPacket("udp", addr)
	if err != nil {
		return false
	}
	return p.Close() == nil
}
