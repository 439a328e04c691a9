package state

import (
	"fmt"
	"slices"
	"strings"
)

// Variable is a part of a request that a header value or a redirect may hold.
type Variable string

// The variables.
const (
	VarClientIP  Variable = "client_ip"  // who sent the request, as trusted proxies say
	VarHost      Variable = "host"       // as received, with its port
	VarPath      Variable = "path"       // as received, without the query
	VarRequestID Variable = "request_id" // the X-Request-Id that goes to the backend
	VarRoute     Variable = "route"      // id
	VarBackend   Variable = "backend"    // id; empty before one is chosen
)

// Variables lists all of them, for validation and messages.
func Variables() []Variable {
	return []Variable{VarClientIP, VarHost, VarPath, VarRequestID, VarRoute, VarBackend}
}

// TemplatePart is literal text, or a variable that stands in its place.
type TemplatePart struct {
	Text string
	Var  Variable // "" = Text
}

// ParseTemplate splits a value such as "{client_ip} on {route}" into its parts. "{{" is a literal brace; a
// closing one without an opening one is literal too.
func ParseTemplate(s string) ([]TemplatePart, error) {
	var parts []TemplatePart
	var lit strings.Builder
	for s != "" {
		k := strings.IndexByte(s, '{')
		if k < 0 {
			lit.WriteString(s)
			break
		}
		lit.WriteString(s[:k])
		s = s[k+1:]
		if strings.HasPrefix(s, "{") {
			lit.WriteByte('{')
			s = s[1:]
			continue
		}
		name, rest, ok := strings.Cut(s, "}")
		if !ok {
			return nil, fmt.Errorf("has a { without }; write {{ for a brace")
		}
		if !slices.Contains(Variables(), Variable(name)) {
			return nil, fmt.Errorf("has the unknown variable {%s}; there are %s, and {{ for a brace", name, variableNames())
		}
		if lit.Len() > 0 {
			parts = append(parts, TemplatePart{Text: lit.String()})
			lit.Reset()
		}
		parts, s = append(parts, TemplatePart{Var: Variable(name)}), rest
	}
	if lit.Len() > 0 {
		parts = append(parts, TemplatePart{Text: lit.String()})
	}
	return parts, nil
}

func variableNames() string {
	names := make([]string, len(Variables()))
	for i, v := range Variables() {
		names[i] = "{" + string(v) + "}"
	}
	return strings.Join(names, ", ")
}
