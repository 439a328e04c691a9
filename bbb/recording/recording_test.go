package recording

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lbnode/lbnode/bbb/ids"
	"github.com/lbnode/lbnode/bbb/sign"
	"github.com/lbnode/lbnode/state"
)

const (
	recordID = "183f0bf3a0982a127bdb8161e0c44eb696b3e75c-1767323045000"
	another  = "283f0bf3a0982a127bdb8161e0c44eb696b3e75c-1767323045999"
)

// document is a metadata.xml as BigBlueButton writes it.
func document(id, meetingID string) string {
	return fmt.Sprintf(`<recording><id>%s</id><state>published</state><published>true</published>
<start_time>1767323045000</start_time><end_time>1767326645000</end_time><participants>4</participants>
<meeting id="%s" externalId="x" name="Room" breakout="false"/>
<meta><meetingId>%s</meetingId><meetingName>Room &amp; more</meetingName><Course>math</Course></meta>
<playback><format>presentation</format><link>https://bbb/playback/presentation/2.3/%s</link><processing_time>7000</processing_time><duration>3600000</duration><size>123</size>
<extensions><preview><images><image width="176" height="136" alt="One">https://bbb/1.png</image></images></preview></extensions></playback></recording>`, id, id, meetingID, id)
}

// memory is a state of its own.
type memory struct {
	mu   sync.Mutex
	view *state.View
}

func (m *memory) View() *state.View { m.mu.Lock(); defer m.mu.Unlock(); return m.view }

func (m *memory) Do(_ context.Context, c state.Command) (state.Result, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v, res := state.Apply(m.view, m.view.Index+1, 1, c)
	m.view = v
	if res.Refusal != nil {
		return res, res.Refusal
	}
	return res, nil
}

