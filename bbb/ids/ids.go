// Package ids maps meeting ids of tenants to ids on servers and back.
//
// A tenant whose ids are isolated has each of its meeting ids rewritten to base64url(["key","id","b3scl"]), padded,
// the form of b3scale: recordings made under b3scale map to their tenant. Two tenants that use the same id do not
// meet. Callers: package bbb and its sub-packages. Pure functions.
package ids

import (
	"encoding/base64"
	"encoding/json"
)

// MaxLength is how many bytes of a meeting id BigBlueButton takes.
const MaxLength = 256

const mark = "b3scl"

// Encode is the id that servers get for a tenant's meeting. It may be longer than MaxLength.
func Encode(key, id string) string {
	b, err := json.Marshal([3]string{key, id, mark})
	if err != nil { // strings can always be marshalled
		return ""
	}
	return base64.URLEncoding.EncodeToString(b)
}

// Decode takes an id apart; ok is false if Encode has not made it.
func Decode(s string) (key, id string, ok bool) {
	b, err := base64.URLEncoding.DecodeString(s)
	if err != nil {
		return "", "", false
	}
	var parts []string
	if json.Unmarshal(b, &parts) != nil || len(parts) != 3 || parts[2] != mark {
		return "", "", false
	}
	return parts[0], parts[1], true
}
