package api

import (
	"encoding/json"
	"net/http"
	"reflect"
	"strings"
	"testing"
)

func TestETag(t *testing.T) {
	t.Parallel()
	for _, n := range []uint64{0, 7, 1<<64 - 1} {
		if got, ok := ParseETag(ETag(n)); !ok || got != n {
			t.Errorf("ParseETag(%s) = %d, %v, want %d", ETag(n), got, ok, n)
		}
	}
	for _, s := range []string{``, `"`, `""`, `7`, `W/"7"`, `"7`, `7"`, `"-7"`, `"seven"`, `"18446744073709551616"`} {
		if got, ok := ParseETag(s); ok {
			t.Errorf("ParseETag(%s) = %d, want none", s, got)
		}
	}
}

func TestNextCursor(t *testing.T) {
	t.Parallel()
	tests := []struct {
		links []string
		want  string
	}{
		{nil, ""},
		{[]string{NextLink("/backends?after=b&limit=2")}, "b"},
		{[]string{NextLink("/v1/backends?after=a%2Fb")}, "a/b"},
		{[]string{`</x>; rel="prev", </backends?after=c>; rel="next"`}, "c"},
		{[]string{`</x>; rel="prev"`, `</backends?after=c>; rel="next"`}, "c"},
		{[]string{`/backends?after=c; rel="next"`}, ""},
		{[]string{`</backends?after=c>`}, ""},
	}
	for _, tt := range tests {
		if got := NextCursor(http.Header{"Link": tt.links}); got != tt.want {
			t.Errorf("NextCursor(%q) = %q, want %q", tt.links, got, tt.want)
		}
	}
}

// Answers leave no field out, whatever its value.
func TestAnswers_noOmit(t *testing.T) {
	t.Parallel()
	for _, v := range []any{
		Backend{},
		Pool{},
		Route{},
		Frontend{},
		Stats{},
		Cluster{Leader: &Leader{}},
		Node{},
		Problem{},
		BackendHealth{},
		Observation{},
		Reason{},
		Ready{},
		NotReady{},
		Live{},
		FieldError{},
	} {
		walkTags(t, reflect.TypeOf(v), map[reflect.Type]bool{})
	}
	b, err := json.Marshal(NotReady{Problem: Problem{Code: CodeNotReady}})
	if err != nil || !strings.Contains(string(b), `"code":"not_ready"`) || !strings.Contains(string(b), `"reasons"`) {
		t.Errorf("Marshal(NotReady) = %s, %v, want the problem's fields and its own", b, err)
	}
}

func walkTags(t *testing.T, rt reflect.Type, seen map[reflect.Type]bool) {
	t.Helper()
	switch rt.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		walkTags(t, rt.Elem(), seen)
		return
	case reflect.Struct:
	default:
		return
	}
	if seen[rt] || rt.PkgPath() != reflect.TypeFor[Backend]().PkgPath() {
		return
	}
	seen[rt] = true
	for i := range rt.NumField() {
		f := rt.Field(i)
		tag := f.Tag.Get("json")
		if strings.Contains(tag, "omit") {
			t.Errorf("%s.%s may be left out of an answer: %q", rt, f.Name, tag)
		}
		if tag == "" && !f.Anonymous {
			t.Errorf("%s.%s has no JSON name", rt, f.Name)
		}
		walkTags(t, f.Type, seen)
	}
}

func TestProblem_error(t *testing.T) {
	t.Parallel()
	p := &Problem{Title: "Bad Request", Detail: "backend \"a\" is not valid", Errors: []FieldError{{"/weight", "must be between 0 and 1000, got -1"}, {"", "also this"}}}
	want := `backend "a" is not valid; /weight must be between 0 and 1000, got -1; also this`
	if got := p.Error(); got != want {
		t.Errorf("Error() = %q, want %q", got, want)
	}
	if got := (&Problem{Title: "Not Found"}).Error(); got != "Not Found" {
		t.Errorf("Error() = %q, want the title", got)
	}
}
