#!/bin/sh
# cargo.sh ARGS...   runs cargo as this project needs it.
#
# It is the only place that knows how to find a Rust toolchain, for which target to build, and where the static
# libseccomp lies. Exit code 127 and a message when there is no toolchain of the version that Cargo.toml asks for.
# Whatever is set in the environment already (CARGO_BUILD_TARGET, LIBSECCOMP_LIB_PATH, CORTEN_COMMIT) stays.
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
want=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$top/Cargo.toml")

# The first of these directories whose cargo and rustc are both new enough wins: what the caller has on PATH, rustup's
# place (sudo often drops it from PATH), Debian's, and the versioned packages that some distributions have.
new_enough() {
    [ -x "$1/cargo" ] && [ -x "$1/rustc" ] || return 1
    have=$("$1/rustc" --version 2>/dev/null | cut -d' ' -f2 | cut -d- -f1)
    [ -n "$have" ] && [ "$(printf '%s\n%s\n' "$want" "$have" | sort -V | head -n 1)" = "$want" ]
}

found=
on_path=$(command -v cargo 2>/dev/null || true)
for dir in "${on_path%/cargo}" "${CARGO_HOME:-${HOME:-/root}/.cargo}/bin" /usr/local/bin /usr/bin /usr/lib/rust-*/bin; do
    if new_enough "$dir"; then
        found=$dir
        break
    fi
done
if [ -z "$found" ]; then
    echo "cargo.sh: no Rust toolchain of version $want or later (looked on PATH, in ~/.cargo/bin, /usr/bin, /usr/lib/rust-*)" >&2
    exit 127
fi

machine=$(uname -m)
export PATH="$found:$PATH"
export CARGO_BUILD_TARGET="${CARGO_BUILD_TARGET:-$machine-unknown-linux-gnu}"
export LIBSECCOMP_LIB_PATH="${LIBSECCOMP_LIB_PATH:-/usr/lib/$machine-linux-gnu}"
export CORTEN_COMMIT="${CORTEN_COMMIT:-$(git -C "$top" describe --always --dirty --abbrev=12 --exclude '*' 2>/dev/null || echo unknown)}"
# RUSTFLAGS in the environment would put those of .cargo/config.toml out of force, and the binary would not be static.
if [ -n "${RUSTFLAGS:-}" ]; then
    own=$(sed -n 's/^rustflags = \[\(.*\)\]/\1/p' "$top/.cargo/config.toml" | head -n 1 | tr -d '",')
    export RUSTFLAGS="$own $RUSTFLAGS"
fi
exec cargo "$@"
