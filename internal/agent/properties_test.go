package agent

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestProperties(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	base, local := filepath.Join(dir, "bigbluebutton.properties"), filepath.Join(dir, "bbb-web.properties")
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(base, "# the shipped ones\n! too\nbigbluebutton.web.serverURL=http://bbb.example.org\nsecuritySalt = shipped\nredisHost=127.0.0.1\nredisPort=6379\nlong=a\\\n   b\nno separator\n")
	write(local, "domain=node23.example.org\nbigbluebutton.web.serverURL=https://${domain}\nsecuritySalt=s3:cr=t\nredisPassword=pw$1\n")
	p, err := ReadProperties([]string{base, filepath.Join(dir, "missing"), local})
	if err != nil {
		t.Fatal(err)
	}
	got, err := p.Server()
	want := Server{Address: "https://node23.example.org/bigbluebutton/api/", Secret: "s3:cr=t", Redis: "127.0.0.1:6379", RedisPassword: "pw$1"}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("Server: %v (-want +got):\n%s", err, diff)
	}
	if got := p.Get("long"); got != "ab" {
		t.Errorf("a continued line is %q, want ab", got)
	}
	if _, err := ReadProperties([]string{filepath.Join(dir, "missing")}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file at all: %v, want one that wraps fs.ErrNotExist", err)
	}
}

func TestProperties_Server_refuses(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ text, want string }{
		"no URL":    {"securitySalt=x\n", "serverURL"},
		"odd URL":   {"bigbluebutton.web.serverURL=ftp://h\nsecuritySalt=x\n", "ftp://h"},
		"no secret": {"bigbluebutton.web.serverURL=https://h\n", "securitySalt"},
	} {
		p := Properties{}
		if err := p.ParseProperties(strings.NewReader(tc.text)); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Server(); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: error %v does not say %q", name, err, tc.want)
		}
	}
}

func TestProperties_Get_endsInCircles(t *testing.T) {
	t.Parallel()
	p := Properties{"a": "${b}${b}", "b": "${a}${a}", "c": "x${none}y${", "d": "1${c}2"}
	if got := p.Get("a"); !strings.Contains(got, "${") {
		t.Errorf("a circle gives %.80q", got)
	}
	if got := p.Get("d"); got != "1x${none}y${2" {
		t.Errorf("Get(d) = %q", got)
	}
}

func FuzzProperties(f *testing.F) {
	f.Add("a=b\nc: ${a}${c}\\\nd\n")
	f.Fuzz(func(t *testing.T, text string) {
		p := Properties{}
		if p.ParseProperties(strings.NewReader(text)) != nil {
			return
		}
		for k := range p {
			if len(p.Get(k)) > 1<<26 {
				t.Fatalf("a property of %d bytes grows without bound", len(p[k]))
			}
		}
	})
}