func newMemory(t *testing.T) *memory {
	t.Helper()
	m := &memory{view: state.NewView()}
	for _, o := range [][3]string{
		{"pool", "bbb", `{"health":{"type":"bbb"}}`},
		{"backend", "a", `{"address":"https://a.example.org/bigbluebutton/api/","pool":"bbb","bbb":{"secrets":["server"]}}`},
		{"frontend", "uni", `{"key":"uni-key","secret":"tenant"}`},
		{"frontend", "school", `{"key":"school","secret":"other"}`},
	} {
		c := state.Command{Type: state.TypeTxn, Ops: []state.Op{{Verb: state.VerbPut, Kind: state.Kind(o[0]), ID: o[1], Value: json.RawMessage(o[2])}}}
		if _, err := m.Do(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

// world is a service with a directory.
type world struct {
	t     *testing.T
	m     *memory
	files *Dir
	dir   string
	s     *Service
	now   time.Time
}

type noRemote struct{}

func (noRemote) Open(context.Context, string, string, string, string) (File, error) {
	return nil, errors.New("the other node does not answer")
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, m: newMemory(t), dir: t.TempDir(), now: time.Now()}
	var err error
	if w.files, err = OpenDir(w.dir, PerNode); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.files.Close() })
	w.s, err = New(Config{NodeID: "n1", Store: w.m, Files: w.files, Remote: noRemote{}, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return w.now }, MaxUpload: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// archive is a tar of name, text, name, text…
func archive(files ...string) []byte {
	var buf bytes.Buffer
	t := tar.NewWriter(&buf)
	for i := 0; i < len(files); i += 2 {
		_ = t.WriteHeader(&tar.Header{Name: files[i], Mode: 0o644, Size: int64(len(files[i+1])), Typeflag: tar.TypeReg})
		_, _ = t.Write([]byte(files[i+1]))
	}
	_ = t.Close()
	return buf.Bytes()
}

func (w *world) upload(id, secret string, body []byte) *httptest.ResponseRecorder {
	p := sign.Params{{Name: "recordID", Value: id}, {Name: "format", Value: "presentation"}, {Name: "expires", Value: fmt.Sprint(w.now.Add(time.Hour).Unix())}}
	return w.do(httptest.NewRequest(http.MethodPost, Path+"upload?"+sign.Query(UploadCall, p, secret, sign.SHA256), bytes.NewReader(body)))
}

func (w *world) do(r *http.Request) *httptest.ResponseRecorder {
	rec := httptest.NewRecorder()
	w.s.ServeHTTP(rec, r)
	return rec
}

func (w *world) get(target string, change ...func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, target, nil)
	for _, f := range change {
		f(r)
	}
	return w.do(r)
}

// call is a tenant's call.
func (w *world) call(tenant, call, query string) string {
	w.t.Helper()
	f, _ := w.m.View().Frontend(tenant)
	p, err := sign.Parse(query)
	if err != nil {
		w.t.Fatal(err)
	}
	rec := httptest.NewRecorder()
	w.s.Serve(rec, httptest.NewRequest(http.MethodGet, "http://lb.example.org/bbb/x/"+call, nil), f, call, p)
	return rec.Body.String()
}

func (w *world) uploaded(id string) {
	w.t.Helper()
	body := archive("./metadata.xml", document(id, ids.Encode("uni-key", "room")), "./index.html", "<h1>hi</h1>", "video/webcams.webm", "0123456789", "captions.json", `[{"locale":"de","localeName":"Deutsch"}]`)
	if got := w.upload(id, "server", body); got.Code != http.StatusCreated {
		w.t.Fatalf("upload: %d %s", got.Code, got.Body)
	}
}

func TestUploadAndPlay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.uploaded(recordID)
	list := w.call("uni", "getRecordings", "meetingID=room")
	play := "http://lb.example.org" + Path + "play/" + recordID + "/presentation/"
	for _, want := range []string{"<recordID>" + recordID + "<", "<meetingID>room<", "<name>Room &amp; more<", "<startTime>1767323045000<", "<course>math<", "<url>" + play + "<", "<length>60<", `<image alt="One" height="136" width="176">https://bbb/1.png<`} {
		if !strings.Contains(list, want) {
			t.Errorf("getRecordings lacks %s:\n%s", want, list)
		}
	}
	if got := w.get(play); got.Code != 200 || got.Body.String() != "<h1>hi</h1>" || !strings.HasPrefix(got.Header().Get("Content-Type"), "text/html") {
		t.Errorf("index: %d %v %s", got.Code, got.Header(), got.Body)
	}
	got := w.get(play+"video/webcams.webm", func(r *http.Request) { r.Header.Set("Range", "bytes=2-4") })
	if got.Code != http.StatusPartialContent || got.Body.String() != "234" || got.Header().Get("Content-Range") != "bytes 2-4/10" {
		t.Errorf("a range: %d %q %v", got.Code, got.Body, got.Header())
	}
	for _, bad := range []string{"../../" + another + "/presentation/index.html", "%2e%2e/%2e%2e/x", ".hidden", "none.html", "video"} {
		if got := w.get(play + bad); got.Code != http.StatusNotFound {
			t.Errorf("%s: %d, want 404", bad, got.Code)
		}
	}
	if tracks := w.call("uni", "getRecordingTextTracks", "recordID="+recordID); !strings.Contains(tracks, `"lang":"de"`) || !strings.Contains(tracks, "caption_de.vtt") {
		t.Errorf("tracks: %s", tracks)
	}

	// Deleted, it is gone: from the list, the player and the disk.
	if got := w.call("uni", "deleteRecordings", "recordID="+recordID); !strings.Contains(got, "<deleted>true<") {
		t.Errorf("delete: %s", got)
	}
	if _, err := os.Stat(filepath.Join(w.dir, recordID)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the files of a deleted recording: %v", err)
	}
	if w.get(play).Code != http.StatusNotFound || !strings.Contains(w.call("uni", "getRecordings", ""), "noRecordings") {
		t.Error("a deleted recording is there")
	}
}

