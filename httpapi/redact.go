package httpapi

import (
	"encoding/json"

	"github.com/lbnode/lbnode/state"
)

// secretField is the field of a kind of objects that is never shown, "" for none.
func secretField(k state.Kind) string {
	switch k {
	case state.KindFrontend:
		return "secret"
	case state.KindToken:
		return "hash"
	case state.KindCertificate:
		return "private_key"
	case state.KindBackend, state.KindPool, state.KindRoute:
	}
	return ""
}

// withoutSecret is what an operator said of an object as it may be shown. A frontend may be without a secret, and
// then shows that.
func withoutSecret(k state.Kind, raw json.RawMessage) json.RawMessage {
	secret := secretField(k)
	if secret == "" || raw == nil {
		return raw
	}
	var doc map[string]json.RawMessage
	if err := json.Unmarshal(raw, &doc); err != nil {
		return json.RawMessage(`{}`)
	}
	if k == state.KindFrontend {
		doc["secret_set"] = json.RawMessage(`true`)
		if v := string(doc[secret]); v == "" || v == `""` {
			doc["secret_set"] = json.RawMessage(`false`)
		}
	}
	delete(doc, secret)
	b, err := json.Marshal(doc)
	if err != nil {
		return json.RawMessage(`{}`)
	}
	return b
}
