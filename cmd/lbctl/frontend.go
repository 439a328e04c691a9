package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/client"
)

func frontendNoun() *noun {
	return &noun{
		name: "frontend", path: "frontends", args: "ID|KEY", input: reflect.TypeFor[api.FrontendInput](),
		fields: []field{
			{flag: "id", path: "id", usage: "id; left out, it is the argument if that can be one", only: "add"},
			{flag: "key", path: "key", usage: "key; left out, it is the argument if that cannot be an id or no host is given"},
			{flag: "host", path: "hosts", typ: listField, usage: "host name, or *.suffix; repeat for several, they replace the whole list"},
			{flag: "secret", path: "secret", usage: "shared secret; it is never shown"},
			{flag: "tag", path: "required_tags", typ: listField, usage: "tag that backends must have; repeat for all of several, they replace the whole list"},
			{flag: "bbb-secret", path: "bbb.secrets", typ: listField, usage: "BigBlueButton: secret that is accepted besides --secret; repeat for several, they replace the whole list; never shown"},
			{flag: "disabled", path: "bbb.disabled", typ: toggleField, usage: "BigBlueButton: refuse every call of this tenant"},
			{flag: "account-ref", path: "bbb.account_ref", usage: "BigBlueButton: account that the tenant belongs to"},
			{flag: "presentation-url", path: "bbb.default_presentation.url", usage: "BigBlueButton: document that meetings begin with"},
			{flag: "presentation-force", path: "bbb.default_presentation.force", typ: toggleField, usage: "BigBlueButton: also if the call brings one"},
			{flag: "attendees-limit", path: "bbb.attendees_limit", typ: numberField, usage: "BigBlueButton: attendees of all meetings; 0 = no bound"},
			{flag: "create-default", path: "bbb.create_default", typ: pairsField, usage: "BigBlueButton: PARAM=VALUE where a create call has none; may be repeated"},
			{flag: "create-override", path: "bbb.create_override", typ: pairsField, usage: "BigBlueButton: PARAM=VALUE whatever a create call has; may be repeated"},
			{flag: "join-default", path: "bbb.join_default", typ: pairsField, usage: "BigBlueButton: PARAM=VALUE where a join call has none; may be repeated"},
			{flag: "join-override", path: "bbb.join_override", typ: pairsField, usage: "BigBlueButton: PARAM=VALUE whatever a join call has; may be repeated"},
			{flag: "recording-visibility", path: "bbb.recording_visibility", usage: "BigBlueButton: unpublished, published, protected, public or public_protected for every recording"},
			{flag: "meeting-quota", path: "bbb.meeting_quota", typ: numberField, usage: "BigBlueButton: meetings at a time; 0 = no bound"},
			{flag: "attendee-quota", path: "bbb.attendee_quota", typ: numberField, usage: "BigBlueButton: attendees of one meeting; 0 = no bound"},
			{flag: "max-duration", path: "bbb.max_duration", usage: "BigBlueButton: longest duration of a meeting, such as 2h; 0s = no bound"},
			{flag: "shared-ids", path: "bbb.shared_ids", typ: toggleField, usage: "BigBlueButton: send meeting ids to servers as they are"},
		},
		place:     placeFrontend,
		translate: translateTags,
		find:      findFrontend,
		describe:  textOf(describeFrontend),
		table:     tableOf(frontendColumns),
	}
}

// placeFrontend takes the argument of add as id where it can be one, and as key where it cannot or nothing
// else tells the frontend's requests.
func placeFrontend(doc map[string]any, arg string) error {
	if canBeID(arg) && doc["id"] == nil {
		doc["id"] = arg
		if doc["key"] == nil && doc["hosts"] == nil {
			doc["key"] = arg
		}
		return nil
	}
	if !put(doc, []string{"key"}, arg) {
		return usagef("the key is given twice: %q and %v", arg, doc["key"])
	}
	return nil
}

// canBeID says whether the API takes s as an id.
func canBeID(s string) bool {
	if s == "" || len(s) > 63 || s == "health" || strings.Trim(s[:1], "._-") == "" {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '.' && r != '_' && r != '-'
	})
}

// translateTags lets a frontend's required_tags be called tags, as b3scale's manual does.
func translateTags(doc map[string]any) bool {
	tags, ok := doc["tags"]
	if !ok || doc["required_tags"] != nil {
		return false
	}
	doc["required_tags"] = tags
	delete(doc, "tags")
	return true
}

// findFrontend looks for an id, then for a key.
func findFrontend(ctx context.Context, a *app, ref string) (*client.Response, error) {
	resp, notFound := a.get(ctx, client.Path("frontends", ref), nil)
	if !errors.Is(notFound, client.ErrNotFound) {
		return resp, notFound
	}
	list, err := a.get(ctx, "/frontends", nil)
	if err != nil {
		return nil, err
	}
	all, err := client.Decode[[]json.RawMessage](list)
	if err != nil {
		return nil, err
	}
	for _, raw := range all {
		one := *list
		one.Body = raw
		if h, err := client.Decode[head](&one); err == nil && h.Key == ref {
			return &one, nil
		}
	}
	return nil, notFound
}

// setMissingFrontend does set for a frontend that does not exist: it creates it, as b3scalectl does. But the
// manual's section on tags says "set frontend" with the address of a backend; where that is plainly meant,
// the backend's tags are set.
func (a *app) setMissingFrontend(ctx context.Context, n *noun, ref string, doc map[string]any, onlyTags bool) error {
	if onlyTags {
		b := backendNoun()
		_, before, err := b.lookup(ctx, a, ref)
		switch {
		case err == nil && before.ID != ref:
			a.notef("there is no frontend %q, but backend %s has this address: setting its tags, as `lbctl set backend` does", ref, before.ID)
			return a.patch(ctx, b, before, map[string]any{"tags": doc["required_tags"]})
		case err != nil && !errors.Is(err, client.ErrNotFound):
			return err
		}
	}
	if !put(doc, []string{"key"}, ref) && doc["key"] != ref {
		return usagef("there is no frontend %q; to create one with the key %v, use `lbctl add frontend`", ref, doc["key"])
	}
	if canBeID(ref) {
		doc["id"] = ref
	}
	return a.create(ctx, n, doc)
}

func frontendColumns(*app) []column[api.Frontend] {
	return []column[api.Frontend]{
		{head: "ID", cell: func(f api.Frontend) string { return f.ID }},
		{head: "KEY", cell: func(f api.Frontend) string { return f.Key }},
		{head: "HOSTS", cell: func(f api.Frontend) string { return strings.Join(f.Hosts, ",") }},
		{head: "REQUIRED-TAGS", cell: func(f api.Frontend) string { return strings.Join(f.RequiredTags, ",") }},
		{head: "SECRET", cell: func(f api.Frontend) string { return secretText(f) }},
		{head: "MODIFIED-AT", cell: func(f api.Frontend) string { return strconv.FormatUint(f.ModifyIndex, 10) }, wide: true},
	}
}

func secretText(f api.Frontend) string {
	if f.SecretSet {
		return "set"
	}
	return "none"
}

func describeFrontend(a *app, f api.Frontend) {
	facts := []fact{
		{"Frontend", f.ID},
		{"Key", f.Key},
		{"Hosts", strings.Join(f.Hosts, ", ")},
		{"Required tags", strings.Join(f.RequiredTags, ", ")},
		{"Secret", secretText(f)},
	}
	facts = append(facts, frontendBBBFacts(f)...)
	printFacts(a.stdout, append(facts, fact{"Modified at", fmt.Sprint(f.ModifyIndex)}))
}
