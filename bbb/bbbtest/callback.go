package bbbtest

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// ended calls back that a meeting is over. It is called with mu held.
func (s *Server) ended(m *Meeting) {
	for _, to := range []string{param(m.Params, "meta_endCallbackUrl"), m.Params["meetingEndedURL"]} {
		if to == "" {
			continue
		}
		sep := "?"
		if strings.Contains(to, "?") {
			sep = "&"
		}
		s.send(http.MethodGet, to+sep+"recordingmarks=false", "", "", "")
	}
	if to := param(m.Params, "meta_analytics-callback-url"); to != "" {
		token := jwt(sha512.New, "HS512", fmt.Sprintf(`{"exp":%d}`, s.cfg.Now().Add(24*time.Hour).Unix()), s.cfg.Secrets[0])
		body := `{"version":"1.0","meeting_id":"` + m.ID + `","internal_meeting_id":"` + m.InternalID + `","data":{"metadata":{},"duration":1,"attendees":[]}}`
		s.send(http.MethodPost, to, body, "application/json", "Bearer "+token)
	}
}

// RecordingReady calls back that the recording of a meeting is there.
func (s *Server) RecordingReady(m Meeting) {
	to := param(m.Params, "meta_bbb-recording-ready-url")
	if to == "" {
		return
	}
	token := jwt(sha256.New, "HS256", `{"meeting_id":"`+m.ID+`","record_id":"`+m.InternalID+`"}`, s.cfg.Secrets[0])
	s.send(http.MethodPost, to, url.Values{"signed_parameters": {token}}.Encode(), "application/x-www-form-urlencoded", "")
}

// param finds a parameter by its name without regard to case: metadata has lower-case keys.
func param(p map[string]string, name string) string {
	for k, v := range p {
		if strings.EqualFold(k, name) {
			return v
		}
	}
	return ""
}

func jwt(h func() hash.Hash, alg, claims, secret string) string {
	enc := base64.RawURLEncoding.EncodeToString
	text := enc([]byte(`{"alg":"`+alg+`","typ":"JWT"}`)) + "." + enc([]byte(claims))
	m := hmac.New(h, []byte(secret))
	_, _ = io.WriteString(m, text)
	return text + "." + enc(m.Sum(nil))
}

// send is fire and forget, as BigBlueButton's callbacks nearly are.
func (s *Server) send(method, to, body, contentType, auth string) {
	s.calls.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, method, to, strings.NewReader(body))
		if err != nil {
			return
		}
		if contentType != "" {
			req.Header.Set("Content-Type", contentType)
		}
		if auth != "" {
			req.Header.Set("Authorization", auth)
		}
		if resp, err := s.cfg.Client.Do(req); err == nil {
			resp.Body.Close()
		}
	})
}
