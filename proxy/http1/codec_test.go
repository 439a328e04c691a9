package http1

import (
	"bytes"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func parseRequest(t testing.TB, in string) *Request {
	t.Helper()
	lim := DefaultLimits()
	var r Request
	if _, why := r.Parse([]byte(in), &lim); why != OK {
		t.Fatalf("Parse(%q): %s", in, why)
	}
	return &r
}

func parseResponse(t testing.TB, in string) *Response {
	t.Helper()
	lim := DefaultLimits()
	var r Response
	if _, why := r.Parse([]byte(in), GET, &lim); why != OK {
		t.Fatalf("Parse(%q): %s", in, why)
	}
	return &r
}

func TestReason(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for r := OK; r < reasonCount; r++ {
		code := r.String()
		if code == "" || seen[code] {
			t.Errorf("Reason(%d).String() = %q: empty or used twice", r, code)
		}
		seen[code] = true
		if back, ok := ReasonOf(code); !ok || back != r {
			t.Errorf("ReasonOf(%q) = %v, %v, want %v", code, back, ok, r)
		}
		if r.Refused() != (r != OK && r != More) {
			t.Errorf("%s: Refused = %v", r, r.Refused())
		}
		if r.Refused() && (r.Status() < 400 || http.StatusText(r.Status()) == "") {
			t.Errorf("%s: Status = %d", r, r.Status())
		}
		var e *Error
		if err := r.Err(); (err == nil) != (r == OK) || err != nil && (!errors.As(err, &e) || e.Reason != r || !strings.Contains(err.Error(), code)) {
			t.Errorf("%s: Err = %v", r, err)
		}
	}
	for r, want := range map[Reason]int{TargetTooLong: 414, HeadTooLarge: 431, TooManyFields: 431, BadExpect: 417, UnsupportedVersion: 505, UnsupportedEncoding: 501, EncodingAndLength: 400} {
		if got := r.Status(); got != want {
			t.Errorf("%s: Status = %d, want %d", r, got, want)
		}
	}
	if _, ok := ReasonOf("nonsense"); ok || Reason(255).String() != "unknown" || Reason(255).Status() != 400 {
		t.Error("what is no reason passes for one")
	}
}

func TestLimits_Validate(t *testing.T) {
	t.Parallel()
	if err := DefaultLimits().Validate(); err != nil {
		t.Errorf("DefaultLimits: %v", err)
	}
	for name, change := range map[string]func(*Limits){
		"Line": func(l *Limits) { l.Line = 63 }, "Head": func(l *Limits) { l.Head = l.Line }, "Fields": func(l *Limits) { l.Fields = 0 },
		"Trailer": func(l *Limits) { l.Trailer = 1 << 30 }, "Ext": func(l *Limits) { l.Ext = -1 },
	} {
		l := DefaultLimits()
		change(&l)
		if err := l.Validate(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("bad %s: Validate = %v", name, err)
		}
		if _, err := NewReader(nil, ScanConfig{Limits: l}); err == nil {
			t.Errorf("bad %s: NewReader gave no error", name)
		}
	}
}

func TestIdentify(t *testing.T) {
	t.Parallel()
	names := map[string]ID{
		"Connection": Connection, "Keep-Alive": KeepAlive, "Proxy-Connection": ProxyConnection, "Proxy-Authenticate": ProxyAuthenticate,
		"Proxy-Authorization": ProxyAuthorization, "TE": TE, "Upgrade": Upgrade, "HTTP2-Settings": HTTP2Settings, "Host": Host,
		"Content-Length": ContentLength, "Transfer-Encoding": TransferEncoding, "Expect": Expect, "Trailer": Trailer, "Forwarded": Forwarded,
		"X-Forwarded-For": XForwardedFor, "X-Forwarded-Host": XForwardedHost, "X-Forwarded-Port": XForwardedPort, "X-Forwarded-Proto": XForwardedProto,
		"X-Forwarded-Server": XForwardedServer, "X-Real-IP": XRealIP, "Authorization": Authorization, "Cache-Control": CacheControl,
		"Content-Encoding": ContentEncoding, "Content-Range": ContentRange, "Content-Type": ContentType, "Cookie": Cookie,
		"Idempotency-Key": IdempotencyKey, "Max-Forwards": MaxForwards, "Range": Range, "Sec-WebSocket-Accept": SecWebSocketAccept,
		"Sec-WebSocket-Key": SecWebSocketKey, "Sec-WebSocket-Version": SecWebSocketVersion, "Set-Cookie": SetCookie, "WWW-Authenticate": WWWAuthenticate,
		"Traceparent": Traceparent, "Tracestate": Tracestate, "X-Request-Id": XRequestID,
	}
	ids := map[ID]bool{}
	for name, id := range names {
		ids[id] = true
		for _, n := range []string{name, strings.ToLower(name), strings.ToUpper(name)} {
			if got := Identify(n); got != id {
				t.Errorf("Identify(%q) = %d, want %d", n, got, id)
			}
		}
		for i := range len(name) { // one letter off is another name
			b := []byte(name)
			if b[i] ^= 1; !ValidName(b) {
				continue
			}
			if got := Identify(b); got != Other {
				t.Errorf("Identify(%q) = %d, want Other", b, got)
			}
		}
	}
	if len(ids) != int(XRequestID) {
		t.Errorf("%d of %d IDs have a name here", len(ids), XRequestID)
	}
	for name, want := range map[string]ID{
		"X_Forwarded_For": XForwardedFor, "x-forwarded_proto": XForwardedProto, "X_Real_IP": XRealIP, "Keep_Alive": KeepAlive,
		"Content_Length": Other, "Set_Cookie": Other, "content\rlength": Other, "": Other, "x": Other, strings.Repeat("x_", 50): Other,
	} {
		if got := Identify(name); got != want {
			t.Errorf("Identify(%q) = %d, want %d", name, got, want)
		}
	}
	for id := Other; id <= WWWAuthenticate; id++ {
		if want := id >= Connection && id <= HTTP2Settings; id.IsHop() != want {
			t.Errorf("ID %d: IsHop = %v", id, id.IsHop())
		}
	}
}

// Every byte at every offset of a word, so that the code which looks at eight bytes at a time is held to
// the plain rule.
func TestScans_agreeWithThePlainRule(t *testing.T) {
	t.Parallel()
	for c := range 256 {
		for at := range 20 {
			for _, next := range []byte{'a', '!', '~', ' ', 0x80, 0xff} {
				b := bytes.Repeat([]byte{'a'}, 20)
				b[at] = byte(c)
				if at+1 < len(b) {
					b[at+1] = next
				}
				if got, want := scanValue(b, 0), plainScan(b, func(c byte) bool { return c < 0x20 || c == 0x7f }); got != want {
					t.Fatalf("scanValue(%q) = %d, want %d", b, got, want)
				}
				if got, want := scanTarget(b, 0), plainScan(b, func(c byte) bool { return c <= 0x20 || c >= 0x7f || c == '#' }); got != want {
					t.Fatalf("scanTarget(%q) = %d, want %d", b, got, want)
				}
			}
		}
	}
}

func plainScan(b []byte, bad func(byte) bool) int {
	for i, c := range b {
		if bad(c) {
			return i
		}
	}
	return len(b)
}

func TestValidators(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what      string
		valid     func(string) bool
		good, bad []string
	}{
		{"name", ValidName[string], []string{"a", "X-Y_z", "!#$%&'*+-.^_`|~09"}, []string{"", "a b", "a:", "\xff", "a\r\n", "(", "a\x00"}},
		{"value", ValidValue[string], []string{"", "a", "a b", "a\tb", "\xff", "\"()\""}, []string{" a", "a ", "\ta", "a\t", "a\r", "a\n", "a\r\nSet-Cookie: x", "\x00", "\x7f", "a\tb\x01"}},
		{"method", ValidMethod[string], []string{"GET", "x"}, []string{"", "G T", strings.Repeat("M", 33), "GET\r\n"}},
		{"path", ValidPath[string], []string{"/", "/a%20b", "*", "/a;b|c", "//"}, []string{"", "a", "/a b", "/a?b", "/#", "/%", "/%2", "/%2g", "/\r\n", "/\x7f", "/\x80", "**"}},
		{"query", ValidQuery[string], []string{"", "a=b&c", "?", "%", "%zz"}, []string{" ", "a b", "#", "\r", "\xff"}},
		{"host", ValidHost[string], []string{"a", "A.b-c_d~1:0", "a:65535", "[::1]", "[2001:db8::1]:80", "192.0.2.1:80"}, []string{"", ":", ":80", "a:", "a:b", "a:99999", "a:123456", "[", "[]", "[::1", "::1", "[::1]:", "[::1%25x]", "[1.2.3.4]", "a b", "a,b", "a/b", "u@a", "a%41", "é"}},
	} {
		for _, s := range c.good {
			if !c.valid(s) {
				t.Errorf("%s %q is refused", c.what, s)
			}
		}
		for _, s := range c.bad {
			if c.valid(s) {
				t.Errorf("%s %q is accepted", c.what, s)
			}
		}
	}
}

