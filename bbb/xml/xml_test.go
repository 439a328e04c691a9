package xml

import (
	stdxml "encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
)

const info = `<?xml version="1.0"?>
<!-- as it comes -->
<response>
  <returncode>SUCCESS</returncode>
  <meetingName><![CDATA[A & B <3]]></meetingName><meetingID>x&amp;y&#x41;</meetingID>
  <newField lang='de'>  kept  </newField><empty/><empty2 a="1" />
  <attendees><attendee><userID>u1</userID><customdata><k:v>1</k:v></customdata></attendee></attendees>
</response>
`

func TestRewrite(t *testing.T) {
	t.Parallel()
	same, err := Rewrite([]byte(info), func([]string, string) (string, bool) { return "", false })
	if err != nil || string(same) != info {
		t.Errorf("Rewrite without replacements = %s, %v", same, err)
	}
	got, err := Rewrite([]byte(info), func(path []string, text string) (string, bool) {
		switch strings.Join(path, "/") {
		case "response/meetingName":
			return text + "!", true
		case "response/meetingID":
			return "<" + text + ">", true
		case "response/empty2":
			return "now", true
		}
		return "", false
	})
	want := strings.NewReplacer("A & B <3]]>", "A & B <3!]]>", "x&amp;y&#x41;", "&lt;x&amp;yA&gt;", `<empty2 a="1" />`, `<empty2 a="1" >now</empty2>`).Replace(info)
	if err != nil || string(got) != want {
		t.Errorf("Rewrite = %s, %v, want %s", got, err, want)
	}
}

func TestText(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ path, want string }{
		{"response/returncode", "SUCCESS"},
		{"response/meetingName", "A & B <3"},
		{"response/meetingID", "x&yA"},
		{"response/newField", "kept"},
		{"response/empty", ""},
		{"response/attendees/attendee/userID", "u1"},
	} {
		if got, ok := Text([]byte(info), strings.Split(c.path, "/")...); !ok || got != c.want {
			t.Errorf("Text(%s) = %q, %v, want %q", c.path, got, ok, c.want)
		}
	}
	if got, ok := Text([]byte(info), "response", "attendees"); ok {
		t.Errorf("Text of an element with elements = %q", got)
	}
}

func TestOutcomeOf(t *testing.T) {
	t.Parallel()
	for doc, want := range map[string]Outcome{
		string(Answer()): {OK: true},
		string(Answer(Field{Name: "running", Text: "false"}, Field{Name: "x"})):                      {OK: true},
		string(Failed(KeyNotFound, "no <such> meeting")):                                             {Key: "notFound", Message: "no <such> meeting"},
		"<response><a><returncode>SUCCESS</returncode></a><returncode>ERROR</returncode></response>": {},
	} {
		if got, err := OutcomeOf([]byte(doc)); err != nil || got != want {
			t.Errorf("OutcomeOf(%s) = %+v, %v, want %+v", doc, got, err, want)
		}
	}
}

func TestWalk_refuses(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat("<a>", MaxDepth+1) + strings.Repeat("</a>", MaxDepth+1)
	for doc, want := range map[string]error{
		"":                  ErrMalformed,
		"text":              ErrMalformed,
		"<a>":               ErrMalformed,
		"<a></b>":           ErrMalformed,
		"</a>":              ErrMalformed,
		"<a/><b/>":          ErrMalformed,
		"<a/>x":             ErrMalformed,
		"<a x=1/>":          ErrMalformed,
		"<a x='1'y='2'/>":   ErrMalformed,
		"<a x/>":            ErrMalformed,
		"<a>&nbsp;</a>":     ErrMalformed,
		"<a>a & b</a>":      ErrMalformed,
		"<a>&#0;</a>":       ErrMalformed,
		"<a>&#xD800;</a>":   ErrMalformed,
		"<a><![CDATA[x</a>": ErrMalformed,
		"<!-- x":            ErrMalformed,
		"<!DOCTYPE a [<!ENTITY x SYSTEM \"file:///etc/passwd\">]><a>&x;</a>": ErrMalformed,
		"<1/>":                          ErrMalformed,
		"<":                             ErrMalformed,
		"<a":                            ErrMalformed,
		deep:                            ErrTooLarge,
		"<html><body>502</body></html>": ErrMalformed, // as an answer
	} {
		if _, err := OutcomeOf([]byte(doc)); !errors.Is(err, want) {
			t.Errorf("OutcomeOf(%.60s) = %v, want %v", doc, err, want)
		}
	}
}

