package http1

// ID names the fields that a proxy has to know. All others are Other.
type ID uint8

// The IDs. Up to hopLast they are the fields that end at each hop.
const (
	Other ID = iota
	Connection
	KeepAlive
	ProxyConnection
	ProxyAuthenticate
	ProxyAuthorization
	TE
	Upgrade
	HTTP2Settings
	hopLast = HTTP2Settings
)

// IDs of fields that end here as well, but are written anew.
const (
	Host ID = hopLast + 1 + iota
	ContentLength
	TransferEncoding
	writtenLast = TransferEncoding
)

// IDs of fields that pass through.
const (
	Expect ID = writtenLast + 1 + iota
	Trailer
	Forwarded
	XForwardedFor
	XForwardedHost
	XForwardedPort
	XForwardedProto
	XForwardedServer
	XRealIP
	Authorization
	CacheControl
	ContentEncoding
	ContentRange
	ContentType
	Cookie
	IdempotencyKey
	MaxForwards
	Range
	SecWebSocketAccept
	SecWebSocketKey
	SecWebSocketVersion
	SetCookie
	Traceparent
	Tracestate
	WWWAuthenticate
	XRequestID
)

// Field is one field of a head. It can only be made by a parser or by Add, so its name and value are
// always valid. Both refer to memory of whoever gave them.
type Field struct {
	name, value []byte
	id          ID
	hop         bool
	// plain says that name, ": ", value and CRLF stand in memory just so, as one piece that begins at name.
	plain bool
}

// Name is the name as it was sent; compare by ID, or ignore the case.
func (f *Field) Name() []byte { return f.name }

// Value is the value without white space around it.
func (f *Field) Value() []byte { return f.value }

// ID says which field it is. A name with underscores for dashes has the ID of the field that a CGI-like
// backend would take it for, if that is a hop-by-hop or a forwarding field: X_Forwarded_For has the ID
// XForwardedFor, so that what removes the one removes the other.
func (f *Field) ID() ID { return f.id }

// Hop tells whether the field ends at this hop: by its ID, or because Connection names it (RFC 9110 §7.6.1).
func (f *Field) Hop() bool { return f.hop }

// IsHop tells whether a field with this ID always ends at this hop.
func (id ID) IsHop() bool { return id != Other && id <= hopLast }

// forwarding tells whether the field says who the client was.
func (id ID) forwarding() bool { return id >= Forwarded && id <= XRealIP }

// Identify gives the ID of a field name, in any case.
func Identify[T text](name T) ID {
	id, _ := identify(bytesOf(name))
	return id
}

// identify also tells whether the name is the underscore twin of a field that frames a message.
func identify(name []byte) (id ID, twin bool) {
	seen := uint8(0)
	for _, c := range name {
		if class[c]&isToken == 0 {
			return Other, false
		}
		seen |= class[c]
	}
	if seen&isUnderscore != 0 {
		return identifyTwin(name)
	}
	return lookup(name), false
}

// identifyTwin looks a name up with dashes for underscores.
func identifyTwin(name []byte) (id ID, twin bool) {
	var buf [24]byte // no name in the table is longer
	if len(name) > len(buf) {
		return Other, false
	}
	n := buf[:copy(buf[:], name)]
	for i, c := range n {
		if c == '_' {
			n[i] = '-'
		}
	}
	switch id := lookup(n); {
	case id == ContentLength || id == TransferEncoding:
		return Other, true
	case id.IsHop() || id.forwarding():
		return id, false
	default:
		return Other, false
	}
}

// lookup finds a name, which must be a token, by its length and then by its letters; most names are out after
// one comparison.
func lookup(name []byte) ID {
	if len(name) < 2 || len(name) > 21 {
		return Other
	}
	first := name[0] | 0x20
	switch len(name) {
	case 2:
		return match(name, "te", TE)
	case 4:
		return match(name, "host", Host)
	case 5:
		return match(name, "range", Range)
	case 6:
		if first == 'c' {
			return match(name, "cookie", Cookie)
		}
		return match(name, "expect", Expect)
	case 7:
		if first == 'u' {
			return match(name, "upgrade", Upgrade)
		}
		return match(name, "trailer", Trailer)
	case 9:
		if first == 'x' {
			return match(name, "x-real-ip", XRealIP)
		}
		return match(name, "forwarded", Forwarded)
	case 10:
		switch first {
		case 'c':
			return match(name, "connection", Connection)
		case 'k':
			return match(name, "keep-alive", KeepAlive)
		case 't':
			return match(name, "tracestate", Tracestate)
		}
		return match(name, "set-cookie", SetCookie)
	case 11:
		return match(name, "traceparent", Traceparent)
	case 12:
		switch first {
		case 'c':
			return match(name, "content-type", ContentType)
		case 'x':
			return match(name, "x-request-id", XRequestID)
		}
		return match(name, "max-forwards", MaxForwards)
	case 13:
		if first == 'a' {
			return match(name, "authorization", Authorization)
		}
		return match(name, "cache-control", CacheControl) | match(name, "content-range", ContentRange)
	case 14:
		if first == 'c' {
			return match(name, "content-length", ContentLength)
		}
		return match(name, "http2-settings", HTTP2Settings)
	case 15:
		if first == 'x' {
			return match(name, "x-forwarded-for", XForwardedFor)
		}
		return match(name, "idempotency-key", IdempotencyKey)
	}
	return lookupLong(name, first)
}

