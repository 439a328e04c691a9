package http2

import "github.com/lbnode/lbnode/proxy/http1"

// kind says what a field means to the translation.
type kind uint8

const (
	kindPlain     kind = iota // goes on as it is
	kindMalformed             // makes the message malformed: RFC 9113 §8.1.1
	kindHost
	kindCookie
	kindLength
	kindTE
	kindMethod // from here on, pseudo-header fields
	kindScheme
	kindPath
	kindAuthority
	kindProtocol
	kindStatus // of responses
)

// classify validates a field and says what it is. A name or value that could not stand in an HTTP/1.1 head as what
// it is, is malformed, and so is every field that is about an HTTP/1.1 connection (RFC 9113 §8.2).
func classify(name, value []byte) kind {
	if len(name) == 0 {
		return kindMalformed
	}
	if name[0] == ':' {
		return classifyPseudo(name, value)
	}
	for _, c := range name {
		if c-'A' < 26 {
			return kindMalformed
		}
	}
	if !http1.ValidName(name) || !http1.ValidValue(value) {
		return kindMalformed
	}
	switch id := http1.Identify(name); id {
	case http1.Connection, http1.KeepAlive, http1.ProxyConnection, http1.TransferEncoding, http1.Upgrade:
		return kindMalformed // their underscore twins too
	case http1.TE:
		if string(value) != "trailers" {
			return kindMalformed
		}
		return kindTE
	case http1.Host:
		return kindHost
	case http1.Cookie:
		return kindCookie
	case http1.ContentLength:
		return kindLength
	}
	return kindPlain
}

// classifyPseudo is classify for the fields that make the first line of an HTTP/1.1 head. Package http1 looks at
// that line as a whole later: here it must only be one line, of as many words as it seems.
func classifyPseudo(name, value []byte) kind {
	for _, c := range value {
		if c <= ' ' || c == 0x7f {
			return kindMalformed
		}
	}
	switch string(name) {
	case ":method":
		if !http1.ValidName(value) {
			return kindMalformed
		}
		return kindMethod
	case ":scheme":
		return kindScheme
	case ":path":
		return kindPath
	case ":authority":
		return kindAuthority
	case ":protocol":
		return kindProtocol
	case ":status":
		if len(value) == 3 && value[0]-'1' < 5 && value[1]-'0' < 10 && value[2]-'0' < 10 {
			return kindStatus
		}
	}
	return kindMalformed
}
