package main

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/lbnode/lbnode/api"
)

func certificateNoun() *noun {
	return &noun{
		name: "certificate", path: "certificates", args: "ID", input: reflect.TypeFor[api.CertificateInput](),
		fields: []field{
			{flag: "cert-file", path: "certificate", typ: fileField, usage: "PEM file with the certificate and its chain"},
			{flag: "key-file", path: "private_key", typ: fileField, usage: "PEM file with the private key; it is sealed with the cluster key and never shown"},
			{flag: "host", path: "hosts", typ: listField, usage: "further name, or *.suffix, that it is shown for; repeat for several, they replace the whole list"},
		},
		place:    placeID,
		describe: textOf(describeCertificate),
		table:    tableOf(certificateColumns),
	}
}

func certificateColumns(a *app) []column[api.Certificate] {
	return []column[api.Certificate]{
		{head: "ID", cell: func(c api.Certificate) string { return c.ID }},
		{head: "NAMES", cell: func(c api.Certificate) string { return strings.Join(c.Names, ",") }},
		{head: "EXPIRES", cell: func(c api.Certificate) string { return a.certificateEnd(c) }},
		{head: "ISSUER", cell: func(c api.Certificate) string { return c.Issuer }},
		{head: "SERIAL", cell: func(c api.Certificate) string { return c.Serial }, wide: true},
		{head: "MODIFIED-AT", cell: func(c api.Certificate) string { return strconv.FormatUint(c.ModifyIndex, 10) }, wide: true},
	}
}

// soonExpired is when an operator wants to hear of a certificate's end.
const soonExpired = 14 * 24 * time.Hour

func (a *app) certificateEnd(c api.Certificate) string {
	if c.NotAfter == nil {
		return ""
	}
	s := c.NotAfter.Format(time.RFC3339)
	switch left := c.NotAfter.Sub(a.now()); {
	case left <= 0:
		s += " EXPIRED"
	case left < soonExpired:
		s += fmt.Sprintf(" (in %s)", short(left))
	}
	return s
}

func describeCertificate(a *app, c api.Certificate) {
	printFacts(a.stdout, []fact{
		{"Certificate", c.ID},
		{"Names", strings.Join(c.Names, ", ")},
		{"Expires", a.certificateEnd(c)},
		{"Issuer", c.Issuer},
		{"Serial", c.Serial},
		{"Modified at", fmt.Sprint(c.ModifyIndex)},
	})
}