func TestSplitHost(t *testing.T) {
	t.Parallel()
	for in, want := range map[string][2]string{
		"a": {"a", ""}, "a:80": {"a", "80"}, "[::1]": {"[::1]", ""}, "[::1]:80": {"[::1]", "80"}, "10.0.0.1": {"10.0.0.1", ""}, "80": {"80", ""}, "": {"", ""},
	} {
		if h, p := SplitHost(in); h != want[0] || p != want[1] {
			t.Errorf("SplitHost(%q) = %q, %q, want %q", in, h, p, want)
		}
	}
}

func TestVerb(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]Verb{
		"GET": GET, "HEAD": HEAD, "POST": POST, "PUT": PUT, "DELETE": DELETE, "CONNECT": CONNECT, "OPTIONS": OPTIONS, "TRACE": TRACE, "PATCH": PATCH,
		"get": OtherVerb, "": OtherVerb, "PURGE": OtherVerb,
	} {
		if got := VerbOf(name); got != want {
			t.Errorf("VerbOf(%q) = %d, want %d", name, got, want)
		}
	}
	for v, want := range map[Verb]bool{GET: true, HEAD: true, PUT: true, DELETE: true, OPTIONS: true, TRACE: true, POST: false, PATCH: false, CONNECT: false, OtherVerb: false} {
		if v.Idempotent() != want {
			t.Errorf("Verb %d: Idempotent = %v", v, !want)
		}
	}
}

