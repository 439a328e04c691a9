package bbbtest

import (
	"crypto/sha1" //nolint:gosec // BigBlueButton's default
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// hashes are those of BigBlueButton by the name in its configuration.
func hashed(name, text string) string {
	switch name {
	case "sha1":
		h := sha1.Sum([]byte(text)) //nolint:gosec // see the import
		return hex.EncodeToString(h[:])
	case "sha256":
		h := sha256.Sum256([]byte(text))
		return hex.EncodeToString(h[:])
	case "sha384":
		h := sha512.Sum384([]byte(text))
		return hex.EncodeToString(h[:])
	}
	h := sha512.Sum512([]byte(text))
	return hex.EncodeToString(h[:])
}

// check verifies a call as bbb-web does. It is written apart from package sign on purpose.
func (s *Server) check(r *http.Request, call, body string) (Call, string) {
	ct, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	isForm := r.Method == http.MethodPost && ct == "application/x-www-form-urlencoded"
	if r.Method == http.MethodPost && body != "" && !isForm && ct != "application/xml" && ct != "text/xml" && ct != "multipart/form-data" {
		return Call{}, failed("unsupportedContentType", "POST request Content-Type is missing or unsupported")
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return Call{}, failed("checksumError", "Checksums do not match")
	}
	c := Call{Name: call, Params: map[string]string{}, Body: body}
	for k, v := range query {
		c.Params[k] = v[0]
	}
	if isForm {
		form, err := url.ParseQuery(body)
		if err != nil {
			return Call{}, failed("checksumError", "Checksums do not match")
		}
		for k, v := range form {
			if _, twice := query[k]; twice {
				return Call{}, failed("parameterCountError", "parameter in query and body")
			}
			c.Params[k] = v[0]
		}
		c.Body = ""
	}
	sum := c.Params["checksum"]
	delete(c.Params, "checksum")
	var rest []string
	for pair := range strings.SplitSeq(r.URL.RawQuery, "&") {
		if !strings.HasPrefix(pair, "checksum=") {
			rest = append(rest, pair)
		}
	}
	text := call + strings.Join(rest, "&")
	for _, name := range []string{"sha1", "sha256", "sha384", "sha512"} {
		if len(s.cfg.Hashes) > 0 && !slices.Contains(s.cfg.Hashes, name) {
			continue
		}
		for _, secret := range s.cfg.Secrets {
			if sum == hashed(name, text+secret) {
				c.Hash, c.Secret = name, secret
				return c, ""
			}
		}
	}
	return Call{}, failed("checksumError", "Checksums do not match")
}
