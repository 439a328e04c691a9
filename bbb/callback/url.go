package callback

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"net/url"
	"strings"

	"github.com/lbnode/lbnode/bbb/sign"
	"github.com/lbnode/lbnode/state"
)

// Path is below what servers call.
const Path = "/bbb/-/callbacks/"

// maxURL bounds a tenant's URL, in bytes. A longer one stays as it is, and the server calls it itself.
const maxURL = 2048

// target is what one of our URLs stands for.
type target struct {
	Frontend  string             `json:"f"`
	Kind      state.CallbackKind `json:"k"`
	MeetingID string             `json:"m,omitempty"` // as the tenant calls it
	URL       string             `json:"u"`
}

// seal makes the last segment of one of our URLs. It is signed with the tenant's secret: who has that may name us any
// URL to call anyhow, by creating a meeting.
func (t target) seal(secret string) string {
	b, err := json.Marshal(t)
	if err != nil { // four strings
		return ""
	}
	text := encoding.EncodeToString(b)
	return text + "." + encoding.EncodeToString(sealOf(text, secret))
}

func sealOf(text, secret string) []byte {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte("lbnode callback\x00" + text))
	return mac.Sum(nil)[:16]
}

// unseal reads what seal wrote, with any secret that the tenant has now.
func unseal(v *state.View, token string) (target, *state.Frontend, bool) {
	var t target
	text, sum, ok := strings.Cut(token, ".")
	raw, err := encoding.DecodeString(text)
	got, err2 := encoding.DecodeString(sum)
	if !ok || err != nil || err2 != nil || json.Unmarshal(raw, &t) != nil {
		return t, nil, false
	}
	f, ok := v.Frontend(t.Frontend)
	if !ok {
		return t, nil, false
	}
	for _, s := range f.AllSecrets() {
		if subtle.ConstantTimeCompare(sealOf(text, s), got) == 1 {
			return t, f, true
		}
	}
	return t, nil, false
}

// kindOf says what a parameter of create is the URL for.
func kindOf(name string) (state.CallbackKind, bool) {
	switch strings.ToLower(name) {
	case "meta_endcallbackurl", "meetingendedurl":
		return state.CallbackEnd, true
	case "meta_bbb-recording-ready-url":
		return state.CallbackRecording, true
	case "meta_analytics-callback-url":
		return state.CallbackAnalytics, true
	}
	return "", false
}

// Create puts our URLs in the place of the tenant's in the parameters of create, which it does not change. base is our
// own address as servers reach it, such as https://bbb.example.org.
func (p *Proxy) Create(f *state.Frontend, meetingID, base string, in sign.Params) sign.Params {
	out := make(sign.Params, len(in))
	copy(out, in)
	for i, param := range out {
		if kind, ok := kindOf(param.Name); ok {
			out[i].Value = ours(f, target{Kind: kind, MeetingID: meetingID, URL: param.Value}, base)
		}
	}
	return out
}

// Hook is what a server is given for the callbackURL of hooks/create.
func (p *Proxy) Hook(f *state.Frontend, base, callbackURL string) string {
	return ours(f, target{Kind: state.CallbackHook, URL: callbackURL}, base)
}

func ours(f *state.Frontend, t target, base string) string {
	u, err := url.Parse(t.URL)
	secrets := f.AllSecrets()
	if err != nil || !webURL(u) || len(t.URL) > maxURL || len(secrets) == 0 || base == "" {
		return t.URL
	}
	t.Frontend = f.ID
	return strings.TrimRight(base, "/") + Path + t.seal(secrets[0])
}

func webURL(u *url.URL) bool {
	return (u.Scheme == "http" || u.Scheme == "https") && u.Host != ""
}
