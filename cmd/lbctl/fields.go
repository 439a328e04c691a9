package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lbnode/lbnode/api"
)

// field is a flag that stands for a field of an object.
type field struct {
	flag, path string // path is that of the field in the JSON, with dots
	typ        fieldType
	usage      string
	only       string // the verb that alone has it; "" = add and set
}

type fieldType int

const (
	textField    fieldType = iota
	numberField            // an integer
	decimalField           // a number
	listField              // the whole list; may be repeated
	sharesField            // POOL=WEIGHT; may be repeated
	pairsField             // K=V, or K for "must be there"; may be repeated
	toggleField            // true or false
	fileField              // the path of a file with the value
)

// register adds the flags of an object's fields to a command, and -j.
func register(cmd *cobra.Command, verb string, fields []field) {
	f := cmd.Flags()
	f.StringP("opts", "j", "", "the fields as JSON, or @FILE, or - for standard input; null = the default")
	for _, fd := range fields {
		if fd.only != "" && fd.only != verb {
			continue
		}
		switch fd.typ {
		case textField, fileField:
			f.String(fd.flag, "", fd.usage)
		case numberField:
			f.Int(fd.flag, 0, fd.usage)
		case decimalField:
			f.Float64(fd.flag, 0, fd.usage)
		case listField:
			f.StringSlice(fd.flag, nil, fd.usage)
		case pairsField, sharesField:
			f.StringArray(fd.flag, nil, fd.usage)
		case toggleField:
			f.Bool(fd.flag, false, fd.usage)
		}
	}
}

// origin is what a document was made of.
type origin struct {
	flags   bool // flags had a part in it
	renamed bool // noun.translate had
}

// document is the JSON object that -j and the flags of a command make.
func (a *app) document(cmd *cobra.Command, n *noun) (doc map[string]any, from origin, err error) {
	doc = map[string]any{}
	if cmd.Flags().Changed("opts") {
		text, _ := cmd.Flags().GetString("opts") // it is registered
		if doc, err = a.parseOpts(text); err != nil {
			return nil, from, err
		}
	}
	if n.translate != nil {
		from.renamed = n.translate(doc)
	}
	if err := n.checkNames(doc); err != nil {
		return nil, from, err
	}
	for _, fd := range n.fields {
		if !cmd.Flags().Changed(fd.flag) {
			continue
		}
		v, err := a.value(cmd, fd)
		if err != nil {
			return nil, from, err
		}
		if !put(doc, strings.Split(fd.path, "."), v) {
			return nil, from, usagef("--%s and -j both set %s", fd.flag, pointer(fd.path))
		}
		from.flags = true
	}
	return doc, from, nil
}

func pointer(path string) string { return "/" + strings.ReplaceAll(path, ".", "/") }

// value reads the flag of a field.
func (a *app) value(cmd *cobra.Command, fd field) (any, error) {
	f := cmd.Flags()
	switch fd.typ {
	case numberField:
		return f.GetInt(fd.flag)
	case decimalField:
		return f.GetFloat64(fd.flag)
	case listField:
		v, err := f.GetStringSlice(fd.flag)
		return slices.DeleteFunc(v, func(s string) bool { return s == "" }), err // --tag "" empties the list
	case toggleField:
		return f.GetBool(fd.flag)
	case sharesField:
		return shares(cmd, fd.flag)
	case pairsField:
		pairs, err := f.GetStringArray(fd.flag)
		m := map[string]any{}
		for _, p := range pairs {
			k, v, found := strings.Cut(p, "=")
			if k == "" {
				return nil, usagef("--%s needs NAME=VALUE, got %q", fd.flag, p)
			}
			if m[k] = v; !found {
				m[k] = "*"
			}
		}
		return m, err
	case fileField:
		path, err := f.GetString(fd.flag)
		if err != nil {
			return nil, err
		}
		return a.readFile(path)
	case textField:
	}
	return f.GetString(fd.flag)
}

// put sets a field of nested objects. It says false if it is set.
func put(doc map[string]any, path []string, v any) bool {
	if len(path) == 1 {
		if _, there := doc[path[0]]; there {
			return false
		}
		doc[path[0]] = v
		return true
	}
	below, isObject := doc[path[0]].(map[string]any)
	if _, there := doc[path[0]]; there && !isObject {
		return false
	}
	if below == nil {
		below = map[string]any{}
		doc[path[0]] = below
	}
	return put(below, path[1:], v)
}

// parseOpts reads the value of -j.
func (a *app) parseOpts(s string) (map[string]any, error) {
	if file, ok := strings.CutPrefix(strings.TrimSpace(s), "@"); ok || s == "-" {
		if s == "-" {
			file = "-"
		}
		var err error
		if s, err = a.readFile(file); err != nil {
			return nil, err
		}
	}
	var v any
	d := json.NewDecoder(strings.NewReader(s))
	d.UseNumber() // as it was typed
	err := d.Decode(&v)
	if err == nil {
		if _, more := d.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("there is something behind the object")
		}
	}
	if err != nil {
		return nil, invalidError(fmt.Sprintf("-j is no JSON: %s; write it in single quotes: -j '{\"weight\":2}'", err))
	}
	doc, ok := v.(map[string]any)
	if !ok {
		return nil, invalidError(`-j must be a JSON object, such as '{"weight":2}'`)
	}
	return doc, nil
}

func (a *app) readFile(path string) (string, error) {
	in := a.stdin
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return "", err
		}
		defer f.Close()
		in = f
	}
	b, err := io.ReadAll(io.LimitReader(in, api.MaxBody+1))
	switch {
	case err != nil:
		return "", fmt.Errorf("read %s: %w", path, err)
	case len(b) > api.MaxBody:
		return "", fmt.Errorf("read %s: it is over 1 MiB", path)
	}
	return string(b), nil
}

// checkNames refuses fields that the object does not have. What is below them the API checks.
func (n *noun) checkNames(doc map[string]any) error {
	known := jsonNames(n.input)
	var errs []api.FieldError
	for _, name := range sortedKeys(doc) {
		if !slices.Contains(known, name) {
			errs = append(errs, api.FieldError{
				Pointer: "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(name),
				Message: fmt.Sprintf("is no field that can be set; a %s has %s", n.name, strings.Join(known, ", ")),
			})
		}
	}
	if len(errs) > 0 {
		return invalidError("-j is not valid", errs...)
	}
	return nil
}

func jsonNames(t reflect.Type) []string {
	var names []string
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		names = append(names, name)
	}
	return names
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
