package httpapi

import "strings"

// documentAccess adds to every operation of the document which role it needs and what is answered without it.
func documentAccess(doc map[string]any, endpoints []endpoint) {
	table := accessTable()
	problem := func(description string) map[string]any {
		return map[string]any{
			"description": description,
			"content":     map[string]any{"application/problem+json": map[string]any{"schema": map[string]any{"$ref": "#/components/schemas/Problem"}}},
			"headers":     map[string]any{"X-Request-Id": map[string]any{"$ref": "#/components/headers/RequestId"}},
		}
	}
	for _, e := range endpoints {
		op := member(member(member(doc, "paths"), e.path), strings.ToLower(e.method))
		need, listed := table[e.method+" "+e.path]
		responses := member(op, "responses")
		if responses == nil || !listed || need.role == "" {
			continue
		}
		op["security"] = []any{map[string]any{"token": []any{}}}
		op["x-lbnode-role"] = string(need.role)
		responses["401"] = problem("No token, or one that is not or no longer valid")
		responses["429"] = problem("Too many wrong tokens came from this client; Retry-After says how long to wait")
		responses["403"] = problem("The token has not the role " + string(need.role) + " or is bound to other pools, or a browser sent this for another site")
	}
	if components := member(doc, "components"); components != nil {
		components["securitySchemes"] = map[string]any{"token": map[string]any{
			"type": "http", "scheme": "bearer",
			"description": "Made by POST /tokens. On loopback none is needed as long as there is none.",
		}}
	}
}
