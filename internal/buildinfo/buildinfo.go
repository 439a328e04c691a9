// Package buildinfo says which lbnode this is. The linker sets Version in releases (see the Makefile).
package buildinfo

import "runtime/debug"

// version is set by the linker: -X github.com/lbnode/lbnode/internal/buildinfo.version=v1.2.3.
var version string

// Version returns the release, or the module version that the Go command recorded, or "dev".
func Version() string {
	if version != "" {
		return version
	}
	if bi, ok := debug.ReadBuildInfo(); ok && bi.Main.Version != "" && bi.Main.Version != "(devel)" {
		return bi.Main.Version
	}
	return "dev"
}
