package strictjson

import (
	"encoding"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Options say what Decode lets pass.
type Options struct {
	// Null lets members of objects be null, as a merge patch needs it. Elements of lists may never be.
	Null bool
	// Ignored names members of the document's top level that are no fields of the struct and are skipped.
	Ignored []string
	// ReadOnly names members of the document's top level that must not be there, although they exist.
	ReadOnly []string
}

// Decode reads a JSON object into the struct that dst points to and returns the members of its top level that
// are fields of the struct, as written. Fields that the document does not name stay as they are. The error
// is an [Errors]; then dst holds what was right.
func Decode(data []byte, dst any, opt Options) (map[string]json.RawMessage, error) {
	rv := reflect.ValueOf(dst)
	if rv.Kind() != reflect.Pointer || rv.IsNil() || rv.Elem().Kind() != reflect.Struct {
		return nil, fmt.Errorf("strictjson: decode into %T, want a pointer to a struct", dst)
	}
	d := decoder{opt: opt}
	v, ok := parse(data, &d.report)
	if !ok {
		return nil, d.errs
	}
	if v.kind != kindObject {
		d.add("", "must be a JSON object, got %s", v.describe())
		return nil, d.errs
	}
	doc := d.top(v, rv.Elem())
	if len(d.errs) > 0 {
		return doc, d.errs
	}
	return doc, nil
}

type decoder struct {
	report
	opt Options
}

// top is object for the top level.
func (d *decoder) top(v value, rv reflect.Value) map[string]json.RawMessage {
	doc := make(map[string]json.RawMessage, len(v.members))
	rest := value{kind: kindObject}
	for _, m := range v.members {
		switch {
		case slices.Contains(d.opt.Ignored, m.name):
		case slices.Contains(d.opt.ReadOnly, m.name):
			d.add("/"+Escape(m.name), "is read-only: lbnode sets it")
		default:
			rest.members = append(rest.members, m)
			doc[m.name] = json.RawMessage(m.value.raw)
		}
	}
	d.object(rest, rv, "")
	return doc
}

// object fills a struct.
func (d *decoder) object(v value, rv reflect.Value, pointer string) {
	fields := reflect.VisibleFields(rv.Type())
	for _, m := range v.members {
		if d.full { // looking for suggestions is not free
			return
		}
		at := pointer + "/" + Escape(m.name)
		i := slices.IndexFunc(fields, func(f reflect.StructField) bool { return m.name != "" && jsonName(f) == m.name })
		if i < 0 {
			d.add(at, "unknown field %q%s", shorten(m.name), didYouMean(m.name, fields))
			continue
		}
		field, err := rv.FieldByIndexErr(fields[i].Index)
		if err != nil {
			d.add(at, "cannot be set")
			continue
		}
		if m.value.kind == kindNull && d.opt.Null {
			continue
		}
		d.value(m.value, field, at)
	}
}

// jsonName is the name of a field in JSON, "" for none.
func jsonName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	if name == "-" || !f.IsExported() || f.Anonymous && name == "" {
		return ""
	}
	if name == "" {
		return f.Name
	}
	return name
}

func (d *decoder) value(v value, rv reflect.Value, pointer string) {
	if u, ok := rv.Addr().Interface().(encoding.TextUnmarshaler); ok {
		if v.kind != kindString {
			d.wrong(v, pointer, "a string")
		} else if err := u.UnmarshalText([]byte(v.str)); err != nil {
			d.add(pointer, "%s", err)
		}
		return
	}
	switch rv.Kind() {
	case reflect.String:
		if v.kind != kindString {
			d.wrong(v, pointer, "a string")
			return
		}
		rv.SetString(v.str)
	case reflect.Bool:
		if v.kind != kindBool {
			d.wrong(v, pointer, "true or false")
			return
		}
		rv.SetBool(v.raw[0] == 't')
	case reflect.Struct:
		if v.kind != kindObject {
			d.wrong(v, pointer, "an object")
			return
		}
		d.object(v, rv, pointer)
	case reflect.Slice:
		d.slice(v, rv, pointer)
	case reflect.Map:
		d.dict(v, rv, pointer)
	case reflect.Pointer:
		p := reflect.New(rv.Type().Elem())
		d.value(v, p.Elem(), pointer)
		rv.Set(p)
	default:
		d.number(v, rv, pointer)
	}
}

func (d *decoder) wrong(v value, pointer, want string) {
	got := v.describe()
	if strings.Contains(pointer, "/secret") && (v.kind == kindString || v.kind == kindNumber) {
		got = "something else" // which may be one, in the wrong place, and answers show none
	}
	d.add(pointer, "must be %s, got %s", want, got)
}

func (d *decoder) slice(v value, rv reflect.Value, pointer string) {
	if rv.Type() == reflect.TypeFor[json.RawMessage]() {
		rv.SetBytes(slices.Clone(v.raw))
		return
	}
	if v.kind != kindList {
		d.wrong(v, pointer, "a list")
		return
	}
	out := reflect.MakeSlice(rv.Type(), len(v.list), len(v.list))
	for i, e := range v.list {
		d.value(e, out.Index(i), pointer+"/"+strconv.Itoa(i))
	}
	rv.Set(out)
}

// dict fills a map with string keys.
func (d *decoder) dict(v value, rv reflect.Value, pointer string) {
	if v.kind != kindObject {
		d.wrong(v, pointer, "an object")
		return
	}
	out := reflect.MakeMapWithSize(rv.Type(), len(v.members))
	for _, m := range v.members {
		if m.value.kind == kindNull && d.opt.Null {
			continue
		}
		e := reflect.New(rv.Type().Elem()).Elem()
		d.value(m.value, e, pointer+"/"+Escape(m.name))
		out.SetMapIndex(reflect.ValueOf(m.name).Convert(rv.Type().Key()), e)
	}
	rv.Set(out)
}

func (d *decoder) number(v value, rv reflect.Value, pointer string) {
	text := string(v.raw)
	switch {
	case rv.CanInt():
		bits := rv.Type().Bits()
		if !d.integer(v, pointer) {
			return
		}
		n, err := strconv.ParseInt(text, 10, bits)
		if err != nil {
			d.add(pointer, "must be an integer from %d to %d, got %s", int64(math.MinInt64)>>(64-bits), int64(math.MaxInt64)>>(64-bits), v.describe())
			return
		}
		rv.SetInt(n)
	case rv.CanUint():
		bits := rv.Type().Bits()
		if !d.integer(v, pointer) {
			return
		}
		n, err := strconv.ParseUint(text, 10, bits)
		if err != nil {
			d.add(pointer, "must be an integer from 0 to %d, got %s", uint64(math.MaxUint64)>>(64-bits), v.describe())
			return
		}
		rv.SetUint(n)
	case rv.CanFloat():
		if v.kind != kindNumber {
			d.wrong(v, pointer, "a number")
			return
		}
		f, err := strconv.ParseFloat(text, rv.Type().Bits())
		if err != nil {
			d.add(pointer, "must be a number that fits, got %s", v.describe())
			return
		}
		rv.SetFloat(f)
	default:
		d.add(pointer, "cannot be read: lbnode has no text form for %s", rv.Type())
	}
}

// integer takes digits only: 1.0 and 1e2 are numbers whose writer had something else in mind.
func (d *decoder) integer(v value, pointer string) bool {
	if v.kind != kindNumber || strings.ContainsAny(string(v.raw), ".eE") {
		d.wrong(v, pointer, "an integer")
		return false
	}
	return true
}
