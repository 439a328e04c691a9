package strictjson

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

type span time.Duration

func (s *span) UnmarshalText(b []byte) error {
	d, err := time.ParseDuration(string(b))
	if err != nil {
		return errors.New("must be a duration such as \"2s\"")
	}
	*s = span(d)
	return nil
}

type inner struct {
	Name  string `json:"name"`
	Every span   `json:"every"`
	Rise  uint8  `json:"rise"`
}

type base struct {
	Label string `json:"label"`
}

type thing struct {
	base
	ID      string            `json:"id"`
	Weight  int               `json:"weight"`
	Small   int8              `json:"small"`
	Factor  float64           `json:"factor"`
	On      bool              `json:"on"`
	Tags    []string          `json:"tags"`
	Headers map[string]string `json:"headers"`
	Inner   inner             `json:"inner"`
	Maybe   *int              `json:"maybe"`
	Any     json.RawMessage   `json:"any"`
	Hidden  string            `json:"-"`
	Plain   string
}

type thingPublic struct {
	Base
	ID string `json:"id"`
}

// Base is exported so that its fields can be promoted.
type Base struct {
	Label string `json:"label"`
}

func TestDecode_good(t *testing.T) {
	t.Parallel()
	in := "\n" + ` {"id":"a\u00e9\ud83d\ude00","weight":-3,"small":-128,"factor":1.5e2,"on":true,"tags":["x","y"],"headers":{"A/b":"c~d"},` +
		`"inner":{"name":"n","every":"2s","rise":255},"maybe":7,"any":[1,{"x":null}],"Plain":"p"} ` + "\t\r\n"
	seven := 7
	want := thing{
		ID: "aé😀", Weight: -3, Small: -128, Factor: 150, On: true, Tags: []string{"x", "y"}, Headers: map[string]string{"A/b": "c~d"},
		Inner: inner{"n", span(2 * time.Second), 255}, Maybe: &seven, Any: json.RawMessage(`[1,{"x":null}]`), Plain: "p",
	}
	var got thing
	doc, err := Decode([]byte(in), &got, Options{})
	if err != nil {
		t.Fatalf("Decode = %v", err)
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(thing{}, base{})); diff != "" {
		t.Errorf("Decode (-want +got)\n%s", diff)
	}
	if len(doc) != 11 || string(doc["weight"]) != "-3" || string(doc["any"]) != `[1,{"x":null}]` {
		t.Errorf("Decode returned %q, want every member as written", doc)
	}
	var pub thingPublic
	if _, err := Decode([]byte(`{"label":"l","id":"x"}`), &pub, Options{}); err != nil || pub.Label != "l" {
		t.Errorf("Decode of a promoted field = %+v, %v, want label l", pub, err)
	}
}

