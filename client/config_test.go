package client

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseURLs(t *testing.T) {
	t.Parallel()
	tests := []struct {
		in   string
		want []string
		err  string
	}{
		{"http://127.0.0.1:9080", []string{"http://127.0.0.1:9080"}, ""},
		{"127.0.0.1:9080, node2", []string{"http://127.0.0.1:9080", "http://node2:9080"}, ""},
		{"https://api.bbb.example.org/", []string{"https://api.bbb.example.org"}, ""},
		{"https://example.org/lb/a%2Fb/,,", []string{"https://example.org/lb/a%2Fb"}, ""},
		{"[::1]", []string{"http://[::1]:9080"}, ""},
		{"[::1]:1", []string{"http://[::1]:1"}, ""},
		{"::1", nil, "brackets"},
		{"", nil, "no API address"},
		{" , ", nil, "no API address"},
		{"ftp://a", nil, "http or https"},
		{"http://", nil, "no host"},
		{"http://:80", nil, "no host"},
		{"http://u:p@a", nil, "must not hold a user"},
		{"http://a?b", nil, "query"},
		{"http://a#b", nil, "fragment"},
		{"http://a b", nil, "no URL"},
	}
	for _, tt := range tests {
		got, err := ParseURLs(tt.in)
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("ParseURLs(%q) (-want +got):\n%s", tt.in, diff)
		}
		if (err == nil) != (tt.err == "") || err != nil && (!strings.Contains(err.Error(), tt.err) || strings.Contains(err.Error(), "u:p")) {
			t.Errorf("ParseURLs(%q) = %v, want an error with %q", tt.in, err, tt.err)
		}
	}
}

func TestConfig_Validate(t *testing.T) {
	t.Parallel()
	valid := DefaultConfig()
	valid.URLs = []string{"http://a"}
	if err := valid.Validate(); err != nil {
		t.Fatalf("Validate = %v, want none", err)
	}
	err := Config{Token: "a\nb", LeaderWait: -1}.Validate()
	for _, field := range []string{"URLs", "Token", "UserAgent", "Timeout", "LeaderWait", "MaxAnswer", "Transport", "NewKey"} {
		if err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("Validate = %v, want it to name %s", err, field)
		}
	}
	if _, err := New(Config{}); err == nil {
		t.Error("New of an empty config = nil, want an error")
	}
}
