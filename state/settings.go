package state

import "time"

// KindSettings is the kind of the one object that holds what is set for the whole cluster.
const KindSettings Kind = "settings"

// SettingsID is the id of the one object of [KindSettings].
const SettingsID = "cluster"

// Bounds of FenceAfter, when it is not 0. Below, a node would be fenced by an ordinary change of leader.
const (
	MinFenceAfter = Duration(time.Second)
	MaxFenceAfter = Duration(24 * time.Hour)
)

// SettingsSpec is what holds for the whole cluster. Each field is left out of the log at its default, so that
// later versions can add some.
type SettingsSpec struct {
	ID string `json:"id"` // always [SettingsID]
	// FenceAfter is for how long a node that no leader confirms goes on sending new requests to backends.
	// 0 = for ever.
	FenceAfter Duration `json:"fence_after,omitzero"`
}

// Settings are the stored settings. Before they are first written there are none, and all defaults hold.
type Settings struct {
	SettingsSpec
	Stamp
}

// Settings returns what is set for the whole cluster, which is every default before it is first written.
func (v *View) Settings() *Settings {
	if s, ok := get[*Settings](v, KindSettings, SettingsID); ok {
		return s
	}
	return defaultSettings()
}

func defaultSettings() *Settings {
	s := &Settings{}
	s.Normalize()
	return s
}

// Kind implements [Spec] and [Object].
func (*SettingsSpec) Kind() Kind { return KindSettings }

// ObjectID implements [Spec] and [Object].
func (s *SettingsSpec) ObjectID() string { return s.ID }

// Inherit implements [Spec].
func (*SettingsSpec) Inherit(Object) {}

// Spec implements [Object].
func (s *Settings) Spec() Spec { c := s.SettingsSpec; return &c }

// Normalize implements [Spec].
func (s *SettingsSpec) Normalize() {
	setDefault(&s.ID, SettingsID)
}

// Validate implements [Spec].
func (s *SettingsSpec) Validate() []FieldError {
	var c checks
	if s.ID != SettingsID {
		c.add("/id", "must be %q: there is one settings object, got %q", SettingsID, s.ID)
	}
	if s.FenceAfter != 0 && (s.FenceAfter < MinFenceAfter || s.FenceAfter > MaxFenceAfter) {
		c.add("/fence_after", "must be 0s (off) or between %s and %s, got %s", MinFenceAfter, MaxFenceAfter, s.FenceAfter)
	}
	return c.errs
}
