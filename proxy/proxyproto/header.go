// Package proxyproto reads the PROXY protocol (versions 1 and 2 of HAProxy's specification, 2020-03-05), with
// which a load balancer in front tells whom a connection comes from.
//
// [Parse] is pure and strict; [Accept] reads a header from a connection and gives a [Conn] whose RemoteAddr is
// the client's. The engines call it for peers in a [Trust] list, and only for those: whoever may send a header
// may claim any address. What follows the addresses in version 2 (TLVs) is skipped.
package proxyproto

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Errors of Parse.
var (
	// ErrMore says that the header is not complete.
	ErrMore = errors.New("PROXY header is not complete")
	// ErrMissing says that the bytes are something else.
	ErrMissing = errors.New("PROXY header is missing")
	// ErrBroken says that a header breaks the specification.
	ErrBroken = errors.New("PROXY header is broken")
)

const (
	signature = "\r\n\r\n\x00\r\nQUIT\n"
	prefixV1  = "PROXY "
	maxV1     = 107 // with CRLF
	fixedV2   = 16
	// MaxLen bounds a header with its TLVs, in bytes.
	MaxLen = 4096
)

// Header is what a header says.
type Header struct {
	// Source is the client, Dest the address that it connected to. Both are invalid if the sender speaks for
	// itself (LOCAL) or does not know (UNKNOWN, UNSPEC): then the connection's own address stands.
	Source, Dest netip.AddrPort
}

// Parse reads a header from the beginning of b: n bytes of it. With ErrMore, call it again once b has grown.
func Parse(b []byte) (h Header, n int, err error) {
	k := min(len(b), len(signature))
	if k > 0 && string(b[:k]) == signature[:k] {
		if k < len(signature) {
			return h, 0, ErrMore
		}
		return parseV2(b)
	}
	k = min(len(b), len(prefixV1))
	if string(b[:k]) != prefixV1[:k] {
		return h, 0, ErrMissing
	}
	return parseV1(b)
}

func parseV1(b []byte) (h Header, n int, err error) {
	line := b[:min(len(b), maxV1)]
	end := bytes.IndexByte(line, '\n')
	switch {
	case end < 0 && len(line) == maxV1:
		return h, 0, fmt.Errorf("%w: the line is longer than %d bytes", ErrBroken, maxV1)
	case end < 0:
		return h, 0, ErrMore
	case end < 1 || line[end-1] != '\r':
		return h, 0, fmt.Errorf("%w: the line does not end in CRLF", ErrBroken)
	}
	words := strings.Split(string(line[len(prefixV1):end-1]), " ")
	n = end + 1
	if words[0] == "UNKNOWN" {
		return h, n, nil // the rest of the line is to be ignored
	}
	if len(words) != 5 || words[0] != "TCP4" && words[0] != "TCP6" {
		return h, 0, fmt.Errorf("%w: want TCP4 or TCP6 with two addresses and two ports", ErrBroken)
	}
	var ok [2]bool
	h.Source, ok[0] = addrV1(words[0], words[1], words[3])
	h.Dest, ok[1] = addrV1(words[0], words[2], words[4])
	if !ok[0] || !ok[1] {
		return Header{}, 0, fmt.Errorf("%w: an address or port is not valid", ErrBroken)
	}
	return h, n, nil
}

func addrV1(family, host, port string) (netip.AddrPort, bool) {
	a, err := netip.ParseAddr(host)
	if err != nil || a.Zone() != "" || a.Is4() != (family == "TCP4") {
		return netip.AddrPort{}, false
	}
	p, err := strconv.ParseUint(port, 10, 16)
	if err != nil || strconv.FormatUint(p, 10) != port {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(a.Unmap(), uint16(p)), true
}

func parseV2(b []byte) (h Header, n int, err error) {
	if len(b) > len(signature) && b[12]>>4 != 2 {
		return h, 0, fmt.Errorf("%w: version %d", ErrBroken, b[12]>>4)
	}
	if len(b) < fixedV2 {
		return h, 0, ErrMore
	}
	n = fixedV2 + int(binary.BigEndian.Uint16(b[14:]))
	command, family := b[12]&0xf, b[13]
	switch {
	case command > 1:
		return h, 0, fmt.Errorf("%w: command %d", ErrBroken, command)
	case n > MaxLen:
		return h, 0, fmt.Errorf("%w: it is longer than %d bytes", ErrBroken, MaxLen)
	case len(b) < n:
		return h, 0, ErrMore
	case command == 0: // LOCAL
		return h, n, nil
	}
	size := 0
	switch family >> 4 {
	case 1:
		size = 4
	case 2:
		size = 16
	default: // UNSPEC, UNIX: no address that means anything here
		return h, n, nil
	}
	switch family & 0xf {
	case 0: // an unspecified transport
		return h, n, nil
	case 1: // TCP
	default:
		return h, 0, fmt.Errorf("%w: transport %d is not TCP", ErrBroken, family&0xf)
	}
	body := b[fixedV2:n]
	if len(body) < 2*size+4 {
		return h, 0, fmt.Errorf("%w: it is too short for its addresses", ErrBroken)
	}
	src, _ := netip.AddrFromSlice(body[:size])
	dst, _ := netip.AddrFromSlice(body[size : 2*size])
	h.Source = netip.AddrPortFrom(src.Unmap(), binary.BigEndian.Uint16(body[2*size:]))
	h.Dest = netip.AddrPortFrom(dst.Unmap(), binary.BigEndian.Uint16(body[2*size+2:]))
	return h, n, nil
}
