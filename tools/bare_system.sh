#!/usr/bin/env bash
# Proves the README's commands where a new user stands: makes a bare Debian 12 (debootstrap minbase, git, certificates) in a
# temporary folder, clones the committed state of this checkout into it and runs a command there, timed. Needs root,
# debootstrap, git and the network. How this machine reaches the registries (apt sources and proxies, pip's settings,
# certificates, name servers) is handed on; nothing of it is stored in the repository.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
  cat <<'EOF'
usage: tools/bare_system.sh [options] [COMMAND...]
  COMMAND...       run in the clone's root (default: tools/quickstart.sh)
  --suite NAME     Debian or Ubuntu suite (default: bookworm)
  --mirror URL     where debootstrap fetches from (default: this machine's apt source, else deb.debian.org)
  --base DIR       keep the bare system here and start from it the next time
  --keep           leave the run's folder and print its path
EOF
}

suite=bookworm mirror="" base="" keep=0
while [ $# -gt 0 ]; do
  case $1 in
    --suite) suite=$2; shift 2 ;;
    --mirror) mirror=$2; shift 2 ;;
    --base) base=$2; shift 2 ;;
    --keep) keep=1; shift ;;
    --help | -h) usage; exit 0 ;;
    --*) usage >&2; exit 2 ;;
    *) break ;;
  esac
done
if [ $# -eq 0 ]; then set -- tools/quickstart.sh; fi

fail() { echo "bare_system: $*" >&2; exit 2; }
[ "$(id -u)" -eq 0 ] || fail "not root: debootstrap and chroot need it; run with sudo"
command -v debootstrap >/dev/null || fail "debootstrap is missing: apt-get install debootstrap"
[ -z "$(git status --porcelain --untracked-files=no)" ] || echo "bare_system: changes that are not committed are left out" >&2

find_mirror() {
  { cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null || true; } |
    sed -n -e 's/^URIs: *\([^ ]*debian\)\/*$/\1/p' -e 's/^deb  *\(\[[^]]*\] *\)\{0,1\}\([^ ]*debian\)\/*  *[a-z].*/\2/p' |
    head -n 1
}
[ -n "$mirror" ] || mirror=$(find_mirror)
[ -n "$mirror" ] || mirror=http://deb.debian.org/debian

work=$(mktemp -d -p "${TMPDIR:-/var/tmp}" sluice-bare.XXXXXX)
trap '[ $keep = 1 ] && echo "bare_system: kept $work/root" >&2 || rm -rf --one-file-system "$work"' EXIT
root=$work/root

if [ -n "$base" ] && [ -d "$base/usr" ]; then
  cp -a "$base" "$root"
else
  echo "bare_system: making a bare $suite" >&2
  debootstrap --variant=minbase --include=git,ca-certificates "$suite" "$root" "$mirror" >"$work/debootstrap.log" 2>&1 ||
    { tail -n 20 "$work/debootstrap.log" >&2; fail "debootstrap failed"; }
  if [ -n "$base" ]; then mkdir -p "$(dirname "$base")"; cp -a "$root" "$base"; fi
fi

# The ways out of this machine.
cp -L /etc/resolv.conf /etc/hosts "$root/etc/"
cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
grep -hs '^Acquire::[a-z]*::proxy' -i /etc/apt/apt.conf /etc/apt/apt.conf.d/* >"$root/etc/apt/apt.conf.d/90host" || true
for settings in /etc/pip.conf "$HOME/.pip/pip.conf" "${XDG_CONFIG_HOME:-$HOME/.config}/pip/pip.conf"; do
  if [ -r "$settings" ]; then cat "$settings"; fi
done >"$root/etc/pip.conf"
variables=(HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 "TERM=${TERM:-dumb}")
while IFS= read -r variable; do variables+=("$variable"); done < <(env | grep -iE '^(https?_proxy|no_proxy|PIP_(INDEX_URL|EXTRA_INDEX_URL|TRUSTED_HOST|DEFAULT_TIMEOUT|CERT))=')

git clone -q --no-hardlinks . "$root/sluice"
echo "bare_system: $suite, commit $(git rev-parse --short HEAD): $*" >&2
status=0
SECONDS=0
# The mounts live in a namespace of their own and end with the command, whatever happens to it.
# shellcheck disable=SC2016
unshare --mount --fork --pid --kill-child bash -c '
  mount -t proc proc "$1/proc" && mount --rbind /dev "$1/dev" && mount --bind /sys "$1/sys"
  root=$1; shift
  count=$1; shift
  exec chroot "$root" env -i "${@:1:count}" bash -c "cd /sluice && exec \"\$@\"" bash "${@:count+1}"
' bash "$root" ${#variables[@]} "${variables[@]}" "$@" || status=$?
printf 'bare_system: exit code %d after %d min %02d s\n' $status $((SECONDS / 60)) $((SECONDS % 60)) >&2
exit $status
