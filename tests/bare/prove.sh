#!/usr/bin/env bash
# Proves that a bare machine needs nothing but this repository: prove.sh DIR [COMMAND...]
#   DIR/root   a minimal Debian 12, made here by debootstrap
#   DIR/log    what it printed
# Clones the last commit into DIR/root/srv/retort and runs COMMAND there (default: ./dev demo && ./dev test), with the
# host's package sources and certificates but none of its caches. Needs root, debootstrap, the network and 15 GiB of
# disk; `rm -r DIR` removes it all. Exit status: COMMAND's; 2 when something needed is missing; 1 when Debian or the
# clone cannot be made.
set -euo pipefail

usage() { echo "usage: tests/bare/prove.sh DIR [COMMAND...]; DIR must not exist" >&2; exit 2; }
misuse() { echo "prove.sh: $*" >&2; exit 2; }
say() { echo "prove.sh: $*"; }

(($# >= 1)) || usage
[[ $1 != -* ]] || usage
((EUID == 0)) || misuse "chroot needs root: run it by sudo"
for program in debootstrap unshare git; do
  command -v "$program" >/dev/null || misuse "no $program: apt-get install debootstrap util-linux git"
done
[[ ! -e $1 ]] || misuse "$1 exists, and a proof begins from nothing: remove it or name another directory"

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
mkdir -p "$1"
directory=$(cd "$1" && pwd)
root=$directory/root
command="${*:2}"
command=${command:-./dev demo && ./dev test}
readonly repository directory root command

# The first Debian 12 mirror that apt uses here; empty, which lets debootstrap choose, when there is none.
mirror() {
  # shellcheck disable=SC2016  # expanded by apt-get
  apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Codename: bookworm' 'Component: main' \
    2>/dev/null | head -n 1 || true
}

# Copies FILE... of the host to the same place in the root; those that are absent are left out.
copy() {
  local file
  for file in "$@"; do
    [[ -e $file ]] || continue
    mkdir -p "$root${file%/*}"
    cp --archive --dereference "$file" "$root${file%/*}/"
  done
}

make_root() {
  local from
  from=$(mirror)
  say "making a minimal Debian 12 in $root from ${from:-the mirror of debootstrap}"
  # Of its own mount namespace, like all below: whatever is mounted ends with the last process in it.
  unshare --mount debootstrap --variant=minbase bookworm "$root" ${from:+"$from"} >>"$directory/log"
  if grep --quiet '^VERSION_CODENAME=bookworm' /etc/os-release; then
    rm -f "$root/etc/apt/sources.list"
    copy /etc/apt/sources.list /etc/apt/sources.list.d
  fi
  copy /etc/apt/{keyrings,trusted.gpg,trusted.gpg.d,auth.conf,auth.conf.d} /usr/share/keyrings
  apt-config dump | grep -E '^Acquire::(http|https)' >"$root/etc/apt/apt.conf" || true
  copy /etc/pip.conf /etc/resolv.conf /etc/hosts /usr/local/share/ca-certificates /etc/ssl/certs/ca-certificates.crt
}

# Under sudo the repository is another user's, which git refuses to read unless told.
git_here() { git -c safe.directory="$repository" -C "$repository" "$@"; }

clone() {
  say "cloning $(git_here log -1 --format='%h (%s)')"
  [[ -z $(git_here status --porcelain) ]] || say "what is not committed is left out"
  git_here bundle create --quiet "$root/srv/retort.bundle" HEAD
  git -c advice.detachedHead=false clone --quiet "$root/srv/retort.bundle" "$root/srv/retort"
}

# Keeps of the environment what names a proxy.
run_inside() {
  local kept=(HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin) name
  for name in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY; do
    [[ ! -v $name ]] || kept+=("$name=${!name}")
  done
  # shellcheck disable=SC2016  # expanded by the inner shell
  unshare --mount --pid --fork --kill-child bash -c '
    mount -t proc proc "$0/proc" && mount --rbind /dev "$0/dev" &&
      exec chroot "$0" env --ignore-environment --chdir=/srv/retort "$@"' \
    "$root" "${kept[@]}" bash -c "$command" </dev/null
}

prove() {
  local status=0
  make_root
  clone
  say "running '$command' in it"
  SECONDS=0
  run_inside || status=$?
  say "'$command' ended with status $status after $((SECONDS / 60)) min $((SECONDS % 60)) s; log in $directory/log"
  return "$status"
}

prove 2>&1 | tee --append "$directory/log"
