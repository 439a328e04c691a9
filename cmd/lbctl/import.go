package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/client"
)

func (a *app) importCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "import", Short: "Take over what another balancer has", Args: cobra.ArbitraryArgs, RunE: group}
	cmd.AddCommand(a.importB3scaleCmd())
	return cmd
}

func (a *app) importB3scaleCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "b3scale FILE...", Short: "Take over b3scale's backends and frontends", Args: cobra.ArbitraryArgs,
		Long: `Take over b3scale's backends and frontends, in one change, from what its own tool prints:

  b3scalectl show --json backends  > backends.json
  b3scalectl show --json frontends > frontends.json
  lbctl import b3scale --dry backends.json frontends.json
  lbctl import b3scale backends.json frontends.json

Ids, keys and secrets stay, so that clients notice nothing. Backends get into a pool of BigBlueButton servers, which is
made if it is not there. With --dry the plan is printed and nothing changed. What is already so is not touched, and the
admin state of a backend that is there stays, so that the import can be repeated. The files hold secrets.`,
	}
	pool := cmd.Flags().String("pool", "bbb", "pool of the backends")
	cmd.RunE = func(cmd *cobra.Command, files []string) error {
		if len(files) == 0 {
			return usagef("%s needs the files that `b3scalectl show --json backends` and `... frontends` made; - is standard input", cmd.CommandPath())
		}
		return a.importB3scale(cmd, files, *pool)
	}
	return cmd
}

// b3Object is a backend or a frontend as b3scale's API shows it; which one, says its bbb.
type b3Object struct {
	ID  string `json:"id"`
	BBB struct {
		Host   string `json:"host"`
		Key    string `json:"key"`
		Secret string `json:"secret"`
	} `json:"bbb"`
	AdminState string     `json:"admin_state"`
	LoadFactor float64    `json:"load_factor"`
	AgentRef   *string    `json:"agent_ref"`
	Active     *bool      `json:"active"`
	AccountRef *string    `json:"account_ref"`
	Settings   b3Settings `json:"settings"`
}

type b3Settings struct {
	Tags                []string             `json:"tags"`
	RequiredTags        []string             `json:"required_tags"`
	DefaultPresentation *api.Presentation    `json:"default_presentation"`
	AttendeesLimit      *struct{ Limit int } `json:"attendees_limit"`
	CreateDefault       map[string]string    `json:"create_default_params"`
	CreateOverride      map[string]string    `json:"create_override_params"`
	JoinDefault         map[string]string    `json:"join_default_params"`
	JoinOverride        map[string]string    `json:"join_override_params"`
	Recordings          *struct {
		Visibility *string `json:"visibility_override"`
	} `json:"recordings"`
}

// parseB3scale reads what b3scalectl printed. It says on standard output which settings it uses; that is skipped.
func parseB3scale(text string) ([]b3Object, error) {
	start := strings.IndexByte(text, '[')
	if start < 0 {
		return nil, fmt.Errorf("there is no JSON list: is it the output of `b3scalectl show --json backends` or `... frontends`?")
	}
	var out []b3Object
	if err := json.NewDecoder(bytes.NewReader([]byte(text[start:]))).Decode(&out); err != nil {
		return nil, err
	}
	for i, o := range out {
		if (o.BBB.Host == "") == (o.BBB.Key == "") {
			return nil, fmt.Errorf("object %d (%s) is neither a backend nor a frontend of b3scale", i, o.ID)
		}
	}
	return out, nil
}

// existing is what the cluster has, by what tells b3scale's objects apart.
type existing struct {
	backends  map[string]string // id by address
	frontends map[string]string // id by key
}

func addressOf(s string) string { return strings.TrimRight(strings.ToLower(s), "/") }

// document is what b3scale's objects are here, for /apply.
func (e existing) document(objects []b3Object, pool string) (doc map[string]any, notes []string) {
	backends, frontends := []any{}, []any{}
	for _, o := range objects {
		if o.BBB.Key != "" {
			frontends = append(frontends, e.frontend(o))
			continue
		}
		b, note := e.backend(o, pool)
		backends = append(backends, b)
		if note != "" {
			notes = append(notes, note)
		}
	}
	doc = map[string]any{"backends": backends, "frontends": frontends}
	if len(backends) > 0 {
		doc["pools"] = []any{map[string]any{"id": pool, "health": map[string]any{"type": "bbb"}}}
	}
	return doc, notes
}

