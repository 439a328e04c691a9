package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestRun(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		args, env []string
		code      int
		out, err  string
	}{
		"version":    {args: []string{"version"}, out: "lbagent "},
		"help":       {args: []string{"--help"}, out: "Usage: lbagent [flags]"},
		"flag":       {args: []string{"--nope"}, code: exitUsage, err: "lbagent: flag provided but not defined: -nope"},
		"no backend": {args: []string{"--properties", "/nonexistent/x"}, code: exitUsage, err: "--backend"},
		"no bbb":     {args: []string{"--bbb", "on", "--properties", "/nonexistent/x"}, code: exitUsage, err: "/nonexistent/x"},
		"jwt":        {args: []string{"--backend", "x", "--properties", "/nonexistent/x"}, env: []string{"LBAGENT_TOKEN=eyJ.e30.x"}, code: exitUsage, err: "BigBlueButton"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out, err bytes.Buffer
			if code := run(t.Context(), tc.args, tc.env, &out, &err); code != tc.code || !strings.Contains(out.String(), tc.out) || !strings.Contains(err.String(), tc.err) {
				t.Errorf("exit code %d, want %d\nstdout: %s\nstderr: %s", code, tc.code, out.String(), err.String())
			}
		})
	}
}
