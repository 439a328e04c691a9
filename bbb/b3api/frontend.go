package b3api

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/lbnode/lbnode/state"
)

// frontend is a tenant as b3scale shows it. Every key is there in every answer.
type frontend struct {
	ID         string           `json:"id"`
	Active     bool             `json:"active"`
	BBB        frontendBBB      `json:"bbb"`
	Settings   frontendSettings `json:"settings"`
	AccountRef *string          `json:"account_ref"`
	CreatedAt  time.Time        `json:"created_at"`
	UpdatedAt  time.Time        `json:"updated_at"`
}

type frontendBBB struct {
	Key    string `json:"key"`
	Secret string `json:"secret"`
}

type frontendSettings struct {
	RequiredTags        []string             `json:"required_tags"`
	DefaultPresentation *presentation        `json:"default_presentation"`
	AttendeesLimit      *attendeesLimit      `json:"attendees_limit"`
	CreateDefault       map[string]string    `json:"create_default_params"`
	CreateOverride      map[string]string    `json:"create_override_params"`
	JoinDefault         map[string]string    `json:"join_default_params"`
	JoinOverride        map[string]string    `json:"join_override_params"`
	Recordings          *recordingVisibility `json:"recordings"`
}

type presentation struct {
	URL   string `json:"url"`
	Force bool   `json:"force"`
}

type attendeesLimit struct {
	Limit int `json:"limit"`
}

type recordingVisibility struct {
	Override *string `json:"visibility_override"`
}

// frontend shows a stored frontend. What it returns shares nothing with the state.
func (c *call) frontend(v *state.View, f *state.Frontend) frontend {
	out := frontend{
		ID: f.ID, Active: !f.BBB.Disabled, BBB: frontendBBB{Key: f.Key, Secret: f.Secret},
		Settings: frontendSettings{
			CreateDefault: params(f.BBB.CreateDefault), CreateOverride: params(f.BBB.CreateOverride),
			JoinDefault: params(f.BBB.JoinDefault), JoinOverride: params(f.BBB.JoinOverride),
		},
		CreatedAt: changedAt(v, f.CreateIndex), UpdatedAt: changedAt(v, f.ModifyIndex),
	}
	if len(f.RequiredTags) > 0 {
		out.Settings.RequiredTags = slices.Clone(f.RequiredTags)
	}
	if p := f.BBB.DefaultPresentation; p != nil {
		out.Settings.DefaultPresentation = &presentation{p.URL, p.Force}
	}
	if n := f.BBB.AttendeesLimit; n > 0 {
		out.Settings.AttendeesLimit = &attendeesLimit{n}
	}
	if s := f.BBB.RecordingVisibility; s != "" {
		out.Settings.Recordings = &recordingVisibility{&s}
	}
	if s := f.BBB.AccountRef; s != "" {
		out.AccountRef = &s
	}
	if c.who.blind {
		out.BBB.Secret = ""
	}
	return out
}

// params is a copy that is never nil.
func params(m map[string]string) map[string]string {
	out := make(map[string]string, len(m))
	maps.Copy(out, m)
	return out
}

// check says what is wrong with what a client wants a frontend to be. What the state checks itself is left to it.
func (f *frontend) check() error {
	v := invalid{}
	v.required("bbb.key", f.BBB.Key)
	v.required("bbb.secret", f.BBB.Secret)
	if l := f.Settings.AttendeesLimit; l != nil && l.Limit < 0 {
		v.add("settings.attendees_limit.limit", "must not be negative")
	}
	if r := f.Settings.Recordings; r != nil && r.Override != nil && *r.Override != "" && !slices.Contains(state.Visibilities(), *r.Override) {
		v.add("settings.recordings.visibility_override", "must be one of "+strings.Join(state.Visibilities(), ", "))
	}
	return v.err()
}

// apply takes over what a client may change.
func (f *frontend) apply(spec *state.FrontendSpec) {
	s := f.Settings
	spec.Key, spec.Secret, spec.RequiredTags = f.BBB.Key, f.BBB.Secret, s.RequiredTags
	b := &spec.BBB
	b.Disabled = !f.Active
	b.AccountRef, b.AttendeesLimit, b.RecordingVisibility, b.DefaultPresentation = "", 0, "", nil
	if f.AccountRef != nil {
		b.AccountRef = *f.AccountRef
	}
	if s.AttendeesLimit != nil {
		b.AttendeesLimit = s.AttendeesLimit.Limit
	}
	if s.Recordings != nil && s.Recordings.Override != nil {
		b.RecordingVisibility = *s.Recordings.Override
	}
	if p := s.DefaultPresentation; p != nil && p.URL != "" {
		b.DefaultPresentation = &state.Presentation{URL: p.URL, Force: p.Force}
	}
	b.CreateDefault, b.CreateOverride = filled(s.CreateDefault), filled(s.CreateOverride)
	b.JoinDefault, b.JoinOverride = filled(s.JoinDefault), filled(s.JoinOverride)
}

// filled leaves out parameters without a value: that is how one is taken away.
func filled(m map[string]string) map[string]string {
	maps.DeleteFunc(m, func(_, value string) bool { return value == "" })
	return m
}
