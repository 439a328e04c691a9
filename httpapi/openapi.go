package httpapi

import (
	_ "embed"
	"encoding/json"
	"errors"

	"go.yaml.in/yaml/v3"
)

//go:embed openapi.yaml
var openAPIYAML []byte

// openAPIJSON turns the document into JSON and puts the version of this lbnode into it, and what all reads
// have in common and who may use what.
func openAPIJSON(version string, endpoints []endpoint) ([]byte, error) {
	var doc map[string]any
	if err := yaml.Unmarshal(openAPIYAML, &doc); err != nil {
		return nil, err
	}
	info, ok := doc["info"].(map[string]any)
	if !ok {
		return nil, errors.New("it has no info")
	}
	info["version"] = version
	documentReads(doc, endpoints)
	documentAccess(doc, endpoints)
	b, err := json.Marshal(doc)
	return append(b, '\n'), err
}