func TestUpload_refuses(t *testing.T) {
	t.Parallel()
	doc := document(recordID, ids.Encode("uni-key", "room"))
	link := func() []byte {
		var buf bytes.Buffer
		a := tar.NewWriter(&buf)
		_ = a.WriteHeader(&tar.Header{Name: "x", Linkname: "/etc/passwd", Typeflag: tar.TypeSymlink})
		_ = a.Close()
		return buf.Bytes()
	}()
	for name, tc := range map[string]struct {
		secret string
		body   []byte
		code   int
	}{
		"another's secret": {"tenant", archive("metadata.xml", doc), 401},
		"upwards":          {"server", archive("metadata.xml", doc, "../evil", "x"), 400},
		"absolute":         {"server", archive("/etc/evil", "x"), 400},
		"hidden":           {"server", archive("a/.ssh/x", "x"), 400},
		"link":             {"server", link, 400},
		"no metadata":      {"server", archive("x", "x"), 400},
		"another's":        {"server", archive("metadata.xml", document(another, "room")), 400},
		"no tar":           {"server", []byte("hello, this is no archive" + strings.Repeat(".", 600)), 400},
		"cut off":          {"server", archive("metadata.xml", doc, "big", strings.Repeat("x", 5000))[:3000], 400},
		"too large":        {"server", archive("metadata.xml", doc, "big", strings.Repeat("x", 2<<20)), 413},
		"nobody's":         {"server", archive("metadata.xml", document(recordID, "room")), 422},
		"twice the same":   {"server", archive("metadata.xml", doc, "a", "1", "a", "2"), 503},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			if got := w.upload(recordID, tc.secret, tc.body); got.Code != tc.code {
				t.Errorf("status %d, want %d: %s", got.Code, tc.code, got.Body)
			}
			left, err := w.files.IDs(t.Context())
			if err != nil || len(left) != 0 || w.m.View().LenRecordings() != 0 {
				t.Errorf("left of it: %v, %v, %d recordings", left, err, w.m.View().LenRecordings())
			}
		})
	}
	w := newWorld(t)
	old := sign.Params{{Name: "recordID", Value: recordID}, {Name: "format", Value: "presentation"}, {Name: "expires", Value: "1"}}
	if got := w.do(httptest.NewRequest(http.MethodPost, Path+"upload?"+sign.Query(UploadCall, old, "server", sign.SHA256), nil)); got.Code != 401 {
		t.Errorf("an old signature: %d, want 401", got.Code)
	}
}

func TestProtected(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.uploaded(recordID)
	w.uploaded(another)
	if _, err := w.s.SetVisibility(t.Context(), recordID, state.VisibilityProtected); err != nil {
		t.Fatal(err)
	}
	play := Path + "play/" + recordID + "/presentation/"
	if got := w.get(play); got.Code != http.StatusForbidden {
		t.Errorf("without a link: %d, want 403", got.Code)
	}
	list := w.call("uni", "getRecordings", "recordID="+recordID)
	_, link, _ := strings.Cut(list, "<url>http://lb.example.org")
	link, _, _ = strings.Cut(link, "</url>")
	got := w.get(link)
	cookies := got.Result().Cookies()
	if got.Code != http.StatusFound || got.Header().Get("Location") != play || len(cookies) != 1 || !cookies[0].HttpOnly {
		t.Fatalf("the link %s: %d %v", link, got.Code, got.Header())
	}
	with := func(r *http.Request) { r.AddCookie(cookies[0]) }
	if got := w.get(play, with); got.Code != http.StatusOK || !strings.HasPrefix(got.Header().Get("Cache-Control"), "private") {
		t.Errorf("with the cookie: %d %v", got.Code, got.Header())
	}
	if _, err := w.s.SetVisibility(t.Context(), another, state.VisibilityProtected); err != nil {
		t.Fatal(err)
	}
	if got := w.get(Path+"play/"+another+"/presentation/", with); got.Code != http.StatusForbidden {
		t.Errorf("another recording with this cookie: %d, want 403", got.Code)
	}
	for _, forged := range []string{link + "x", strings.Replace(link, recordID, another, 1), Path + "link/" + recordID, Path + "link/" + recordID + "/presentation/"} {
		if got := w.get(forged); got.Code == http.StatusFound {
			t.Errorf("%s is taken", forged)
		}
	}
	w.now = w.now.Add(2 * time.Hour)
	if got := w.get(link); got.Code != http.StatusForbidden {
		t.Errorf("an old link: %d, want 403", got.Code)
	}
	if got := w.get(play, with); got.Code != http.StatusOK {
		t.Errorf("the cookie after two hours: %d, want 200", got.Code)
	}
	w.now = w.now.Add(7 * time.Hour)
	if got := w.get(play, with); got.Code != http.StatusForbidden {
		t.Errorf("the cookie after nine hours: %d, want 403", got.Code)
	}
	if got := w.call("uni", "publishRecordings", "publish=false&recordID="+recordID); !strings.Contains(got, "<published>false<") {
		t.Errorf("unpublish: %s", got)
	}
	if got := w.get(play); got.Code != http.StatusNotFound {
		t.Errorf("unpublished: %d, want 404", got.Code)
	}
}