func lookupLong(name []byte, first byte) ID {
	switch len(name) {
	case 16:
		switch first {
		case 'x':
			return match(name, "x-forwarded-host", XForwardedHost) | match(name, "x-forwarded-port", XForwardedPort)
		case 'p':
			return match(name, "proxy-connection", ProxyConnection)
		case 'w':
			return match(name, "www-authenticate", WWWAuthenticate)
		}
		return match(name, "content-encoding", ContentEncoding)
	case 17:
		switch first {
		case 't':
			return match(name, "transfer-encoding", TransferEncoding)
		case 'x':
			return match(name, "x-forwarded-proto", XForwardedProto)
		}
		return match(name, "sec-websocket-key", SecWebSocketKey)
	case 18:
		if first == 'x' {
			return match(name, "x-forwarded-server", XForwardedServer)
		}
		return match(name, "proxy-authenticate", ProxyAuthenticate)
	case 19:
		return match(name, "proxy-authorization", ProxyAuthorization)
	case 20:
		return match(name, "sec-websocket-accept", SecWebSocketAccept)
	case 21:
		return match(name, "sec-websocket-version", SecWebSocketVersion)
	}
	return Other
}

func match(name []byte, lower string, id ID) ID {
	if equalFold(name, lower) {
		return id
	}
	return Other
}

// parseFields reads field lines from b[i:] up to and with the blank line that ends them, and appends them
// to fields (RFC 9112 §5). It gives the index after the blank line.
func parseFields(b []byte, i int, fields []Field, limit int) (int, []Field, Reason) {
	for {
		if i >= len(b) {
			return i, fields, More
		}
		switch c := b[i]; {
		case c == '\r':
			end, why := lineEnd(b, i)
			return end, fields, why
		case c == '\n':
			return i, fields, BareLF
		case c == ' ' || c == '\t':
			return i, fields, ObsFold
		case len(fields) >= limit:
			return i, fields, TooManyFields
		}
		j, seen := i, uint8(0)
		for j < len(b) {
			c := class[b[j]]
			if c&isToken == 0 {
				break
			}
			seen |= c
			j++
		}
		if j == len(b) {
			return i, fields, More
		}
		if b[j] != ':' || j == i {
			if j > i && (b[j] == ' ' || b[j] == '\t') {
				return i, fields, SpaceBeforeColon
			}
			return i, fields, BadFieldName
		}
		name, colon := b[i:j], j
		j++
		for j < len(b) && (b[j] == ' ' || b[j] == '\t') {
			j++
		}
		start := j
		j = scanValue(b, j)
		for j < len(b) && b[j] == '\t' {
			j = scanValue(b, j+1)
		}
		next, why := lineEnd(b, j)
		if why != OK {
			if why == BadRequestLine {
				why = BadFieldValue
			}
			return i, fields, why
		}
		for j > start && (b[j-1] == ' ' || b[j-1] == '\t') {
			j--
		}
		id := Other
		if seen&isUnderscore == 0 {
			id = lookup(name)
		} else {
			var twin bool
			if id, twin = identifyTwin(name); twin {
				return i, fields, UnderscoreTwin
			}
		}
		// Filled in place: a literal would be built aside and copied.
		if n := len(fields); n < cap(fields) {
			fields = fields[:n+1]
		} else {
			fields = append(fields, Field{})
		}
		f := &fields[len(fields)-1]
		f.name, f.value, f.id, f.hop = name, b[start:j], id, id.IsHop()
		f.plain = start == colon+2 && b[colon+1] == ' ' && next == j+2
		i = next
	}
}

// lineEnd expects CRLF at b[i:] and gives the index after it. A byte that is neither CR nor LF is
// BadRequestLine, for the caller to name better.
func lineEnd(b []byte, i int) (int, Reason) {
	switch {
	case i+1 < len(b) && b[i] == '\r' && b[i+1] == '\n':
		return i + 2, OK
	case i >= len(b):
		return i, More
	case b[i] == '\n':
		return i, BareLF
	case b[i] != '\r':
		return i, BadRequestLine
	case i+1 >= len(b):
		return i, More
	default:
		return i, BareCR
	}
}
