//go:build tools

// Package crictl pins the command line of CRI, which build.sh makes for the machine. Nothing of it is copied into the repository.
package crictl

import _ "sigs.k8s.io/cri-tools/cmd/crictl"
