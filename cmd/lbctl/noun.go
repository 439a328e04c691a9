package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"reflect"

	"github.com/spf13/cobra"

	"github.com/lbnode/lbnode/client"
)

// noun is a kind of object that operators add, set, show and delete.
type noun struct {
	name, path string       // singular, and plural as in the API's path
	args       string       // what add takes, for the usage
	input      reflect.Type // what can be set
	fields     []field
	filters    []field // of show, as parameters of the API

	// place puts what add was given beside flags into the document; nil = add takes nothing.
	place func(doc map[string]any, arg string) error
	// translate changes names that other tools use, and says if it did; nil = none.
	translate func(doc map[string]any) bool
	// find is used instead of the API's own look-up, and returns an object; nil = none.
	find func(ctx context.Context, a *app, ref string) (*client.Response, error)

	list     func(a *app, body []byte) error // a list for people; nil = as a table
	describe func(a *app, body []byte) error // one object for people
	table    func(a *app, body []byte) error // a list as a table
}

// nouns are the kinds of objects, in the order of the help.
func (a *app) nouns() []*noun {
	return []*noun{backendNoun(), poolNoun(), routeNoun(), frontendNoun(), certificateNoun()}
}

// command is the command of this noun below a verb.
func (n *noun) command(short, args string) *cobra.Command {
	use := n.name
	if args != "" {
		use += " " + args
	}
	return &cobra.Command{Use: use, Aliases: []string{n.path}, Short: short, Args: cobra.ArbitraryArgs}
}

// head is what lbctl itself needs of an object.
type head struct {
	ID          string `json:"id"`
	Address     string `json:"address"`
	Key         string `json:"key"`
	AdminState  string `json:"admin_state"`
	InFlight    int64  `json:"in_flight"`
	ModifyIndex uint64 `json:"modify_index"`
}

// do makes one request. A write with --dry is printed instead, and the error is errDry.
func (a *app) do(ctx context.Context, r client.Request) (*client.Response, error) {
	c, err := a.connect()
	if err != nil {
		return nil, err
	}
	if r.Method != http.MethodGet {
		if a.dry {
			return nil, a.printDry(r)
		}
		r.Key = a.requestID
	}
	return c.Do(ctx, r)
}

func (a *app) printDry(r client.Request) error {
	query := ""
	if len(r.Query) > 0 {
		query = "?" + r.Query.Encode()
	}
	fmt.Fprintf(a.stdout, "%s %s%s\n", r.Method, r.Path, query)
	if len(r.Body) > 0 {
		if err := printJSON(a.stdout, r.Body); err != nil {
			return err
		}
	}
	return errDry
}

func (a *app) get(ctx context.Context, path string, query url.Values) (*client.Response, error) {
	return a.do(ctx, client.Request{Method: http.MethodGet, Path: path, Query: query})
}

// send makes one request with a JSON document.
func (a *app) send(ctx context.Context, method, path string, doc map[string]any) (*client.Response, error) {
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	if err := e.Encode(doc); err != nil {
		return nil, fmt.Errorf("encode the request: %w", err)
	}
	return a.do(ctx, client.Request{Method: method, Path: path, Body: bytes.TrimSpace(buf.Bytes())})
}

// lookup returns one object.
func (n *noun) lookup(ctx context.Context, a *app, ref string) (*client.Response, head, error) {
	find := n.find
	if find == nil {
		find = n.getByPath
	}
	resp, err := find(ctx, a, ref)
	if err != nil {
		return nil, head{}, err
	}
	h, err := client.Decode[head](resp)
	return resp, h, err
}

func (n *noun) getByPath(ctx context.Context, a *app, ref string) (*client.Response, error) {
	return a.get(ctx, client.Path(n.path, ref), nil)
}

// result prints what a change made of an object: text for people, or the object in the format of -o.
func (a *app) result(n *noun, body []byte, text string) error {
	if a.output == "" || len(body) == 0 {
		fmt.Fprintln(a.stdout, clean(text))
		return nil
	}
	return a.emit(n, body)
}

// emit prints one object or a list in the format of -o.
func (a *app) emit(n *noun, body []byte) error {
	one := !bytes.HasPrefix(bytes.TrimSpace(body), []byte("["))
	all := body
	if one {
		all = asList(body)
	}
	switch a.output {
	case formatJSON:
		return printJSON(a.stdout, body)
	case formatYAML:
		return printYAML(a.stdout, body)
	case formatName:
		return printIDs(a.stdout, all)
	case formatTable, formatWide:
		return n.table(a, all)
	}
	switch {
	case one:
		return n.describe(a, body)
	case n.list != nil:
		return n.list(a, body)
	}
	return n.table(a, body)
}

func asList(objects ...[]byte) []byte {
	return append(append([]byte("["), bytes.Join(objects, []byte(","))...), ']')
}

func printIDs(w io.Writer, list []byte) error {
	var heads []head
	if err := json.Unmarshal(list, &heads); err != nil {
		return fmt.Errorf("decode the answer: %w", err)
	}
	for _, h := range heads {
		fmt.Fprintln(w, clean(h.ID))
	}
	return nil
}

// tableOf prints a list of T with these columns.
func tableOf[T any](columns func(*app) []column[T]) func(*app, []byte) error {
	return func(a *app, body []byte) error {
		var items []T
		if err := json.Unmarshal(body, &items); err != nil {
			return fmt.Errorf("decode the answer: %w", err)
		}
		printTable(a.stdout, columns(a), items, a.output == formatWide)
		return nil
	}
}

// textOf prints what a body decodes to.
func textOf[T any](write func(*app, T)) func(*app, []byte) error {
	return func(a *app, body []byte) error {
		var v T
		if err := json.Unmarshal(body, &v); err != nil {
			return fmt.Errorf("decode the answer: %w", err)
		}
		write(a, v)
		return nil
	}
}

// each runs something for several objects, each for itself.
func each(refs []string, f func(ref string) error) error {
	var all multiError
	for _, ref := range refs {
		all = append(all, f(ref))
	}
	if len(all) == 1 {
		return all[0]
	}
	if errors.Join(all...) == nil {
		return nil
	}
	return all
}
