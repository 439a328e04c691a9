package b3api

import (
	"crypto/hmac"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"time"
)

// maxJWT bounds a token, in bytes.
const maxJWT = 8 << 10

// errJWT says that a token is not a good one. Which part is wrong is nobody's business.
var errJWT = errors.New("invalid or expired jwt")

// claims are what a token says.
type claims struct {
	Scope     string   `json:"scope"` // separated by spaces
	Subject   string   `json:"sub"`   // account or agent
	ExpiresAt *float64 `json:"exp"`   // seconds since 1970 (RFC 7519 §4.1.4); nil = never
	NotBefore *float64 `json:"nbf"`
}

// parseJWT checks a token with HS384 (RFC 7518 §3.2), which is the only algorithm that it accepts, and returns what it
// says.
func parseJWT(text string, secret []byte, now time.Time) (claims, error) {
	var c claims
	if len(secret) == 0 || len(text) > maxJWT || strings.Count(text, ".") != 2 {
		return c, errJWT
	}
	last := strings.LastIndexByte(text, '.')
	signed, mac := text[:last], text[last+1:]
	sum, err := base64.RawURLEncoding.Strict().DecodeString(mac)
	if err != nil {
		return c, errJWT
	}
	h := hmac.New(sha512.New384, secret)
	h.Write([]byte(signed))
	if !hmac.Equal(sum, h.Sum(nil)) { // before anything in it is read
		return c, errJWT
	}
	head, body, _ := strings.Cut(signed, ".")
	var header struct {
		Alg string   `json:"alg"`
		Typ string   `json:"typ"`
		Crt []string `json:"crit"`
	}
	if decodePart(head, &header) != nil || header.Alg != "HS384" || len(header.Crt) > 0 || decodePart(body, &c) != nil {
		return claims{}, errJWT
	}
	seconds := float64(now.UnixMilli()) / 1000
	if c.ExpiresAt != nil && seconds >= *c.ExpiresAt || c.NotBefore != nil && seconds < *c.NotBefore {
		return claims{}, errJWT
	}
	return c, nil
}

func decodePart(part string, into any) error {
	b, err := base64.RawURLEncoding.Strict().DecodeString(part)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, into)
}
