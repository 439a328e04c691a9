package callback

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"hash"
	"strings"
	"time"
)

// The algorithms of BigBlueButton's callbacks.
const (
	hs256 = "HS256"
	hs512 = "HS512"
)

// errToken says that a token is not one of those that were expected.
var errToken = errors.New("the token is not valid")

var encoding = base64.RawURLEncoding //nolint:gochecknoglobals // a constant, but for the language

func hashOf(alg string) func() hash.Hash {
	switch alg {
	case hs256:
		return sha256.New
	case hs512:
		return sha512.New
	}
	return nil
}

// makeJWT signs claims, which are JSON.
func makeJWT(alg string, claims []byte, secret string) string {
	text := encoding.EncodeToString([]byte(`{"alg":"`+alg+`","typ":"JWT"}`)) + "." + encoding.EncodeToString(claims)
	mac := hmac.New(hashOf(alg), []byte(secret))
	mac.Write([]byte(text))
	return text + "." + encoding.EncodeToString(mac.Sum(nil))
}

// readJWT returns the claims of a token that one of the secrets has signed with the algorithm, and that has not expired.
func readJWT(alg, token string, secrets []string, now time.Time) (json.RawMessage, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, errToken
	}
	head, err1 := encoding.DecodeString(parts[0])
	claims, err2 := encoding.DecodeString(parts[1])
	sum, err3 := encoding.DecodeString(parts[2])
	var h struct{ Alg string }
	var c struct {
		Exp *float64 `json:"exp"`
	}
	if errors.Join(err1, err2, err3) != nil || json.Unmarshal(head, &h) != nil || h.Alg != alg || json.Unmarshal(claims, &c) != nil {
		return nil, errToken
	}
	if c.Exp != nil && float64(now.Unix()) >= *c.Exp {
		return nil, errToken
	}
	for _, s := range secrets {
		mac := hmac.New(hashOf(alg), []byte(s))
		mac.Write([]byte(parts[0] + "." + parts[1]))
		if s != "" && subtle.ConstantTimeCompare(mac.Sum(nil), sum) == 1 {
			return claims, nil
		}
	}
	return nil, errToken
}
