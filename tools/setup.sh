#!/usr/bin/env bash
# Installs what building Sluice needs on Debian 12 or Ubuntu 24.04 (x86-64), and nothing that is already there:
# Debian packages (root or sudo only for these), then libtorch's headers and libraries under .deps/.
# Running it again does nothing and takes well under a second.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Package, and why it is needed.
packages='
g++                  compiles C++20
cmake                configures the build
ninja-build          runs the build
ccache               makes a second build of the same sources cheap
mold                 links against the 450 MB libtorch_cpu.so in seconds
pkg-config           finds the libraries that ship no CMake files
nlohmann-json3-dev   JSON: configurations, headers of safetensors, metrics (torch headers include it too)
libyaml-cpp-dev      YAML: --config files and run.yaml
libcli11-dev         command line
liburing-dev         disk tier: asynchronous file I/O that does not block the compute lane
libxxhash-dev        checksums of everything that goes to disk
libpcre2-dev         tokenizers: Unicode regular expressions
libutf8proc-dev      tokenizers: Unicode normalisation
libgloo-dev          ranks over Gloo: headers that those of libtorch include and its wheel lacks; nothing of it is linked
libopenmpi-dev       ranks over MPI (--collective mpi)
openmpi-bin          mpirun
libgtest-dev         tests
librapidcheck-dev    tests: properties over random input
ca-certificates      downloads over HTTPS
python3              runs checks of the sources (tests only; Sluice itself never runs Python)
python3-pip          fetches wheels
unzip                unpacks wheels
'

say() { printf 'setup: %s\n' "$*" >&2; }
fail() { printf 'setup: [%s] %s\n' "$1" "$2" >&2; exit "${3:-2}"; }

usage() {
  cat <<'EOF'
usage: tools/setup.sh [--cuda] [--list]
  --cuda   also fetch what training on an NVIDIA GPU loads at run time (about 2 GB more)
  --list   print the Debian packages that building needs, one per line, and stop
EOF
}

cuda=0
for argument in "$@"; do
  case $argument in
    --cuda) cuda=1 ;;
    --list) awk 'NF { print $1 }' <<<"$packages"; exit 0 ;;
    --help | -h) usage; exit 0 ;;
    *) usage >&2; fail usage "unknown option: expected --cuda or --list, got $argument; see above" ;;
  esac
done

check_platform() {
  local id="" version=""
  [ "$(uname -s)-$(uname -m)" = Linux-x86_64 ] ||
    fail platform "unsupported machine: expected Linux on x86-64, got $(uname -s) on $(uname -m); other platforms are out"
  # shellcheck source=/dev/null
  [ -r /etc/os-release ] && { id=$(. /etc/os-release && echo "${ID:-}"); version=$(. /etc/os-release && echo "${VERSION_ID:-0}"); }
  case $id in
    debian) [ "${version%%.*}" -ge 12 ] && return ;;
    ubuntu) [ "${version%%.*}" -ge 24 ] && return ;;
  esac
  fail platform "unsupported system: expected Debian 12 or Ubuntu 24.04, got ${id:-unknown} ${version:-}; \
other systems are out (tools/setup.sh --list names what would be needed)"
}