func (e existing) backend(o b3Object, pool string) (b map[string]any, note string) {
	bbb := map[string]any{"secrets": []string{o.BBB.Secret}}
	if o.AgentRef != nil {
		bbb["agent_ref"] = *o.AgentRef
	}
	b = map[string]any{"id": strings.ToLower(o.ID), "address": o.BBB.Host, "pool": pool, "load_factor": o.LoadFactor, "bbb": bbb}
	if o.LoadFactor <= 0 {
		b["load_factor"] = 1
	}
	if len(o.Settings.Tags) > 0 {
		b["tags"] = o.Settings.Tags
	}
	if id, ok := e.backends[addressOf(o.BBB.Host)]; ok {
		b["id"] = id
		return b, ""
	}
	switch o.AdminState {
	case "ready", "stopped", "init":
		b["admin_state"] = o.AdminState
	default: // decommissioned there: it is not to be lost here before somebody has looked
		b["admin_state"] = "stopped"
		note = fmt.Sprintf("%s is %q in b3scale and gets stopped here", o.BBB.Host, o.AdminState)
	}
	return b, note
}

func (e existing) frontend(o b3Object) map[string]any {
	s := o.Settings
	bbb := map[string]any{}
	set := func(key string, v any, ok bool) {
		if ok {
			bbb[key] = v
		}
	}
	set("disabled", true, o.Active != nil && !*o.Active)
	set("default_presentation", s.DefaultPresentation, s.DefaultPresentation != nil && s.DefaultPresentation.URL != "")
	set("create_default", s.CreateDefault, len(s.CreateDefault) > 0)
	set("create_override", s.CreateOverride, len(s.CreateOverride) > 0)
	set("join_default", s.JoinDefault, len(s.JoinDefault) > 0)
	set("join_override", s.JoinOverride, len(s.JoinOverride) > 0)
	if o.AccountRef != nil {
		set("account_ref", *o.AccountRef, *o.AccountRef != "")
	}
	if s.AttendeesLimit != nil {
		set("attendees_limit", s.AttendeesLimit.Limit, s.AttendeesLimit.Limit > 0)
	}
	if s.Recordings != nil && s.Recordings.Visibility != nil {
		set("recording_visibility", *s.Recordings.Visibility, *s.Recordings.Visibility != "")
	}
	f := map[string]any{"id": strings.ToLower(o.ID), "key": o.BBB.Key, "secret": o.BBB.Secret, "bbb": bbb}
	if len(s.RequiredTags) > 0 {
		f["required_tags"] = s.RequiredTags
	}
	if id, ok := e.frontends[o.BBB.Key]; ok {
		f["id"] = id
	}
	return f
}

func (a *app) importB3scale(cmd *cobra.Command, files []string, pool string) error {
	var objects []b3Object
	for _, file := range files {
		text, err := a.readFile(file)
		if err != nil {
			return err
		}
		more, err := parseB3scale(text)
		if err != nil {
			return invalidError(fmt.Sprintf("%s: %s", file, err))
		}
		objects = append(objects, more...)
	}
	q := url.Values{}
	if a.dry { // the request would show secrets; the plan does not
		a.dry = false
		q.Set("dry_run", "true")
	}
	c, err := a.connect()
	if err != nil {
		return err
	}
	have := existing{map[string]string{}, map[string]string{}}
	for b, err := range c.Backends().All(cmd.Context(), api.MaxLimit) {
		if err != nil {
			return err
		}
		if b.Pool == pool {
			have.backends[addressOf(b.Address)] = b.ID
		}
	}
	for f, err := range c.Frontends().All(cmd.Context(), api.MaxLimit) {
		if err != nil {
			return err
		}
		if f.Key != "" {
			have.frontends[f.Key] = f.ID
		}
	}
	doc, notes := have.document(objects, pool)
	body, err := json.Marshal(doc)
	if err != nil {
		return err
	}
	for _, n := range notes {
		a.notef("%s", clean(n))
	}
	resp, err := a.do(cmd.Context(), client.Request{Method: http.MethodPost, Path: "/apply", Query: q, Body: body})
	if err != nil {
		return err
	}
	return a.saidApply(resp)
}
