package http1

// Verb is a method that the codec or a proxy has to tell apart.
type Verb uint8

// The verbs.
const (
	OtherVerb Verb = iota
	GET
	HEAD
	POST
	PUT
	DELETE
	CONNECT
	OPTIONS
	TRACE
	PATCH
)

// maxMethod is longer than any registered method.
const maxMethod = 32

// VerbOf gives the verb of a method; methods are case-sensitive (RFC 9110 §9.1).
func VerbOf[T text](method T) Verb {
	switch string(bytesOf(method)) {
	case "GET":
		return GET
	case "HEAD":
		return HEAD
	case "POST":
		return POST
	case "PUT":
		return PUT
	case "DELETE":
		return DELETE
	case "CONNECT":
		return CONNECT
	case "OPTIONS":
		return OPTIONS
	case "TRACE":
		return TRACE
	case "PATCH":
		return PATCH
	}
	return OtherVerb
}

// Idempotent tells whether the request may be sent again (RFC 9110 §9.2.2).
func (v Verb) Idempotent() bool {
	switch v {
	case GET, HEAD, PUT, DELETE, OPTIONS, TRACE:
		return true
	}
	return false
}

// Request is the head of a request. The zero value is ready; one value serves a connection for life.
// Its slices refer to the bytes given to Parse and are good for as long as those are.
type Request struct {
	Head
	Method []byte
	Verb   Verb
	Target []byte // as it was sent
	Form   Form
	Scheme []byte // of an absolute-form target, else nil

	// Host is the host and port that the request is for: the authority of the target if it has one, else
	// the Host field. Empty only in HTTP/1.0.
	Host []byte
	// Path is what to route by and to send on: never empty, except with AuthorityForm; "*" for OPTIONS *.
	Path []byte
	// Query is what follows '?'; HasQuery tells an empty one from none.
	Query    []byte
	HasQuery bool
}

// Reset makes r ready for another message when a Parse that wanted more is given up, or to build a request
// by hand for Append: set Method, Path and Host and call Add; Length is -1.
func (r *Request) Reset() {
	r.reset()
	r.Method, r.Verb, r.Target, r.Form, r.Scheme = nil, OtherVerb, nil, OriginForm, nil
	r.Host, r.Path, r.Query, r.HasQuery = nil, nil, nil, false
}

// Parse reads a request head from the beginning of b (RFC 9112 §3, §5, §6). With OK, n bytes were the head.
// With More, call it again once b has grown; b may have moved, but must begin with the same bytes. With
// anything else the connection cannot go on. One empty line before the head is skipped (RFC 9112 §2.2).
// What is wrong with a line that has not ended may be found only when it ends or reaches a limit.
func (r *Request) Parse(b []byte, lim *Limits) (n int, why Reason) {
	if r.seen > 0 && r.again(b, lim) {
		return 0, More
	}
	r.Reset()
	cut := b
	if len(cut) > lim.Head {
		cut = cut[:lim.Head]
	}
	n, why = r.parse(cut, lim)
	if why == More {
		if len(cut) == lim.Head {
			return 0, HeadTooLarge
		}
		r.seen = len(b)
		return 0, More
	}
	if why != OK {
		return 0, why
	}
	return n, OK
}

func (r *Request) parse(b []byte, lim *Limits) (int, Reason) {
	i := 0
	if len(b) > 0 && b[0] == '\r' {
		var why Reason
		if i, why = lineEnd(b, 0); why != OK {
			return 0, why
		}
	}
	// The line is looked at through a window of its greatest length, CRLF included.
	line := b
	if len(line) > i+lim.Line+2 {
		line = line[:i+lim.Line+2]
	}
	i, why := r.parseLine(line, i)
	if why != OK {
		if why == More && len(line) < len(b) {
			why = TargetTooLong
		}
		return 0, why
	}
	r.lined = true
	i, r.fields, why = parseFields(b, i, r.fields, lim.Fields)
	if why != OK {
		return 0, why
	}
	return i, r.finish()
}