func TestHead_fields(t *testing.T) {
	t.Parallel()
	r := parseRequest(t, "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1\r\nx_forwarded_for: 2\r\nEmpty:\r\nX: 1\r\nx: 2\r\n\r\n")
	if got := string(r.Lookup("X")); got != "1" {
		t.Errorf("Lookup(X) = %q, want the first", got)
	}
	if v := r.Lookup("Empty"); v == nil || len(v) > 0 {
		t.Errorf("Lookup(Empty) = %#v, want empty and not nil", v)
	}
	if r.Lookup("None") != nil || r.Get(Cookie) != nil {
		t.Error("a field that is not there has a value")
	}
	if n := r.Count(XForwardedFor); n != 2 {
		t.Errorf("Count(XForwardedFor) = %d, want 2 with the twin", n)
	}
	r.Drop(XForwardedFor)
	if why := r.Add([]byte("X-Forwarded-For"), []byte("3")); why != OK {
		t.Fatal(why)
	}
	if why := r.Add([]byte("Nil"), nil); why != OK || r.Lookup("Nil") == nil {
		t.Errorf("Add of a nil value: %s", why)
	}
	r.DropFunc(func(f *Field) bool { return string(f.Name()) == "x" || f.ID() == Host || f.Hop() })
	out, why := r.Append([]byte("before "), AskTrailers|Close)
	want := "before GET / HTTP/1.1\r\nHost: a\r\nEmpty: \r\nX: 1\r\nX-Forwarded-For: 3\r\nNil: \r\nConnection: close, TE\r\nTE: trailers\r\n\r\n"
	if string(out) != want || why != OK {
		t.Errorf("Append = %q, %s, want %q", out, why, want)
	}
}

