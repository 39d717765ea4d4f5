//go:build tools

// Package programs pins what programs.sh builds: nothing here is compiled, but `go mod tidy` reads it, and go.sum then
// holds the checksum of everything that the programs are made of.
package programs

import (
	_ "github.com/opencontainers/runtime-spec/schema"
	_ "github.com/opencontainers/runtime-tools/cmd/oci-runtime-tool"
	_ "github.com/opencontainers/runtime-tools/cmd/runtimetest"
	_ "github.com/opencontainers/runtime-tools/validation/util"
)
