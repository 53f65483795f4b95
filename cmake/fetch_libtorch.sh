#!/usr/bin/env bash
# fetch_libtorch.sh DIR: makes DIR hold LibTorch's headers and libraries, from hash-checked PyPI wheels.
# Does nothing when DIR is complete. DIR appears by one rename at the end, so an interrupted run leaves it absent
# or as it was; a second run started meanwhile waits for the first. Needs python3 with pip, 3 GiB of disk.
set -euo pipefail

target=$1
cache=$(dirname "$target")
requirements=$(dirname "${BASH_SOURCE[0]}")/libtorch-requirements.txt
readonly target cache requirements
readonly stamp=.requirements.sha256
readonly wheels=$target.wheels partial=$target.partial old=$target.old
readonly python=/usr/bin/python3
readonly need_mib=3072

say() { echo "./dev setup: $*"; }
die() {
  echo "./dev setup: $*" >&2
  exit 1
}

complete() { [[ -f $target/$stamp && $(<"$target/$stamp") == "$wanted" ]]; }

download() {
  # The tags are listed one by one: pip takes those named and derives no older ones (cupti's is manylinux_2_25).
  local platforms=() tag
  for tag in manylinux_2_28 manylinux_2_27 manylinux_2_26 manylinux_2_25 manylinux_2_17 manylinux2014; do
    platforms+=(--platform "${tag}_x86_64")
  done
  local attempt
  for attempt in 1 2 3; do
    "$python" -m pip --disable-pip-version-check download --quiet --progress-bar off --no-cache-dir --no-deps \
      --require-hashes --python-version 3.11 --implementation cp --only-binary=:all: "${platforms[@]}" \
      --dest "$wheels" --requirement "$requirements" && return
    say "attempt $attempt of 3 to fetch the LibTorch wheels failed"
  done
  die "cannot fetch the LibTorch wheels: check the connection to the Python package index, then run it again"
}

# Keeps headers, libraries and licences; leaves out the Python side. Times stay those of the wheel, so that a
# second unpacking does not make every object file look old.
unpack() {
  "$python" - "$wheels" "$partial" <<'PYTHON'
import glob, os, sys, time, zipfile

wheels, out = sys.argv[1:]
for wheel in sorted(glob.glob(os.path.join(wheels, "*.whl"))):
    with zipfile.ZipFile(wheel) as archive:
        for entry in archive.infolist():
            name = entry.filename
            wanted = name.startswith(("torch/include/", "torch/lib/", "nvidia/")) or ".dist-info/licenses/" in name
            if not wanted or name.endswith(("/", ".py", "/libtorch_python.so", "/libshm.so")):
                continue
            path = archive.extract(entry, out)
            stamp = time.mktime(entry.date_time + (0, 0, -1))
            os.utime(path, (stamp, stamp))
PYTHON
}

wanted=$(sha256sum "$requirements" | cut -d' ' -f1)
if complete; then
  say "LibTorch is in $target"
  exit 0
fi

mkdir -p "$cache"
exec 9>"$target.lock"
if ! flock --nonblock 9; then
  say "another setup is fetching LibTorch; waiting for it"
  flock 9
fi
if complete; then
  say "LibTorch is in $target"
  exit 0
fi

free_mib=$(df --output=avail --block-size=1M "$cache" | tail -n 1 | tr -d ' ')
((free_mib >= need_mib)) || die "$cache has $free_mib MiB of free disk; LibTorch needs $need_mib MiB while unpacking"
say "fetching LibTorch (0.6 GB of wheels) into $target"
rm -rf "$wheels" "$partial" "$old"
download
say "unpacking LibTorch"
unpack
[[ -f $partial/torch/lib/libtorch_cpu.so && -d $partial/torch/include/ATen ]] ||
  die "the wheels in $wheels do not hold LibTorch"
echo "$wanted" >"$partial/$stamp"
[[ ! -e $target ]] || mv "$target" "$old"
mv "$partial" "$target"
rm -rf "$old" "$wheels"
say "LibTorch is ready"