func TestHead_AddRefusesInjection(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, value string
		want        Reason
	}{
		{"X", "a\r\nY: b", BadFieldValue},
		{"X", "a\x00", BadFieldValue},
		{"X", " a", BadFieldValue},
		{"X: y\r\nZ", "a", BadFieldName},
		{"", "a", BadFieldName},
		{"Host", "a", BadFieldName},
		{"content-length", "5", BadFieldName},
		{"Transfer-Encoding", "chunked", BadFieldName},
		{"Connection", "close", BadFieldName},
		{"Upgrade", "h2c", BadFieldName},
		{"Keep_Alive", "1", BadFieldName},
		{"Content_Length", "5", UnderscoreTwin},
		{"X-Forwarded-For", "1.2.3.4, 5.6.7.8", OK},
	} {
		var r Request
		if got := r.Add([]byte(c.name), []byte(c.value)); got != c.want || len(r.Fields()) > 0 != (got == OK) {
			t.Errorf("Add(%q, %q) = %s and %d fields, want %s", c.name, c.value, got, len(r.Fields()), c.want)
		}
	}
}

// An engine that comes from HTTP/2 builds the message by hand: nothing invalid may be written.
func TestRequest_AppendByHand(t *testing.T) {
	t.Parallel()
	build := func(change func(*Request)) (string, Reason) {
		var r Request
		r.Reset()
		r.Method, r.Path, r.Host = []byte("POST"), []byte("/x"), []byte("a")
		r.Query, r.HasQuery = []byte("y=1"), true
		change(&r)
		out, why := r.Append([]byte("kept"), 0)
		return strings.TrimPrefix(string(out), "kept"), why
	}
	for name, c := range map[string]struct {
		change func(*Request)
		out    string
		why    Reason
	}{
		"plain":         {func(*Request) {}, "POST /x?y=1 HTTP/1.1\r\nHost: a\r\n\r\n", OK},
		"length":        {func(r *Request) { r.Body, r.Length = ByLength, 7 }, "POST /x?y=1 HTTP/1.1\r\nHost: a\r\nContent-Length: 7\r\n\r\n", OK},
		"zero":          {func(r *Request) { r.Length = 0 }, "POST /x?y=1 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", OK},
		"chunks":        {func(r *Request) { r.Body = ByChunks }, "POST /x?y=1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", OK},
		"method":        {func(r *Request) { r.Method = []byte("A B") }, "", BadMethod},
		"path space":    {func(r *Request) { r.Path = []byte("/ HTTP/1.1\r\nX: y") }, "", BadTarget},
		"path query":    {func(r *Request) { r.Path = []byte("/?") }, "", BadTarget},
		"query space":   {func(r *Request) { r.Query = []byte("a b") }, "", BadTarget},
		"star query":    {func(r *Request) { r.Path = []byte("*") }, "", BadTarget},
		"no host":       {func(r *Request) { r.Host = nil }, "", MissingHost},
		"bad host":      {func(r *Request) { r.Host = []byte("a\r\nX: y") }, "", BadHost},
		"length of 0":   {func(r *Request) { r.Body, r.Length = ByLength, 0 }, "", BadContentLength},
		"until close":   {func(r *Request) { r.Body = UntilClose }, "", BadContentLength},
		"no query mark": {func(r *Request) { r.HasQuery = false }, "POST /x HTTP/1.1\r\nHost: a\r\n\r\n", OK},
	} {
		if out, why := build(c.change); out != c.out || why != c.why {
			t.Errorf("%s: %q, %s, want %q, %s", name, out, why, c.out, c.why)
		}
	}
}

