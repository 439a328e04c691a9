package httpapi_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/internal/certtest"
)

func certificateBody(t *testing.T, id, cert, key string) string {
	t.Helper()
	b, err := json.Marshal(api.CertificateInput{ID: id, Certificate: cert, PrivateKey: key})
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestCertificates(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	ca := certtest.New(t, "ca")
	a, b := ca.Leaf("a.example.org", "*.example.org"), ca.Leaf("b.example.org")
	var c api.Certificate
	h.do(http.MethodPost, "/certificates", certificateBody(t, "site", a.Cert, a.Key)).want(http.StatusCreated).into(&c)
	if strings.Join(c.Names, " ") != "*.example.org a.example.org" || c.Issuer != "CN=ca" || c.NotAfter == nil || c.Expired {
		t.Errorf("made %+v", c)
	}
	if s, _ := h.store.View().Certificate("site"); strings.Contains(s.PrivateKey, "PRIVATE") || !strings.HasPrefix(s.PrivateKey, "lb1.") {
		t.Errorf("the state holds the key as %.20q, want it sealed", s.PrivateKey)
	}
	h.do(http.MethodPost, "/certificates", certificateBody(t, "site", a.Cert, a.Key)).want(http.StatusOK) // is already so
	h.do(http.MethodPost, "/certificates", certificateBody(t, "site", b.Cert, b.Key)).problem(http.StatusConflict, api.CodeExists)
	h.do(http.MethodPost, "/certificates", certificateBody(t, "x", a.Cert, b.Key)).want(http.StatusBadRequest).at("/private_key", "does not belong")
	h.do(http.MethodPost, "/certificates", certificateBody(t, "x", a.Cert, "")).want(http.StatusBadRequest).at("/private_key", "must be there")
	h.do(http.MethodPost, "/certificates", certificateBody(t, "x", "nonsense", a.Key)).want(http.StatusBadRequest).at("/certificate", "PEM")
	h.do(http.MethodPut, "/certificates/site", certificateBody(t, "", b.Cert, "")).want(http.StatusBadRequest).at("/private_key", "does not belong")
	h.do(http.MethodPut, "/certificates/site", certificateBody(t, "", b.Cert, b.Key)).want(http.StatusOK).into(&c)
	h.do(http.MethodPatch, "/certificates/site", `{"hosts":["more.example.org"]}`).want(http.StatusOK).into(&c)
	if strings.Join(c.Names, " ") != "b.example.org more.example.org" {
		t.Errorf("patched to %+v", c)
	}
	h.do(http.MethodPatch, "/certificates/none", `{}`).problem(http.StatusNotFound, api.CodeNotFound)
	h.do(http.MethodPut, "/pools/p", `{"tls":{"client_certificate":"site"}}`).want(http.StatusCreated)
	h.do(http.MethodDelete, "/certificates/site", "").problem(http.StatusConflict, api.CodeInUse)
	h.do(http.MethodDelete, "/pools/p?force=true", "").want(http.StatusNoContent)
	h.do(http.MethodDelete, "/certificates/site", "").want(http.StatusNoContent)
}
