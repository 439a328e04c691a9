package recording

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// s3 is as much of the service as a Bucket needs. It takes only what is signed by AWS Signature Version 4.
type s3 struct {
	*httptest.Server
	mu       sync.Mutex
	objects  map[string][]byte // by /bucket/key
	unsigned int
}

const (
	s3Access = "AKIDEXAMPLE"
	s3Secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
)

func newS3(t *testing.T) *s3 {
	t.Helper()
	s := &s3{objects: map[string][]byte{}}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *s3) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !signedV4(r) {
		s.unsigned++
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, "<Error><Code>SignatureDoesNotMatch</Code></Error>")
		return
	}
	if strings.HasPrefix(r.Header.Get("X-Amz-Content-Sha256"), "STREAMING-") {
		body = dechunk(body)
	}
	key := r.URL.Path
	switch {
	case r.URL.Query().Get("list-type") == "2":
		s.list(w, strings.Trim(key, "/"), r.URL.Query().Get("prefix"))
	case r.Method == http.MethodPut:
		s.objects[key] = body
		w.Header().Set("ETag", etag(body))
	case r.Method == http.MethodDelete:
		delete(s.objects, key)
		w.WriteHeader(http.StatusNoContent)
	case s.objects[key] == nil:
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, "<Error><Code>NoSuchKey</Code></Error>")
	default:
		w.Header().Set("ETag", etag(s.objects[key]))
		http.ServeContent(w, r, "", time.Unix(1_700_000_000, 0), bytes.NewReader(s.objects[key]))
	}
}

func etag(b []byte) string { return fmt.Sprintf(`"%x"`, md5.Sum(b)) }

func (s *s3) list(w http.ResponseWriter, bucket, prefix string) {
	type object struct {
		Key, LastModified string
		Size              int
	}
	out := struct {
		XMLName     xml.Name `xml:"ListBucketResult"`
		Name        string
		IsTruncated bool
		Contents    []object
	}{Name: bucket}
	for key, b := range s.objects {
		if name, ok := strings.CutPrefix(key, "/"+bucket+"/"); ok && strings.HasPrefix(name, prefix) {
			out.Contents = append(out.Contents, object{name, "2026-01-02T03:04:05.000Z", len(b)})
		}
	}
	_ = xml.NewEncoder(w).Encode(out)
}

// dechunk decodes aws-chunked.
func dechunk(b []byte) []byte {
	r := bufio.NewReader(bytes.NewReader(b))
	var out []byte
	for {
		line, err := r.ReadString('\n')
		size, _, _ := strings.Cut(strings.TrimSpace(line), ";")
		n, perr := strconv.ParseInt(size, 16, 64)
		if err != nil || perr != nil || n == 0 {
			return out
		}
		chunk := make([]byte, n+2)
		if _, err := io.ReadFull(r, chunk); err != nil {
			return out
		}
		out = append(out, chunk[:n]...)
	}
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

// signedV4 checks the Authorization header as the service's documentation says it is made.
func signedV4(r *http.Request) bool {
	rest, ok := strings.CutPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 ")
	fields := map[string]string{}
	for part := range strings.SplitSeq(rest, ",") {
		k, v, _ := strings.Cut(strings.TrimSpace(part), "=")
		fields[k] = v
	}
	scope, okScope := strings.CutPrefix(fields["Credential"], s3Access+"/")
	parts := strings.Split(scope, "/")
	if !ok || !okScope || len(parts) != 4 {
		return false
	}
	var head strings.Builder
	for name := range strings.SplitSeq(fields["SignedHeaders"], ";") {
		value := r.Header.Get(name)
		switch name {
		case "host":
			value = r.Host
		case "content-length":
			value = strconv.FormatInt(r.ContentLength, 10)
		}
		head.WriteString(name + ":" + strings.TrimSpace(value) + "\n")
	}
	var query []string
	for k, vs := range r.URL.Query() {
		for _, v := range vs {
			query = append(query, strings.ReplaceAll(url.QueryEscape(k)+"="+url.QueryEscape(v), "+", "%20"))
		}
	}
	slices.Sort(query)
	canonical := strings.Join([]string{r.Method, r.URL.EscapedPath(), strings.Join(query, "&"), head.String(), fields["SignedHeaders"], r.Header.Get("X-Amz-Content-Sha256")}, "\n")
	sum := sha256.Sum256([]byte(canonical))
	text := strings.Join([]string{"AWS4-HMAC-SHA256", r.Header.Get("X-Amz-Date"), scope, hex.EncodeToString(sum[:])}, "\n")
	key := []byte("AWS4" + s3Secret)
	for _, p := range parts {
		key = mac(key, p)
	}
	return hmac.Equal([]byte(hex.EncodeToString(mac(key, text))), []byte(fields["Signature"]))
}
