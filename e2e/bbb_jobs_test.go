package e2e

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/bbb/callback"
	"github.com/lbnode/lbnode/bbb/ids"
	"github.com/lbnode/lbnode/bbb/recording"
	"github.com/lbnode/lbnode/bbb/sign"
	"github.com/lbnode/lbnode/state"
)

const (
	tenantSecret = "tenant-secret"
	serverSecret = "server-secret"
)

// tenant makes a tenant, a BigBlueButton server that nobody asks anything, and a route.
func (c *cluster) tenant() *state.Frontend {
	c.t.Helper()
	n := c.alive()[0]
	n.must(2, http.MethodPut, "/pools/bbb", map[string]any{"health": map[string]any{"type": "bbb"}})
	n.must(2, http.MethodPut, "/backends/server", map[string]any{"address": "http://127.0.0.1:1/bigbluebutton/api/", "pool": "bbb", "bbb": map[string]any{"secrets": []string{serverSecret}}})
	n.must(2, http.MethodPut, "/frontends/uni", map[string]any{"key": "uni", "secret": tenantSecret})
	n.must(2, http.MethodPut, "/routes/bbb", map[string]any{"match": map[string]any{"path": "/bbb"}, "backend_pool": "bbb"})
	c.everywhere("/routes/bbb")
	return &state.Frontend{FrontendSpec: state.FrontendSpec{ID: "uni", Key: "uni", Secret: tenantSecret}}
}

// What a server has said and a node has confirmed is delivered, although the leader dies with it.
func TestCallbacks_leaderDies(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, "--callback-networks", "127.0.0.0/8")
	f := c.tenant()
	var accepts atomic.Bool
	var delivered, refused atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !accepts.Load() || r.URL.Query().Get("recordingmarks") != "true" {
			refused.Add(1)
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		delivered.Add(1)
	}))
	defer srv.Close()
	told := c.followers()[0]
	p := (&callback.Proxy{}).Create(f, "room", "http://"+told.proxy, sign.Params{{Name: "meetingEndedURL", Value: srv.URL + "/end"}})
	eventually(t, time.Minute, "a follower takes the callback", func() error {
		resp, err := told.plain.Get(p.Get("meetingEndedURL") + "?recordingmarks=true")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("status %d", resp.StatusCode)
		}
		return nil
	})
	eventually(t, time.Minute, "the leader tries it", func() error {
		if refused.Load() == 0 {
			return errors.New("nobody has called the receiver")
		}
		return nil
	})
	var waiting []api.Callback
	told.read("/callbacks", &waiting)
	if len(waiting) != 1 || waiting[0].Kind != "end" || waiting[0].State != api.CallbackWaiting || waiting[0].MeetingID != "room" {
		t.Errorf("GET /callbacks = %+v", waiting)
	}
	c.leader().kill()
	accepts.Store(true)
	eventually(t, 2*time.Minute, "the next leader delivers it", func() error {
		var left []api.Callback
		a, err := told.call(http.MethodGet, "/callbacks", nil)
		if err != nil {
			return err
		}
		a.decode(t, &left)
		if delivered.Load() == 0 || len(left) != 0 {
			return fmt.Errorf("delivered %d times, waiting: %+v", delivered.Load(), left)
		}
		return nil
	})
}

// A recording that was uploaded to one node is played by another one, and gone from the disk once a third deletes it.
func TestRecordings_anyNode(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := &cluster{t: t}
	for i := range 3 {
		n := newNode(t, fmt.Sprintf("n%d", i+1), "--recordings-dir", filepath.Join(dir, fmt.Sprintf("n%d", i+1)))
		if i > 0 {
			n.flags = append(n.flags, "--join", c.nodes[0].cluster)
		}
		c.nodes = append(c.nodes, n)
		n.start()
	}
	c.formed(c.nodes...)
	c.tenant()
	const id = "183f0bf3a0982a127bdb8161e0c44eb696b3e75c-1767323045000"
	video := bytes.Repeat([]byte("0123456789"), 100_000)
	doc := fmt.Sprintf(`<recording><id>%s</id><meta><meetingId>%s</meetingId></meta></recording>`, id, ids.Encode("uni", "room"))
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for name, b := range map[string][]byte{"metadata.xml": []byte(doc), "video/webcams.webm": video} {
		if err := w.WriteHeader(&tar.Header{Name: name, Size: int64(len(b)), Mode: 0o644, Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		_, _ = w.Write(b)
	}
	_ = w.Close()
	q := sign.Query(recording.UploadCall, sign.Params{{Name: "recordID", Value: id}, {Name: "format", Value: "video"}, {Name: "expires", Value: fmt.Sprint(time.Now().Add(time.Hour).Unix())}}, serverSecret, sign.SHA256)
	send := func(n *node, method, path, rng string, body io.Reader) (int, []byte) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, method, "http://"+n.proxy+path, body)
		if err != nil {
			t.Fatal(err)
		}
		if rng != "" {
			req.Header.Set("Range", rng)
		}
		resp, err := n.plain.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, b
	}
	if status, b := send(c.nodes[0], http.MethodPost, recording.Path+"upload?"+q, "", &archive); status != http.StatusCreated {
		t.Fatalf("upload: %d %s", status, b)
	}
	kept := filepath.Join(dir, "n1", id)
	if _, err := os.Stat(kept); err != nil {
		t.Fatalf("the files are not where they are said to be: %v", err)
	}
	play := recording.Path + "play/" + id + "/video/video/webcams.webm"
	eventually(t, time.Minute, "another node plays it", func() error {
		if status, b := send(c.nodes[1], http.MethodGet, play, "", nil); status != http.StatusOK || !bytes.Equal(b, video) {
			return fmt.Errorf("%d with %d bytes", status, len(b))
		}
		return nil
	})
	if status, b := send(c.nodes[1], http.MethodGet, play, "bytes=500003-500007", nil); status != http.StatusPartialContent || string(b) != "34567" {
		t.Errorf("a range: %d %q", status, b)
	}
	call := func(n *node, call string, p sign.Params) string {
		_, b := send(n, http.MethodGet, "/bbb/uni/api/"+call+"?"+sign.Query(call, p, tenantSecret, sign.SHA1), "", nil)
		return string(b)
	}
	one := sign.Params{{Name: "recordID", Value: id}}
	if got := call(c.nodes[1], "getRecordings", one); !strings.Contains(got, "<meetingID>room<") {
		t.Errorf("getRecordings: %s", got)
	}
	if got := call(c.nodes[2], "deleteRecordings", one); !strings.Contains(got, "<deleted>true<") {
		t.Errorf("deleteRecordings: %s", got)
	}
	eventually(t, time.Minute, "the files are gone from the node that had them", func() error {
		if _, err := os.Stat(kept); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s: %v", kept, err)
		}
		return nil
	})
	c.same()
}
