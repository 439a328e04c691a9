package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/lbnode/lbnode/api"
)

// The tables of tokens and certificates, with one of each that has ended or is about to.
func TestGolden_access(t *testing.T) {
	t.Parallel()
	past, soon, later := epoch.Add(-time.Hour), epoch.Add(50*time.Hour), epoch.AddDate(0, 3, 0)
	tokens := []api.Token{
		{ID: "ci", Role: "operator", Pools: []string{"api", "web"}, Description: "deploys", ExpiresAt: &later, ModifyIndex: 12},
		{ID: "old", Role: "viewer", ExpiresAt: &past, Expired: true, ModifyIndex: 7},
		{ID: "root", Role: "admin", ModifyIndex: 5},
	}
	certificates := []api.Certificate{
		{ID: "old", Names: []string{"old.example.org"}, NotAfter: &past, Expired: true, Issuer: "CN=ca", Serial: "0a", ModifyIndex: 6},
		{ID: "shop", Names: []string{"*.shop.example.org", "shop.example.org"}, NotAfter: &soon, Issuer: "CN=ca", Serial: "0b", ModifyIndex: 8},
		{ID: "site", Names: []string{"www.example.org"}, NotAfter: &later, Issuer: "CN=ca,O=Example", Serial: "0c", ModifyIndex: 9},
	}
	var out bytes.Buffer
	for _, format := range []string{"", formatWide} {
		for _, list := range []struct {
			noun  *noun
			items any
		}{{tokenNoun(), tokens}, {certificateNoun(), certificates}} {
			a := newApp(nil, &out, &out, nil)
			a.now, a.output = func() time.Time { return epoch }, format
			body, err := json.Marshal(list.items)
			if err != nil {
				t.Fatal(err)
			}
			if err := list.noun.table(a, body); err != nil {
				t.Fatal(err)
			}
			fmt.Fprintln(&out)
		}
	}
	golden(t, "access", out.String())
}
