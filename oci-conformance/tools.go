//go:build tools

// Package programs pins what programs.sh builds: nothing here is compiled, but `go mod tidy` reads it, and go.sum then
// holds the checksum of everything that the validation programs are made of.
package programs

import (
	_ "github.com/opencontainers/runtime-tools/cmd/runtimetest"
	_ "github.com/opencontainers/runtime-tools/validation/util"
)
