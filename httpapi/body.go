package httpapi

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"

	"github.com/lbnode/lbnode/api"
)

// readBody reads the request's body, which must be JSON of at most api.MaxBody bytes.
func (c *call) readBody() ([]byte, error) {
	if c.r.ContentLength > api.MaxBody {
		return nil, tooLarge()
	}
	b, err := io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, api.MaxBody))
	if err != nil {
		var limit *http.MaxBytesError
		if errors.As(err, &limit) {
			return nil, tooLarge()
		}
		return nil, invalid("the body could not be read: " + err.Error())
	}
	if len(b) > 0 {
		if err := c.checkMediaType(); err != nil {
			return nil, err
		}
	}
	return b, nil
}

func tooLarge() error {
	return &failure{
		status: http.StatusRequestEntityTooLarge, code: api.CodeTooLarge,
		detail: fmt.Sprintf("the body must be at most %d bytes", api.MaxBody),
	}
}

// noBody refuses a body where it would be ignored. An empty object is what some clients always send.
func (c *call) noBody() error {
	b, err := c.readBody()
	if err != nil {
		return err
	}
	if b = bytes.TrimSpace(b); len(b) > 0 && string(b) != "{}" {
		return invalid("this request takes no body")
	}
	return nil
}

// formType is what `curl -d` says when it is not told otherwise.
const formType = "application/x-www-form-urlencoded"

// checkMediaType takes JSON, and for PATCH merge patches. A missing type is taken for JSON, and so is curl's
// default: a form of a web page cannot pass for it, since cross-site writes are refused before.
func (c *call) checkMediaType() error {
	allowed := []string{api.ContentJSON}
	if c.r.Method == http.MethodPatch {
		allowed = append(allowed, api.ContentMergePatch)
	}
	fail := &failure{status: http.StatusUnsupportedMediaType, code: api.CodeMediaType}
	if enc := c.r.Header.Get("Content-Encoding"); enc != "" && !strings.EqualFold(enc, "identity") {
		fail.detail = fmt.Sprintf("the body must not be encoded, got Content-Encoding: %s", enc)
		return fail
	}
	header := c.r.Header.Get("Content-Type")
	if header == "" {
		return nil
	}
	mediaType, param, err := mime.ParseMediaType(header)
	charset := param["charset"]
	if err == nil && (charset == "" || strings.EqualFold(charset, "utf-8")) {
		for _, a := range append(allowed, formType) {
			if mediaType == a {
				return nil
			}
		}
	}
	fail.detail = fmt.Sprintf("the body must be %s in UTF-8, got Content-Type: %s (with curl: -H 'Content-Type: application/json')", strings.Join(allowed, " or "), header)
	return fail
}
