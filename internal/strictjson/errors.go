package strictjson

import (
	"fmt"
	"strings"
)

// Error is one thing that is wrong.
type Error struct {
	Pointer string // RFC 6901; "" = the whole document
	Message string
}

// Errors is everything that is wrong, in the order of the document; never empty as an error.
type Errors []Error

// Error implements error.
func (e Errors) Error() string {
	parts := make([]string, len(e))
	for i, x := range e {
		parts[i] = strings.TrimSpace(x.Pointer + " " + x.Message)
	}
	return strings.Join(parts, "; ")
}

// maxErrors bounds the answer to a document that is wrong all over.
const maxErrors = 100

// report collects errors up to maxErrors.
type report struct {
	errs Errors
	full bool
}

func (r *report) add(pointer, format string, args ...any) {
	if len(r.errs) >= maxErrors {
		if !r.full {
			r.full = true
			r.errs = append(r.errs, Error{"", "there are more errors"})
		}
		return
	}
	r.errs = append(r.errs, Error{pointer, fmt.Sprintf(format, args...)})
}

// Escape writes a name as a segment of a JSON Pointer (RFC 6901 §3).
func Escape(name string) string {
	if !strings.ContainsAny(name, "~/") { // nearly always: making a replacer costs more than the rest
		return name
	}
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
}