func (r *Request) parseLine(b []byte, i int) (int, Reason) {
	start := i
	for i < len(b) && class[b[i]]&isToken != 0 {
		i++
	}
	switch {
	case i-start > maxMethod:
		return 0, MethodTooLong
	case i == len(b):
		return 0, More
	case b[i] != ' ' || i == start:
		return 0, BadMethod
	}
	r.Method = b[start:i]
	r.Verb = VerbOf(r.Method)
	i++
	start = i
	i = scanTarget(b, i)
	switch {
	case i == len(b):
		return 0, More
	case b[i] == '\r' || b[i] == '\n':
		return 0, BadRequestLine // HTTP/0.9
	case b[i] != ' ' || i == start:
		return 0, BadTarget
	}
	r.Target = b[start:i]
	i++
	var why Reason
	if i, r.Minor, why = parseVersion(b, i); why != OK {
		return 0, why
	}
	if i, why = lineEnd(b, i); why != OK {
		return 0, why
	}
	if r.Minor == otherVersion {
		return 0, UnsupportedVersion
	}
	return i, OK
}

// otherVersion stands for a well-formed version that is neither HTTP/1.0 nor HTTP/1.1.
const otherVersion = 255

// parseVersion reads HTTP/digit.digit at b[i:] (RFC 9112 §2.3).
func parseVersion(b []byte, i int) (int, uint8, Reason) {
	if len(b)-i >= 8 && string(b[i:i+8]) == "HTTP/1.1" {
		return i + 8, 1, OK
	}
	const form = "HTTP/0.0"
	for k := range len(form) {
		if i+k >= len(b) {
			return i, 0, More
		}
		c := b[i+k]
		if c != form[k] && (form[k] != '0' || c-'0' > 9) {
			return i, 0, BadVersion
		}
	}
	if b[i+5] != '1' || b[i+7] > '1' {
		return i + 8, otherVersion, OK
	}
	return i + 8, b[i+7] - '0', OK
}

// finish applies the rules about the head as a whole.
func (r *Request) finish() Reason {
	if why := r.parseTarget(); why != OK {
		return why
	}
	if why := r.note(); why != OK {
		return why
	}
	if why := r.checkHost(); why != OK {
		return why
	}
	switch {
	case r.flags&hasChunked != 0:
		r.Body = ByChunks
	case r.Length > 0:
		r.Body = ByLength
	}
	if r.Verb == CONNECT && r.flags&(hasChunked|hasLength) != 0 {
		return ConnectWithBody
	}
	return OK
}

// checkHost applies RFC 9112 §3.2: exactly one valid Host, the same as in the target.
func (r *Request) checkHost() Reason {
	switch {
	case r.flags&manyHosts != 0:
		return DuplicateHost
	case r.flags&hasHost == 0:
		if r.Minor == 1 {
			return MissingHost
		}
	case !validHost(r.host):
		return BadHost
	case r.Host == nil:
		r.Host = r.host
	case !sameHost(r.Host, r.host, r.Scheme):
		return HostMismatch
	}
	return OK
}

// KeepAlive tells whether the client lets the connection go on after this request (RFC 9112 §9.3).
func (r *Request) KeepAlive() bool { return r.persistent() }

// ExpectContinue tells whether the client waits for a 100 before it sends the body (RFC 9110 §10.1.1).
func (r *Request) ExpectContinue() bool { return r.flags&hasExpect != 0 && r.Body != NoBody }

// WantsTrailers tells whether the client takes trailer fields (RFC 9110 §10.1.4).
func (r *Request) WantsTrailers() bool { return r.flags&hasTrailers != 0 && r.flags&optTE != 0 }

// WebSocket tells whether the request opens a WebSocket (RFC 6455 §4.1): a GET without a body for exactly this
// upgrade, with one key and version 13. Any other Upgrade is to be ignored; h2c above all.
func (r *Request) WebSocket() bool {
	return r.Verb == GET && r.Body == NoBody && r.flags&manyUpgrades == 0 && equalFold(r.UpgradeTo(), "websocket") &&
		r.Count(SecWebSocketKey) == 1 && len(r.Get(SecWebSocketKey)) == 24 &&
		r.Count(SecWebSocketVersion) == 1 && string(r.Get(SecWebSocketVersion)) == "13"
}
