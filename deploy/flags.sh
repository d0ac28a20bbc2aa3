# Sourced from the repository's root, not run: flags by which two builds of one commit are the same, bit for bit, in
# whichever folders they were made. What is built must be stripped (`strip = true` in the profile).
#
#   source deploy/flags.sh
#   RUSTFLAGS="$RUSTFLAGS -Cprofile-use=…" cargo build …
#
# For a program that has the C library in it, call `static_flags` then.
#
# Sets SOURCE_DATE_EPOCH, and adds to RUSTFLAGS, CFLAGS and CXXFLAGS, which may be set before. The compilers' versions are
# for the caller to hold: rust-toolchain.toml names one, the C compiler is the system's. Folders with a space in their name
# cannot be told to cargo this way.

# Each folder that a path in the binary could begin with, and the name that stands there in its place. A later line wins
# over an earlier one.
reproducible_folders() {
  local sources="${CARGO_HOME:-$HOME/.cargo}" registry commit here
  here=$(pwd -P)
  printf '%s=/cargo\n' "$sources"
  # cargo names the folder by where the crates came from: a mirror would be seen.
  for registry in "$sources"/registry/src/*; do
    [ ! -d "$registry" ] || printf '%s=/crates\n' "$registry"
  done
  # With the component `rust-src` the standard library's own paths are those of this machine.
  commit=$(rustc -vV | sed -n 's/^commit-hash: //p')
  printf '%s=/rustc/%s\n' "$(rustc --print sysroot)/lib/rustlib/src/rust" "$commit"
  printf '%s=/backsoon\n' "$here"
  case ${CARGO_TARGET_DIR:-target} in
    /*) printf '%s=/backsoon/target\n' "$CARGO_TARGET_DIR" ;;
    *) printf '%s/%s=/backsoon/target\n' "$here" "${CARGO_TARGET_DIR:-target}" ;;
  esac
}

reproducible_flags() {
  local folder rust='' c=''
  # The crates have to be there, so that their folder is known.
  cargo fetch --locked --quiet 2>/dev/null || true
  while read -r folder; do
    rust+=" --remap-path-prefix=$folder"
    c+=" -ffile-prefix-map=$folder"
  done < <(reproducible_folders)
  export RUSTFLAGS="${RUSTFLAGS:-}$rust"
  export CFLAGS="${CFLAGS:-}$c" CXXFLAGS="${CXXFLAGS:-}$c"
  # Of the commit, also where only its files are: cargo gives every file of a crate one time.
  SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || stat -c %Y Cargo.toml)}
  export SOURCE_DATE_EPOCH CARGO_INCREMENTAL=0 LC_ALL=C.UTF-8 TZ=UTC
}

# Only where the target is named: procedural macros are loaded, and cannot be static.
static_flags() {
  local object
  mkdir -p "${CARGO_TARGET_DIR:-target}"
  object=$(realpath "${CARGO_TARGET_DIR:-target}")/resolver.o
  "${CC:-cc}" -O2 -c -o "$object" deploy/packaging/resolver.c
  RUSTFLAGS+=" -C target-feature=+crt-static -C link-arg=$object -C link-arg=-Wl,--wrap=__libc_dlopen_mode"
}

reproducible_flags
