package enginetest

import (
	"net"
	"net/http"
	"os/exec"
	"strings"
	"testing"
)

// H2Spec runs h2spec, if it is installed, against an engine: in clear text and by TLS. All of its cases must pass,
// but for the one about an invalid preface in clear text: that is a bad HTTP/1.1 request on a port that speaks both.
func H2Spec(t *testing.T, mk New) {
	tool, err := exec.LookPath("h2spec")
	if err != nil {
		t.Skip("h2spec is not installed: go install github.com/summerwind/h2spec/cmd/h2spec@latest")
	}
	set := defaultSettings()
	set.TLSAddrs, set.Certificate = []string{"127.0.0.1:0"}, certificate(t)
	w := newWorldWith(t, mk, set, "", httpBackend(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(strings.Repeat("hello", 100)))
	}))
	for _, tc := range []struct {
		addr string
		more []string
		want string
	}{
		{w.addr, nil, "145 tests, 144 passed, 0 skipped, 1 failed"},
		{w.e.TLSAddrs()[0].String(), []string{"-t", "-k"}, "145 tests, 145 passed, 0 skipped, 0 failed"},
	} {
		host, port, err := net.SplitHostPort(tc.addr)
		if err != nil {
			t.Fatal(err)
		}
		out, _ := exec.CommandContext(t.Context(), tool, append(tc.more, "-h", host, "-p", port)...).CombinedOutput()
		if !strings.Contains(string(out), tc.want) || len(tc.more) == 0 && !strings.Contains(string(out), "invalid connection preface") {
			t.Errorf("h2spec at %s does not say %q, but\n%s", tc.addr, tc.want, failures(string(out)))
		}
	}
}

// failures is the part of h2spec's output that tells of them.
func failures(out string) string {
	if k := strings.Index(out, "Failures:"); k >= 0 {
		return out[k:]
	}
	return out
}