install_packages() {
  local missing=() name why installed
  installed=$(dpkg-query -W -f '${Status} ${Package}\n' 2>/dev/null | sed -n 's/^install ok installed //p')
  while read -r name why; do
    [ -n "$name" ] && ! grep -qxF "$name" <<<"$installed" && missing+=("$name") && say "needs $name: $why"
  done <<<"$packages"
  [ ${#missing[@]} -eq 0 ] && return

  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null ||
      fail packages "not root and no sudo: expected a way to install packages; run as root: apt-get install ${missing[*]}"
    as_root=(sudo)
  fi
  mkdir -p .deps
  local log=.deps/apt.log
  say "installing ${#missing[@]} Debian packages (log: $log)"
  {
    "${as_root[@]}" apt-get update -q &&
      "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}"
  } >"$log" 2>&1 || { tail -n 20 "$log" >&2; fail packages "apt-get failed: see above and $log; mend it, then run this again" 4; }
}

torch_version=$(sed -n 's/^torch==\([0-9.]*\).*/\1/p' tools/wheels.txt)

# Whether folder $1 holds the torch that cmake/torch.cmake accepts.
is_our_torch() {
  [ -e "$1/lib/libtorch_cpu.so" ] && grep -q "^__version__ = '$torch_version" "$1/version.py" 2>/dev/null
}

# What .deps/ must hold; written last, so an unpacking that was cut off is done again.
stamp=.deps/torch/.complete
stamp_text() { cat tools/wheels.txt; if [ $cuda = 1 ]; then cat tools/wheels-cuda.txt; fi; }
is_unpacked() {
  [ -e $stamp ] || return 1
  # A stamp with the CUDA parts also serves a build without them.
  [ "$(stamp_text)" = "$(cat $stamp)" ] || [ "$(cat tools/wheels.txt tools/wheels-cuda.txt)" = "$(cat $stamp)" ]
}

fetch_torch() {
  local work=.deps/unpacking log=.deps/pip.log platform platforms=() wheel skip libraries headers='nvidia/cu13/include/*'
  local wheels=(-r tools/wheels.txt)
  for platform in manylinux_2_28 manylinux_2_27 manylinux_2_25 manylinux_2_18 manylinux_2_17 manylinux2014; do
    platforms+=(--platform "${platform}_x86_64")
  done
  if [ $cuda = 1 ]; then
    wheels+=(-r tools/wheels-cuda.txt)
    skip=(-x torch/lib/libtorch_python.so)
    libraries='nvidia/*/lib/*.so*'
  else
    skip=(-x torch/lib/libtorch_cuda.so torch/lib/libtorch_cuda_linalg.so torch/lib/libtorch_nvshmem.so
      torch/lib/libtorch_python.so)
    libraries='nvidia/cu13/lib/libcu*.so.13'
  fi
  rm -rf $work .deps/torch .deps/nvidia
  mkdir -p $work/wheels

  if [ $cuda = 1 ]; then say "fetching torch $torch_version with its CUDA libraries (about 2.5 GB)"
  else say "fetching torch $torch_version (about 545 MB; headers and libraries are kept, 0.5 GB)"; fi
  # --python-version names the wheel, not the Python here: any build of this version holds the same C++ parts.
  python3 -m pip download --quiet --disable-pip-version-check --no-cache-dir --no-deps --only-binary=:all: \
    --implementation cp --python-version 3.11 "${platforms[@]}" --require-hashes "${wheels[@]}" \
    --dest $work/wheels >$log 2>&1 ||
    { tail -n 5 $log >&2; fail torch "download failed: see above and $log; check the network or pip's index, then run this again" 4; }
  for wheel in "$work"/wheels/*.whl; do
    case ${wheel##*/} in
      torch-*) unzip -q "$wheel" 'torch/lib/*' 'torch/include/*' torch/version.py "${skip[@]}" -d $work ;;
      nvidia_cuda_crt-*) unzip -q -o "$wheel" "$headers" -d $work ;;
      nvidia_cuda_runtime-*) unzip -q -o "$wheel" "$libraries" "$headers" -d $work ;;
      *) unzip -q -o "$wheel" "$libraries" -d $work ;;
    esac || fail torch "unpacking ${wheel##*/} failed: see above; free some disk space and run this again" 4
    rm "$wheel"
  done
  mv $work/nvidia .deps/nvidia
  mv $work/torch .deps/torch
  rm -rf $work
  stamp_text >$stamp
  say "torch $torch_version is in .deps/torch"
}

provide_torch() {
  local python_torch
  if [ -n "${TORCH_HOME:-}" ] && is_our_torch "$TORCH_HOME"; then return; fi
  if is_unpacked; then return; fi
  python_torch=$(python3 -c "import importlib.util as u; print(u.find_spec('torch').submodule_search_locations[0])" 2>/dev/null || true)
  if [ ! -e $stamp ] && [ -n "$python_torch" ] && is_our_torch "$python_torch"; then
    say "using the torch $torch_version of the active Python, in $python_torch"
    return
  fi
  mkdir -p .deps
  exec 9>.deps/lock
  flock 9
  is_unpacked || fetch_torch
}

check_platform
install_packages
provide_torch