func TestResponse_AppendByHand(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*Response)
		conn   Conn
		out    string
		why    Reason
	}{
		"plain":       {func(r *Response) { r.Length = 0 }, 0, "HTTP/1.1 503 Down\r\nContent-Length: 0\r\n\r\n", OK},
		"keep-alive":  {func(r *Response) { r.Body, r.Length = ByLength, 12 }, Persist, "HTTP/1.1 503 Down\r\nContent-Length: 12\r\nConnection: keep-alive\r\n\r\n", OK},
		"until close": {func(r *Response) { r.Body = UntilClose }, Close, "HTTP/1.1 503 Down\r\nConnection: close\r\n\r\n", OK},
		"until when":  {func(r *Response) { r.Body = UntilClose }, 0, "", BadContentLength},
		"switch":      {func(r *Response) { r.Status, r.Phrase, r.Body = 101, nil, Tunnel }, Switch, "HTTP/1.1 101 \r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", OK},
		"no length":   {func(r *Response) { r.Body = ByLength }, 0, "", BadContentLength},
		"status":      {func(r *Response) { r.Status = 99 }, 0, "", BadStatusLine},
		"phrase":      {func(r *Response) { r.Phrase = []byte("a\r\nX: y") }, 0, "", BadStatusLine},
	} {
		var r Response
		r.Reset()
		r.Status, r.Phrase = 503, []byte("Down")
		c.change(&r)
		if out, why := r.Append(nil, c.conn); string(out) != c.out || why != c.why {
			t.Errorf("%s: %q, %s, want %q, %s", name, out, why, c.out, c.why)
		}
	}
}