// What is another tenant's cannot be seen, changed or deleted.
func TestTenants(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.uploaded(recordID)
	for call, query := range map[string]string{
		"publishRecordings": "publish=false&recordID=", "updateRecordings": "meta_x=y&recordID=", "deleteRecordings": "recordID=",
		"getRecordings": "state=any&recordID=", "getRecordingTextTracks": "recordID=", "putRecordingTextTrack": "recordID=",
	} {
		got := w.call("school", call, query+recordID)
		if strings.Contains(got, "Room") || !strings.Contains(got, "FAILED") && !strings.Contains(got, "noRecordings") {
			t.Errorf("%s of another tenant: %s", call, got)
		}
	}
	if r, ok := w.m.View().Recording(recordID); !ok || !r.Published || r.Metadata["x"] != "" {
		t.Errorf("changed by another tenant: %+v", r)
	}
	// One unknown id refuses the call as a whole.
	if got := w.call("uni", "deleteRecordings", "recordID="+recordID+",none"); !strings.Contains(got, "notFound") || w.m.View().LenRecordings() != 1 {
		t.Errorf("with an unknown id: %s", got)
	}
}

func TestGetRecordings(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i := range 5 {
		r := state.Recording{
			ID: fmt.Sprintf("r%d", i), Frontend: "uni", MeetingID: fmt.Sprintf("m%d", i%2), Visibility: "published", Published: i != 3,
			Start: time.UnixMilli(int64(i) * 1000), Metadata: map[string]string{"n": fmt.Sprint(i % 2), "bad key": "x"},
		}
		if err := w.s.put(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	for query, want := range map[string]string{
		"":                          "r4 r3 r2 r1 r0",
		"state=published":           "r4 r2 r1 r0",
		"state=unpublished":         "r3",
		"state=any":                 "r4 r3 r2 r1 r0",
		"state=deleted":             "",
		"meetingID=m1,none":         "r3 r1",
		"recordID=r4,r0":            "r4 r0",
		"recordID=r1&meetingID=m0":  "r1",
		"recordID=r":                "r4 r3 r2 r1 r0",
		"meta_N=0":                  "r4 r2 r0",
		"offset=1&limit=2":          "r3 r2",
		"offset=9":                  "",
		"limit=2&meta_n=0&offset=2": "r0",
	} {
		got := w.call("uni", "getRecordings", query)
		var found []string
		for _, part := range strings.Split(got, "<recordID>")[1:] {
			found = append(found, part[:strings.Index(part, "<")])
		}
		if strings.Join(found, " ") != want || !strings.Contains(got, "<returncode>SUCCESS<") {
			t.Errorf("%q: %v, want %s\n%s", query, found, want, got)
		}
	}
	if got := w.call("uni", "getRecordings", "limit=2"); !strings.Contains(got, "<totalElements>5<") {
		t.Errorf("no total: %s", got)
	}
	for query, key := range map[string]string{"limit=0": "validationError", "limit=101": "validationError", "offset=-1": "validationError", "limit=x": "validationError"} {
		if got := w.call("uni", "getRecordings", query); !strings.Contains(got, key) {
			t.Errorf("%q: %s, want %s", query, got, key)
		}
	}
	if got := w.call("uni", "updateRecordings", "recordID=r0&meta_Title=a%3Cb&meta_n="); !strings.Contains(got, "<updated>true<") {
		t.Errorf("update: %s", got)
	}
	if r, _ := w.m.View().Recording("r0"); cmp.Diff(map[string]string{"title": "a<b", "bad key": "x"}, r.Metadata) != "" {
		t.Errorf("updated: %v", r.Metadata)
	}
	if got := w.call("uni", "publishRecordings", "recordID=r0"); !strings.Contains(got, "missingParamPublish") {
		t.Errorf("publish without publish: %s", got)
	}
}

func TestImportXML(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r, err := w.s.ImportXML(t.Context(), []byte(document(recordID, ids.Encode("uni-key", "room"))), ImportOptions{})
	if err != nil || r.Frontend != "uni" || r.MeetingID != "room" || r.Index == 0 || len(r.Formats) != 1 || r.Formats[0].URL == "" {
		t.Errorf("ImportXML = %+v, %v", r, err)
	}
	if _, err := w.s.ImportXML(t.Context(), []byte(document(another, "plain")), ImportOptions{}); !errors.Is(err, ErrNoTenant) {
		t.Errorf("nobody's: %v", err)
	}
	if _, err := w.s.ImportXML(t.Context(), []byte(document(another, "plain")), ImportOptions{FrontendKey: "nobody"}); !errors.Is(err, ErrNoTenant) {
		t.Errorf("unknown key: %v", err)
	}
	if r, err := w.s.ImportXML(t.Context(), []byte(document(another, "plain")), ImportOptions{FrontendKey: "school", MeetingID: "m"}); err != nil || r.Frontend != "school" || r.MeetingID != "m" {
		t.Errorf("by key: %+v, %v", r, err)
	}
	for _, doc := range []string{"", "<x/>", "<recording><id>../x</id></recording>", "<recording><id>a</id>", strings.Repeat("x", MaxMetadata+1)} {
		if _, err := w.s.ImportXML(t.Context(), []byte(doc), ImportOptions{}); !errors.Is(err, ErrMetadata) {
			t.Errorf("%.40q: %v, want ErrMetadata", doc, err)
		}
	}
}

func TestImport_overHTTP(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	send := func(secret, key, body string) int {
		p := sign.Params{{Name: "expires", Value: fmt.Sprint(w.now.Add(time.Hour).Unix())}, {Name: "frontendKey", Value: key}}
		return w.do(httptest.NewRequest(http.MethodPost, Path+"import?"+sign.Query(ImportCall, p, secret, sign.SHA512), strings.NewReader(body))).Code
	}
	for _, tc := range []struct {
		secret, key, body string
		code              int
	}{
		{"tenant", "school", document(recordID, "m"), 401},
		{"server", "school", "<x/>", 400},
		{"server", "school", strings.Repeat("x", MaxMetadata+1), 413},
		{"server", "", document(recordID, "m"), 422},
		{"server", "school", document(recordID, "m"), 201},
		{"server", "uni-key", document(recordID, "m"), 422}, // another tenant's by now
	} {
		if code := send(tc.secret, tc.key, tc.body); code != tc.code {
			t.Errorf("%s %s: status %d, want %d", tc.secret, tc.key, code, tc.code)
		}
	}
	if r, ok := w.m.View().Recording(recordID); !ok || r.Frontend != "school" || r.Formats[0].URL == "" {
		t.Errorf("imported: %+v", r)
	}
}

func TestSweep(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.uploaded(recordID)
	w.uploaded(another)
	if _, err := w.m.Do(t.Context(), state.BBB(state.BBBOp{DeleteRecordings: &state.DeleteRecordings{IDs: []string{another}}})); err != nil {
		t.Fatal(err)
	}
	if _, err := w.files.Begin(t.Context(), "x", "y"); err != nil { // one that was never ended
		t.Fatal(err)
	}
	for _, tc := range []struct {
		later time.Duration
		left  int
	}{{0, 3}, {2 * time.Hour, 1}} {
		w.now = w.now.Add(tc.later)
		if err := w.s.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		if ids, err := w.files.IDs(t.Context()); err != nil || len(ids) != tc.left {
			t.Errorf("after %s: %v, %v, want %d left", tc.later, ids, err, tc.left)
		}
	}
}

// Both kinds of Files do the same.
func TestFiles(t *testing.T) {
	t.Parallel()
	server := newS3(t)
	bucket, err := OpenBucket(BucketConfig{URL: server.URL + "/recordings/pre/fix", AccessKey: s3Access, SecretKey: s3Secret, Transport: server.Client().Transport})
	if err != nil {
		t.Fatal(err)
	}
	dir, err := OpenDir(filepath.Join(t.TempDir(), "new"), ByAll)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	for name, f := range map[string]Files{"dir": dir, "bucket": bucket} {
		t.Run(name, func(t *testing.T) { conform(t, f) })
	}
	if server.unsigned != 0 {
		t.Errorf("%d calls were not signed as they must be", server.unsigned)
	}
	wrong, err := OpenBucket(BucketConfig{URL: server.URL + "/recordings", AccessKey: s3Access, SecretKey: "wrong", Transport: server.Client().Transport})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := wrong.Open(t.Context(), "r1", "video", "a"); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a wrong key: %v", err)
	}
}

func conform(t *testing.T, f Files) {
	ctx := t.Context()
	store := func(id string, files ...string) {
		t.Helper()
		up, err := f.Begin(ctx, id, "video")
		if err != nil {
			t.Fatal(err)
		}
		defer up.Abort()
		for i := 0; i < len(files); i += 2 {
			if err := up.Put(ctx, files[i], strings.NewReader(files[i+1]), int64(len(files[i+1]))); err != nil {
				t.Fatal(err)
			}
		}
		if err := up.Commit(ctx); err != nil {
			t.Fatal(err)
		}
	}
	read := func(id, name string) string {
		file, err := f.Open(ctx, id, "video", name)
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("open %s %s: %v", id, name, err)
			}
			return "none"
		}
		defer file.Close()
		if _, err := file.Seek(1, io.SeekStart); err != nil {
			t.Error(err)
		}
		b, err := io.ReadAll(file)
		if err != nil || int64(len(b)+1) != file.Size() {
			t.Errorf("read %s: %d bytes of %d, %v", name, len(b), file.Size(), err)
		}
		return string(b)
	}
	store("r1", "index.html", "hello", "deep/er/x.webm", strings.Repeat("v", 100_000))
	store("r11", "index.html", "other")
	if got := read("r1", "index.html"); got != "ello" {
		t.Errorf("read %q", got)
	}
	if got := read("r1", "deep/er/x.webm"); len(got) != 99_999 {
		t.Errorf("read %d bytes", len(got))
	}
	store("r1", "index.html", "again")
	if got := read("r1", "index.html"); got != "gain" {
		t.Errorf("after it was replaced: %q", got)
	}
	up, err := f.Begin(ctx, "r2", "video")
	if err != nil {
		t.Fatal(err)
	}
	if err := up.Put(ctx, "a", strings.NewReader("a"), 1); err != nil {
		t.Fatal(err)
	}
	up.Abort()
	if err := f.Remove(ctx, "r1"); err != nil {
		t.Fatal(err)
	}
	if err := f.Remove(ctx, "r1"); err != nil {
		t.Errorf("removed twice: %v", err)
	}
	ids, err := f.IDs(ctx)
	if _, ok := ids["r11"]; err != nil || len(ids) != 1 || !ok {
		t.Errorf("IDs = %v, %v, want r11", ids, err)
	}
	if got := read("r1", "index.html") + read("r2", "a") + read("r11", "index.html"); got != "nonenonether" {
		t.Errorf("left: %s", got)
	}
}

