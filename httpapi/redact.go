package httpapi

import (
	"encoding/json"
	"strconv"

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
	if secret == "" && k != state.KindBackend || raw == nil {
		return raw
	}
	var doc map[string]json.RawMessage
	if err := json.Unmarshal(raw, &doc); err != nil {
		return json.RawMessage(`{}`)
	}
	if k == state.KindBackend || k == state.KindFrontend {
		withoutBBBSecrets(doc)
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

// withoutBBBSecrets takes the list of secrets out, and says how many there are if there are any.
func withoutBBBSecrets(doc map[string]json.RawMessage) {
	raw, ok := doc["bbb"]
	if !ok {
		return
	}
	var bbb map[string]json.RawMessage
	if json.Unmarshal(raw, &bbb) != nil {
		delete(doc, "bbb")
		return
	}
	var secrets []json.RawMessage
	if json.Unmarshal(bbb["secrets"], &secrets) == nil && len(secrets) > 0 {
		doc["bbb_secrets"] = json.RawMessage(strconv.Itoa(len(secrets)))
	}
	delete(bbb, "secrets")
	if shown, err := json.Marshal(bbb); err == nil {
		doc["bbb"] = shown
	} else {
		delete(doc, "bbb")
	}
}
