package httpapi

// documentReads adds to every read of the document what all of them have in common, so that it is said once: the
// parameters of reads and the answer when they cannot be fulfilled.
func documentReads(doc map[string]any, endpoints []endpoint) {
	names := map[string]string{paramConsistency: "Consistency", paramMinIndex: "MinIndex", paramTimeout: "ReadTimeout"}
	for _, e := range endpoints {
		op := member(member(member(doc, "paths"), e.path), "get")
		if !e.reads() || op == nil {
			continue
		}
		params, _ := op["parameters"].([]any)
		for _, p := range readParams() {
			ref := "#/components/parameters/" + names[p]
			if p == paramTimeout && e.ownTimeout || hasRef(params, ref) {
				continue
			}
			params = append(params, map[string]any{"$ref": ref})
		}
		op["parameters"] = params
		if responses := member(op, "responses"); responses != nil && responses["504"] == nil {
			responses["504"] = map[string]any{"$ref": "#/components/responses/NotReached"}
		}
	}
	documentHeader(doc)
}

// documentHeader adds X-Lbnode-Last-Contact wherever X-Lbnode-Leader is.
func documentHeader(node any) {
	switch n := node.(type) {
	case map[string]any:
		if _, ok := n["X-Lbnode-Leader"]; ok {
			n["X-Lbnode-Last-Contact"] = map[string]any{"$ref": "#/components/headers/LastContact"}
		}
		for _, child := range n {
			documentHeader(child)
		}
	case []any:
		for _, child := range n {
			documentHeader(child)
		}
	}
}

func member(node map[string]any, name string) map[string]any {
	m, _ := node[name].(map[string]any)
	return m
}

func hasRef(list []any, ref string) bool {
	for _, p := range list {
		if m, ok := p.(map[string]any); ok && m["$ref"] == ref {
			return true
		}
	}
	return false
}
