package main

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// measureIdleH2 opens many HTTP/2 connections over TLS to each peer, lets each have one answer, and looks at the
// proxy's memory before and after.
func (l *lab) measureIdleH2(ctx context.Context, res *results) error {
	if !l.withTLS {
		return nil
	}
	res.connsH2 = min(l.cfg.idleH2Conns(), l.files-1000)
	for _, p := range l.peers {
		if p.floor || p.brief {
			continue
		}
		l.say("%s idle connections (HTTP/2): %s", thousands(res.connsH2), p.name)
		s, err := l.measureIdleH2Of(ctx, p, res.connsH2)
		l.stopAll()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			l.skip("%s, idle connections (HTTP/2): %v", p.name, err)
			continue
		}
		res.idle[cell{"h2", p.name}] = s
	}
	return nil
}

func (l *lab) measureIdleH2Of(ctx context.Context, p present, conns int) (idleSample, error) {
	r, err := l.startPeer(ctx, p, workload{})
	if err != nil {
		return idleSample{}, err
	}
	addr := local(r.site.HTTPS)
	first, err := openH2(ctx, addr, 64) // some first, as in measureIdleOf
	closeAll(first)
	if err != nil {
		return idleSample{}, err
	}
	pids := r.pids()
	before, err := r.proc.memory(pids)
	if err != nil {
		return idleSample{}, err
	}
	open, err := openH2(ctx, addr, conns)
	defer closeAll(open)
	if err != nil {
		return idleSample{}, err
	}
	select {
	case <-ctx.Done():
		return idleSample{}, context.Cause(ctx)
	case <-time.After(l.cfg.Time * 2):
	}
	after, err := r.proc.memory(pids)
	return idleSample{PerConn: float64(after-before) / float64(conns), Total: after}, err
}

func closeAll(conns []net.Conn) {
	for _, c := range conns {
		_ = c.Close()
	}
}

// openH2 opens n connections and gets one answer on each, eight at a time.
func openH2(ctx context.Context, addr string, n int) ([]net.Conn, error) {
	var (
		mu    sync.Mutex
		open  []net.Conn
		first error
		left  atomic.Int64
		all   sync.WaitGroup
	)
	left.Store(int64(n))
	for range openers {
		all.Go(func() {
			for left.Add(-1) >= 0 && ctx.Err() == nil {
				c, err := askH2(ctx, addr)
				mu.Lock()
				if err == nil {
					open = append(open, c)
				} else if first == nil {
					first = err
				}
				failed := first != nil
				mu.Unlock()
				if failed {
					return
				}
			}
		})
	}
	all.Wait()
	return open, errors.Join(first, ctx.Err())
}

// The types and flags of frames (RFC 9113 §6).
const (
	frameData, frameHeaders, frameSettings, framePing = 0, 1, 4, 6

	flagAck, flagEndStream = 1, 1
)

// askH2 makes one HTTP/2 connection and one request on it.
func askH2(ctx context.Context, addr string) (net.Conn, error) {
	d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS13}} //nolint:gosec // a certificate of this run
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	hello := append([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), frameBytes(frameSettings, 0, 0, nil)...)
	// GET, https, :path /s and :authority a, the last two literally (RFC 7541 §6.2.2).
	hello = append(hello, frameBytes(frameHeaders, 4|flagEndStream, 1, []byte("\x82\x87\x04\x02/s\x01\x01a"))...)
	if _, err = c.Write(hello); err == nil {
		err = awaitAnswer(c)
	}
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, c.SetDeadline(time.Time{})
}

func frameBytes(typ, flags byte, stream uint32, payload []byte) []byte {
	f := []byte{byte(len(payload) >> 16), byte(len(payload) >> 8), byte(len(payload)), typ, flags}
	return append(binary.BigEndian.AppendUint32(f, stream), payload...)
}

// awaitAnswer reads to the end of the first stream.
func awaitAnswer(c net.Conn) error {
	head := make([]byte, 9)
	for {
		if _, err := io.ReadFull(c, head); err != nil {
			return err
		}
		payload := make([]byte, int(head[0])<<16|int(head[1])<<8|int(head[2]))
		if _, err := io.ReadFull(c, payload); err != nil {
			return err
		}
		var err error
		switch typ, flags := head[3], head[4]; {
		case typ == frameSettings && flags&flagAck == 0:
			_, err = c.Write(frameBytes(frameSettings, flagAck, 0, nil))
		case typ == framePing && flags&flagAck == 0:
			_, err = c.Write(frameBytes(framePing, flagAck, 0, payload))
		case (typ == frameHeaders || typ == frameData) && flags&flagEndStream != 0:
			return nil
		case typ == 3 || typ == 7:
			return fmt.Errorf("the stream was ended by a frame of type %d: %x", typ, payload)
		}
		if err != nil {
			return err
		}
	}
}