func TestDecode_bad(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat("[", MaxDepth) + strings.Repeat("]", MaxDepth)
	tests := []struct {
		name, in string
		want     Errors
	}{
		{"empty", "", Errors{{"", "the body is empty; it must be a JSON object"}}},
		{"blank", " \n\t", Errors{{"", "the body is empty; it must be a JSON object"}}},
		{"cut short", `{"id":"a"`, Errors{{"", "malformed JSON at line 1, column 9: unexpected end of JSON input"}}},
		{"syntax", "{\n  \"id\": \"a\",\n  \"weight\": 3,}", Errors{{"", "malformed JSON at line 3, column 15: invalid character '}' looking for beginning of object key string"}}},
		{"trailing", `{"id":"a"} {"id":"b"}`, Errors{{"", "malformed JSON at line 1, column 12: invalid character '{' after top-level value"}}},
		{"trailing word", `{}x`, Errors{{"", "malformed JSON at line 1, column 3: invalid character 'x' after top-level value"}}},
		{"list", `[{"id":"a"}]`, Errors{{"", "must be a JSON object, got a list"}}},
		{"string", `"a"`, Errors{{"", `must be a JSON object, got the string "a"`}}},
		{"null", `null`, Errors{{"", "must be a JSON object, got null"}}},
		{"number", ` 12 `, Errors{{"", "must be a JSON object, got 12"}}},
		{"not UTF-8", "{\"id\":\"\xff\"}", Errors{{"", "the text is not UTF-8, from byte 7 on"}}},
		{"half surrogate", `{"id":"\ud83d"}`, Errors{{"/id", `holds half of a surrogate pair: "\ud83d"`}}},
		{"low surrogate", `{"id":"\ude00x"}`, Errors{{"/id", `holds half of a surrogate pair: "\ude00x"`}}},
		{"escaped backslash is no surrogate", `{"id":"\\ud83d","x":1}`, Errors{{"/x", `unknown field "x"`}}},
		{"unknown", `{"wieght":1}`, Errors{{"/wieght", `unknown field "wieght"; did you mean "weight"?`}}},
		{"wrong case", `{"Weight":1}`, Errors{{"/Weight", `unknown field "Weight"; did you mean "weight"?`}}},
		{"empty name", `{"":1}`, Errors{{"/", `unknown field ""`}}},
		{"far off", `{"colour":1}`, Errors{{"/colour", `unknown field "colour"`}}},
		{"untagged is exact", `{"plain":"x"}`, Errors{{"/plain", `unknown field "plain"; did you mean "Plain"?`}}},
		{"hidden", `{"Hidden":"x","-":1}`, Errors{{"/Hidden", `unknown field "Hidden"`}, {"/-", `unknown field "-"`}}},
		{"unknown inside", `{"inner":{"nmae":"x"}}`, Errors{{"/inner/nmae", `unknown field "nmae"; did you mean "name"?`}}},
		{"escaped pointer", `{"a/b~c":1}`, Errors{{"/a~1b~0c", `unknown field "a/b~c"`}}},
		{"duplicate", `{"id":"a","id":"b"}`, Errors{{"/id", "occurs twice"}}},
		{"duplicate by escape", `{"id":"a","\u0069d":"b"}`, Errors{{"/id", "occurs twice"}}},
		{"duplicate inside", `{"headers":{"a":"1","a":"2"}}`, Errors{{"/headers/a", "occurs twice"}}},
		{"string for int", `{"weight":"3"}`, Errors{{"/weight", `must be an integer, got the string "3"`}}},
		{"fraction", `{"weight":1.5}`, Errors{{"/weight", "must be an integer, got 1.5"}}},
		{"exponent", `{"weight":1e99}`, Errors{{"/weight", "must be an integer, got 1e99"}}},
		{"huge", `{"weight":9223372036854775808}`, Errors{{"/weight", "must be an integer from -9223372036854775808 to 9223372036854775807, got 9223372036854775808"}}},
		{"int8", `{"small":128}`, Errors{{"/small", "must be an integer from -128 to 127, got 128"}}},
		{"uint8", `{"inner":{"rise":256}}`, Errors{{"/inner/rise", "must be an integer from 0 to 255, got 256"}}},
		{"uint8 negative", `{"inner":{"rise":-1}}`, Errors{{"/inner/rise", "must be an integer from 0 to 255, got -1"}}},
		{"float overflow", `{"factor":1e999}`, Errors{{"/factor", "must be a number that fits, got 1e999"}}},
		{"float string", `{"factor":"1"}`, Errors{{"/factor", `must be a number, got the string "1"`}}},
		{"bool", `{"on":1}`, Errors{{"/on", "must be true or false, got 1"}}},
		{"number for string", `{"id":7}`, Errors{{"/id", "must be a string, got 7"}}},
		{"bool for string", `{"id":false}`, Errors{{"/id", "must be a string, got false"}}},
		{"null for string", `{"id":null}`, Errors{{"/id", "must be a string, got null"}}},
		{"null for int", `{"weight":null}`, Errors{{"/weight", "must be an integer, got null"}}},
		{"string for list", `{"tags":"x"}`, Errors{{"/tags", `must be a list, got the string "x"`}}},
		{"element", `{"tags":["x",1,null]}`, Errors{{"/tags/1", "must be a string, got 1"}, {"/tags/2", "must be a string, got null"}}},
		{"map", `{"headers":[]}`, Errors{{"/headers", "must be an object, got a list"}}},
		{"map value", `{"headers":{"a":true}}`, Errors{{"/headers/a", "must be a string, got true"}}},
		{"struct", `{"inner":3}`, Errors{{"/inner", "must be an object, got 3"}}},
		{"duration number", `{"inner":{"every":2}}`, Errors{{"/inner/every", "must be a string, got 2"}}},
		{"duration text", `{"inner":{"every":"2 parsecs"}}`, Errors{{"/inner/every", `must be a duration such as "2s"`}}},
		{"pointer", `{"maybe":"x"}`, Errors{{"/maybe", `must be an integer, got the string "x"`}}},
		{"too deep", `{"any":` + deep + `}`, Errors{{"/any" + strings.Repeat("/0", MaxDepth-1), "nests deeper than 32 levels"}}},
		{"all at once", `{"wieght":1,"weight":"x","tags":[1],"inner":{"rise":-1},"id":"a","id":"a"}`, Errors{
			{"/id", "occurs twice"},
			{"/wieght", `unknown field "wieght"; did you mean "weight"?`},
			{"/weight", `must be an integer, got the string "x"`},
			{"/tags/0", "must be a string, got 1"},
			{"/inner/rise", "must be an integer from 0 to 255, got -1"},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var dst thing
			_, err := Decode([]byte(tt.in), &dst, Options{})
			var got Errors
			if !errors.As(err, &got) {
				t.Fatalf("Decode(%s) = %v, want Errors", tt.in, err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("Decode(%s) (-want +got)\n%s", tt.in, diff)
			}
		})
	}
}

func TestDecode_options(t *testing.T) {
	t.Parallel()
	opt := Options{Null: true, Ignored: []string{"state"}, ReadOnly: []string{"modify_index"}}
	var dst thing
	dst.Weight = 5
	doc, err := Decode([]byte(`{"weight":null,"headers":{"a":null,"b":"1"},"inner":{"name":null},"state":{"any":1}}`), &dst, opt)
	if err != nil {
		t.Fatalf("Decode = %v", err)
	}
	if dst.Weight != 5 || len(dst.Headers) != 1 || string(doc["weight"]) != "null" || doc["state"] != nil {
		t.Errorf("Decode = %+v, %q, want null to change nothing and the ignored member to be gone", dst, doc)
	}
	_, err = Decode([]byte(`{"modify_index":3,"tags":[null]}`), &dst, opt)
	want := Errors{{"/modify_index", "is read-only: lbnode sets it"}, {"/tags/0", "must be a string, got null"}}
	if diff := cmp.Diff(want, err); diff != "" {
		t.Errorf("Decode (-want +got)\n%s", diff)
	}
}

// An error keeps what was right, so that the caller can check that too.
func TestDecode_partial(t *testing.T) {
	t.Parallel()
	var dst thing
	if _, err := Decode([]byte(`{"id":"a","weight":"x","small":3}`), &dst, Options{}); err == nil || dst.ID != "a" || dst.Small != 3 {
		t.Errorf("Decode = %v, %+v, want an error and the other fields set", err, dst)
	}
}

func TestDecode_manyErrors(t *testing.T) {
	t.Parallel()
	in := `{"tags":[` + strings.Repeat("1,", 5000) + `1]}`
	var dst thing
	_, err := Decode([]byte(in), &dst, Options{})
	var got Errors
	if !errors.As(err, &got) || len(got) != maxErrors+1 || got[maxErrors].Message != "there are more errors" {
		t.Errorf("Decode of 5001 mistakes = %d errors, want %d and a note", len(got), maxErrors)
	}
}

func TestDecode_misuse(t *testing.T) {
	t.Parallel()
	n := 0
	for _, dst := range []any{nil, thing{}, &n, (*thing)(nil)} {
		if _, err := Decode([]byte(`{}`), dst, Options{}); err == nil {
			t.Errorf("Decode into %T succeeded", dst)
		}
	}
}

func TestNearest(t *testing.T) {
	t.Parallel()
	names := []string{"id", "address", "pool", "weight", "admin_state", "tags"}
	tests := []struct{ in, want string }{
		{"adminState", "admin_state"},
		{"admin-state", "admin_state"},
		{"adress", "address"},
		{"tag", "tags"},
		{"di", "id"},
		{"pools", "pool"},
		{"zzz", ""},
		{"x", ""},
		{strings.Repeat("a", 100), ""},
	}
	for _, tt := range tests {
		if got := Nearest(tt.in, names); got != tt.want {
			t.Errorf("Nearest(%q) = %q, want %q", tt.in, got, tt.want)
		}
	}
}

// Whatever comes in: no panic; every error says something; and what is taken means the same to encoding/json.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		`{}`, `{"id":"a","weight":3,"tags":["x"],"headers":{"a":"b"},"inner":{"every":"2s","rise":1},"maybe":1,"any":[[]]}`,
		`{"id":"\ud83d\ude00"}`, `{"id":"\ud83d"}`, `{"weight":1e99}`, `{"a":{"b":[`, `[1]`, `{"id":"a","id":"b"}`, "{\"\xff\":1}", strings.Repeat(`{"any":`, 40) + "1" + strings.Repeat("}", 40),
	} {
		f.Add([]byte(s), false)
		f.Add([]byte(s), true)
	}
	f.Fuzz(func(t *testing.T, data []byte, null bool) {
		var got thing
		_, err := Decode(data, &got, Options{Null: null})
		if err != nil {
			var errs Errors
			if !errors.As(err, &errs) || len(errs) == 0 {
				t.Fatalf("Decode(%q) = %v, want Errors", data, err)
			}
			for _, e := range errs {
				if e.Message == "" || e.Pointer != "" && e.Pointer[0] != '/' {
					t.Errorf("Decode(%q) reports %+v", data, e)
				}
			}
			return
		}
		var want thing
		if err := json.Unmarshal(data, &want); err != nil {
			t.Fatalf("Decode took %q, encoding/json says %v", data, err)
		}
		if null {
			return // encoding/json sets map values and pointers to zero, Decode leaves them
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(thing{}, base{})); diff != "" {
			t.Errorf("Decode(%q) differs from encoding/json (-std +ours)\n%s", data, diff)
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	var unknown strings.Builder
	unknown.WriteByte('{')
	for i := range 100_000 {
		fmt.Fprintf(&unknown, `"f%d":1,`, i)
	}
	unknown.WriteString(`"id":"a"}`)
	for _, bb := range []struct{ name, in string }{
		{"usual", `{"id":"a","weight":3,"factor":1,"tags":["x","y"],"inner":{"name":"n","every":"2s","rise":2}}`},
		{"megabyte of unknown fields", unknown.String()},
		{"megabyte of levels", strings.Repeat(`[`, 1<<20)},
	} {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			in := []byte(bb.in)
			for b.Loop() {
				var dst thing
				_, _ = Decode(in, &dst, Options{})
			}
		})
	}
}
