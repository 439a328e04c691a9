package httpapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/lbnode/lbnode/api"
	"github.com/lbnode/lbnode/internal/strictjson"
	"github.com/lbnode/lbnode/state"
	"github.com/lbnode/lbnode/tlsstore"
)

// certificateEndpoints are those of certificates. Keys come in as PEM and go into the log sealed.
func certificateEndpoints() []endpoint {
	res := resourceOf(state.KindCertificate)
	one := res.path + "/{id}"
	return []endpoint{
		{method: http.MethodGet, path: res.path, params: []string{paramMinIndex, paramLimit, paramAfter}, handle: res.list},
		{method: http.MethodPost, path: res.path, handle: writeCertificate(state.VerbCreate)},
		{method: http.MethodGet, path: one, params: []string{paramMinIndex}, handle: res.get},
		{method: http.MethodPut, path: one, handle: writeCertificate(state.VerbPut)},
		{method: http.MethodPatch, path: one, handle: writeCertificate(state.VerbPatch)},
		{method: http.MethodDelete, path: one, params: []string{paramForce}, handle: res.remove},
	}
}

// writeCertificate does POST, PUT and PATCH. Whether the key belongs to the certificate is found out here: the log
// never has a pair that does not fit.
func writeCertificate(verb state.Verb) func(*call) (answer, error) {
	return func(c *call) (answer, error) {
		res := resourceOf(state.KindCertificate)
		id, old, err := "", state.Object(nil), error(nil)
		if verb != state.VerbCreate {
			if id, old, err = res.resolve(c, c.s.cfg.Store.View()); err != nil {
				return answer{}, err
			}
		}
		pre, err := c.precondition(old)
		if err != nil {
			return answer{}, err
		}
		body, err := c.readBody()
		if err != nil {
			return answer{}, err
		}
		spec := &state.CertificateSpec{}
		opt := strictjson.Options{Ignored: res.readOnly}
		if verb == state.VerbPatch {
			opt = strictjson.Options{Null: true, ReadOnly: res.readOnly}
		}
		doc, err := strictjson.Decode(body, spec, opt)
		if err != nil {
			return answer{}, err
		}
		switch {
		case id == "" && spec.ID == "":
			return answer{}, invalid("the body is not valid", api.FieldError{Pointer: "/id", Message: "must be there"})
		case id != "" && spec.ID != "" && spec.ID != id:
			return answer{}, invalid("the body is not valid", api.FieldError{Pointer: "/id", Message: fmt.Sprintf("must be %q as in the path, or left out", id)})
		case id == "":
			id = spec.ID
			old = c.s.cfg.Store.View().Get(state.KindCertificate, id)
		case verb == state.VerbPatch && old == nil:
			return answer{}, res.missing(id)
		}
		op := state.Op{Verb: verb, ID: id, IfMatch: pre.index}
		if pre.create {
			op.Verb = state.VerbCreate
		}
		if err := c.sealKey(id, spec, doc, old); err != nil {
			return answer{}, err
		}
		return res.commit(c, op, doc)
	}
}

// sealKey checks the pair that a change would leave and seals the key in the document. A key that is the stored one
// keeps its seal, so that the same request again is the same change.
func (c *call) sealKey(id string, in *state.CertificateSpec, doc map[string]json.RawMessage, old state.Object) error {
	bad := func(pointer, message string) error {
		return invalid("the body is not valid", api.FieldError{Pointer: pointer, Message: message})
	}
	box, _ := c.s.cfg.Backups.Box()
	stored, _ := old.(*state.Certificate)
	chain, key, sealed := in.Certificate, []byte(in.PrivateKey), ""
	if stored != nil {
		if chain == "" && doc["certificate"] == nil {
			chain = stored.CertificateSpec.Certificate
		}
		was, err := box.Open(tlsstore.Purpose(id), stored.PrivateKey)
		switch {
		case err == nil && (len(key) == 0 || string(was) == string(key)):
			key, sealed = was, stored.PrivateKey
		case err != nil && len(key) == 0:
			return bad("/private_key", "must be given: the stored one cannot be opened with the cluster's keys")
		}
	}
	if _, err := tlsstore.Leaf([]byte(chain)); err != nil {
		return bad("/certificate", err.Error())
	}
	if len(key) == 0 {
		return bad("/private_key", "must be there")
	}
	if _, err := tlsstore.Parse([]byte(chain), key); err != nil {
		return bad("/private_key", err.Error())
	}
	if sealed == "" {
		var err error
		if sealed, err = box.Seal(tlsstore.Purpose(id), key); err != nil {
			return fmt.Errorf("seal the key of certificate %q: %w", id, err)
		}
	}
	doc["private_key"] = quote(sealed)
	check := state.CertificateSpec{ID: id, Certificate: chain, PrivateKey: sealed, Hosts: slices.Clone(in.Hosts)}
	l := listsOf(&check)
	check.Normalize()
	if errs := addInvalid(nil, l.repoint(&check, check.Validate())); len(errs) > 0 {
		return errs
	}
	return nil
}

func certificateAnswer(c *state.Certificate, now time.Time) api.Certificate {
	out := api.Certificate{
		ID: c.ID, Certificate: c.CertificateSpec.Certificate, Hosts: list(c.Hosts), Names: list(c.Hosts),
		CreateIndex: c.CreateIndex, ModifyIndex: c.ModifyIndex,
	}
	leaf, err := tlsstore.Leaf([]byte(c.CertificateSpec.Certificate))
	if err != nil { // one that only another version could read
		return out
	}
	out.Names, out.Issuer, out.Serial = list(tlsstore.Names(leaf, c.Hosts)), leaf.Issuer.String(), fmt.Sprintf("%x", leaf.SerialNumber)
	out.NotBefore, out.NotAfter, out.Expired = moment(leaf.NotBefore), moment(leaf.NotAfter), leaf.NotAfter.Before(now)
	return out
}