func FuzzRewrite(f *testing.F) {
	f.Add([]byte(info))
	f.Add([]byte("\xef\xbb\xbf<a>&#65;<b/><![CDATA[]]></a>"))
	f.Add([]byte("<a x='>'><b></b ></a>"))
	f.Fuzz(func(t *testing.T, doc []byte) {
		n := 0
		same, err := Rewrite(doc, func([]string, string) (string, bool) { n++; return "", false })
		if err != nil {
			return
		}
		if string(same) != string(doc) {
			t.Fatalf("Rewrite(%q) without replacements = %q", doc, same)
		}
		// All leaves replaced: it is still well-formed, with the same leaves, which have the new text.
		next, err := Rewrite(doc, func([]string, string) (string, bool) { return "<&]]>\x00", true })
		if err != nil {
			t.Fatal(err)
		}
		m := 0
		if err := Walk(next, func(e *Element) error {
			if e.Leaf {
				m++
				if got, want := e.Text(), "<&]]>\uFFFD"; got != want {
					t.Fatalf("text of %v in %q = %q, want %q", e.Path, next, got, want)
				}
			}
			return nil
		}); err != nil || m != n {
			t.Fatalf("Walk(%q) = %d leaves, %v, want %d", next, m, err, n)
		}
	})
}

// What the standard library takes strictly, we take too, and see the same text, but for documents that it reads
// beyond one root or with a document type.
func FuzzWalk_asStandard(f *testing.F) {
	f.Add([]byte(info))
	f.Add([]byte("<a>&#65;<b/><![CDATA[]]></a>"))
	f.Fuzz(func(t *testing.T, doc []byte) {
		d := stdxml.NewDecoder(strings.NewReader(string(doc)))
		depth, roots, deepest := 0, 0, 0
		var all strings.Builder
		for {
			tok, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return
			}
			switch x := tok.(type) {
			case stdxml.StartElement:
				if depth == 0 {
					roots++
				}
				depth++
				deepest = max(deepest, depth)
			case stdxml.EndElement:
				depth--
			case stdxml.CharData:
				if depth == 0 && strings.TrimSpace(string(x)) != "" {
					return
				}
				all.Write(x)
			case stdxml.Directive:
				return
			}
		}
		if roots != 1 || deepest > MaxDepth {
			return
		}
		var got string
		if err := Walk(doc, func(e *Element) error {
			if len(e.Path) == 1 && e.Leaf {
				got = text(e.Inner)
			}
			return nil
		}); err != nil {
			t.Fatalf("Walk(%q) = %v, the standard library reads it", doc, err)
		}
		if deepest == 1 && strings.TrimSpace(strings.ReplaceAll(got, "\r\n", "\n")) != strings.TrimSpace(all.String()) && !strings.Contains(got, "\r") {
			t.Fatalf("text of %q = %q, want %q", doc, got, all.String())
		}
	})
}

func BenchmarkWalk(b *testing.B) {
	doc := []byte("<response><returncode>SUCCESS</returncode><meetings>" + strings.Repeat("<meeting><meetingID>abc</meetingID><attendees><attendee><userID>u1</userID><fullName>A B</fullName></attendee></attendees></meeting>", 1000) + "</meetings></response>")
	b.SetBytes(int64(len(doc)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := OutcomeOf(doc); err != nil {
			b.Fatal(err)
		}
	}
}