func TestCheckName(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"./a": "a", "a//b/": "a/b", "a/../b": "b", "metadata.xml": "metadata.xml", "a b.png": "a b.png", "ä.png": "ä.png"} {
		if got, err := CheckName(in); err != nil || got != want {
			t.Errorf("CheckName(%q) = %q, %v, want %q", in, got, err, want)
		}
	}
	for _, in := range []string{"", ".", "..", "/", "/a", "../a", "a/../../b", ".a", "a/.b", `a\b`, "c:x", "a\x00b", "a\nb", strings.Repeat("x", 600), strings.Repeat("x/", 40) + "y", "\xff"} {
		if got, err := CheckName(in); !errors.Is(err, ErrName) {
			t.Errorf("CheckName(%q) = %q, %v, want ErrName", in, got, err)
		}
	}
}

func FuzzCheckName(f *testing.F) {
	f.Add("a/../b")
	f.Fuzz(func(t *testing.T, in string) {
		if got, err := CheckName(in); err == nil && (!fs.ValidPath(got) || slices.Contains(strings.Split(got, "/"), "..")) {
			t.Errorf("CheckName(%q) = %q", in, got)
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(document(recordID, "room")))
	f.Fuzz(func(t *testing.T, doc []byte) {
		if r, err := Parse(doc); err == nil && state.CheckRecordingID(r.ID) != "" {
			t.Errorf("Parse took the id %q", r.ID)
		}
	})
}
