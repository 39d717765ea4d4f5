# Sourced by those who build root file systems out of Debian's packages.
# shellcheck shell=bash

# The mirror that the host's own apt uses; nothing when it has none.
mirror_of_host() {
    { sed -n 's/^URIs: *//p' /etc/apt/sources.list.d/debian.sources
      sed -nE 's/^deb +(\[[^]]*\] +)?([^ ]+).*/\2/p' /etc/apt/sources.list; } 2>/dev/null | head -n 1 || :
}