func TestResponse_CheckUpgrade(t *testing.T) {
	t.Parallel()
	var buf [28]byte
	accept := AcceptKey(&buf, []byte("dGhlIHNhbXBsZSBub25jZQ==")) // the example of RFC 6455 §1.3
	if got := string(accept); got != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		t.Fatalf("AcceptKey = %q", got)
	}
	if got := AcceptKey(&buf, make([]byte, 25)); got != nil {
		t.Errorf("AcceptKey of a long key = %q, want nil", got)
	}
	const ok = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
	for name, c := range map[string]struct {
		in     string
		accept []byte
		want   Reason
	}{
		"good":         {ok, accept, OK},
		"not asked":    {ok, nil, BadUpgrade},
		"wrong key":    {strings.Replace(ok, "s3p", "s3q", 1), accept, BadUpgrade},
		"no key":       {strings.Replace(ok, "Accept", "Accepted", 1), accept, BadUpgrade},
		"other":        {strings.Replace(ok, "websocket", "h2c", 1), accept, BadUpgrade},
		"not named":    {strings.Replace(ok, "Connection", "Connected", 1), accept, BadUpgrade},
		"two upgrades": {strings.Replace(ok, "Upgrade: ", "Upgrade: h2c\r\nUpgrade: ", 1), accept, BadUpgrade},
		"not a 101":    {strings.Replace(ok, "101", "200", 1), accept, BadUpgrade},
	} {
		if got := parseResponse(t, c.in).CheckUpgrade(c.accept); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func TestAppendRefusal(t *testing.T) {
	t.Parallel()
	r := parseResponse(t, string(AppendRefusal(nil, EncodingAndLength)))
	if r.Status != 400 || r.KeepAlive() || r.Body != ByLength {
		t.Errorf("AppendRefusal = %d, keep-alive %v, body %d", r.Status, r.KeepAlive(), r.Body)
	}
	if got := string(AppendRefusal(nil, TargetTooLong)); !strings.HasPrefix(got, "HTTP/1.1 414 ") || !strings.HasSuffix(got, "\r\n\r\ntarget_too_long\n") {
		t.Errorf("AppendRefusal = %q", got)
	}
}

func TestAppendLastChunk(t *testing.T) {
	t.Parallel()
	lim := DefaultLimits()
	var c Chunked
	c.Reset(&lim)
	in := append(AppendChunkHead(nil, 26), "abcdefghijklmnopqrstuvwxyz\r\n0\r\nX:y\r\n\r\nnext"...)
	var content []byte
	var why Reason
	for why = More; why == More; {
		var n int
		var data []byte
		n, data, why = c.Next(in)
		content = append(content, data...)
		in = in[n:]
	}
	if why != OK || string(content) != "abcdefghijklmnopqrstuvwxyz" || string(in) != "next" {
		t.Errorf("decoded %q, %s, rest %q", content, why, in)
	}
	if got := string(AppendLastChunk(nil, c.Trailers())); got != "0\r\nX: y\r\n\r\n" {
		t.Errorf("AppendLastChunk = %q", got)
	}
	if n, _, again := c.Next([]byte("more")); n != 0 || again != OK {
		t.Errorf("Next after the end = %d, %s", n, again)
	}
}

// A broken body stays broken, whatever comes next.
func TestChunked_failureIsFinal(t *testing.T) {
	t.Parallel()
	lim := DefaultLimits()
	var c Chunked
	c.Reset(&lim)
	if _, _, why := c.Next([]byte("x")); why != BadChunkSize {
		t.Fatalf("Next = %s", why)
	}
	n, data, why := c.Next([]byte("5\r\nhello\r\n"))
	n2, keep, why2 := c.NextFramed([]byte("5\r\nhello\r\n"))
	if n+n2+len(data)+len(keep) > 0 || why != BadChunkSize || why2 != BadChunkSize {
		t.Errorf("after a failure: %d, %q, %s; %d, %q, %s", n, data, why, n2, keep, why2)
	}
}

// A head that comes byte by byte must not cost the square of its length.
func TestRequest_ParseInDribs(t *testing.T) {
	t.Parallel()
	lim := Limits{Line: 1 << 20, Head: 16 << 20, Fields: 100, Trailer: 100, Ext: 10}
	in := []byte("GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("x", 4<<20) + "\r\n\r\n")
	var r Request
	start := time.Now()
	for i := 1; i < len(in); i++ {
		if _, why := r.Parse(in[:i], &lim); why != More {
			t.Fatalf("after %d bytes: %s", i, why)
		}
	}
	if n, why := r.Parse(in, &lim); n != len(in) || why != OK {
		t.Errorf("Parse = %d, %s", n, why)
	}
	// Parsing anew for each byte would look at 8 TB.
	if d := time.Since(start); d > 20*time.Second {
		t.Errorf("took %v", d)
	}
}

// A value that is reused must show nothing of the message before.
func TestRequest_reuse(t *testing.T) {
	t.Parallel()
	lim := DefaultLimits()
	const rich = "POST http://b:1/p?q HTTP/1.0\r\nHost: b:1\r\nConnection: keep-alive, Upgrade, TE, X\r\nUpgrade: websocket\r\nTE: trailers\r\nContent-Length: 5\r\nX: y\r\n\r\n"
	const plain = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
	var used, fresh Request
	for _, before := range []string{rich, rich[:60], "\x00", strings.Replace(rich, "5", "x", 1)} {
		used.Parse([]byte(before), &lim)
		used.Reset()
		_, why := used.Parse([]byte(plain), &lim)
		_, why2 := fresh.Parse([]byte(plain), &lim)
		if why != OK || why2 != OK {
			t.Fatal(why, why2)
		}
		if d := cmp.Diff(used, fresh, cmp.AllowUnexported(Request{}, Head{}, Field{})); d != "" {
			t.Errorf("after %q (-used +fresh):\n%s", before, d)
		}
	}
}

func TestCodec_allocatesNothing(t *testing.T) {
	lim := DefaultLimits()
	req := []byte("POST http://www.example.com/p?q HTTP/1.1\r\nHost: www.example.com\r\nConnection: keep-alive, X\r\nX: y\r\nX_Forwarded_For: 1\r\nTransfer-Encoding: chunked\r\n\r\n")
	v6 := []byte("GET / HTTP/1.1\r\nHost: [2001:db8::1]:80\r\n\r\n")
	resp := []byte(originHead)
	body := []byte("5;x=y\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n")
	name, value := []byte("X-Forwarded-For"), []byte("192.0.2.1")
	out := make([]byte, 0, 4096)
	var r Request
	var p Response
	var c Chunked
	var accept [28]byte
	s := newScanner(t, lim)
	work := func() {
		r.Parse(v6, &lim)
		r.Parse(req[:50], &lim)
		r.Parse(req, &lim)
		r.Drop(XForwardedFor)
		r.Add(name, value)
		r.Append(out, Close|AskTrailers)
		p.Parse(resp, GET, &lim)
		p.Append(out, Persist)
		c.Reset(&lim)
		for b, why := body, More; why == More; {
			var n int
			n, _, why = c.Next(b)
			b = b[n:]
		}
		AppendLastChunk(out, c.Trailers())
		AppendRefusal(out, BadHost)
		AcceptKey(&accept, name)
		s.Feed(out, req)
		s.Feed(out, body)
	}
	work()
	if n := testing.AllocsPerRun(100, work); n != 0 {
		t.Errorf("a message costs %v allocations, want 0", n)
	}
}
