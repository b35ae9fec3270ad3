#!/usr/bin/env bash
# Makes a Debian or Ubuntu machine ready to build, test and demonstrate Persoline. Run it as often as you like: it installs
# what is missing with apt and touches nothing else. Other systems get a list of what to install.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# What must be there, the package that brings it, and what for.
needs=(
  "command:softhsm2-util        softhsm2           the HSM of tests and demonstrations"
  "library:libsoftokn3.so       libnss3            the second PKCS#11 module that the HSM tests run on"
  "command:xmllint              libxml2-utils      tests check EIS batches against their schema"
  "command:osmo-auc-gen         libosmocore-utils  tests compare Milenage with another implementation"
  "command:openssl              openssl            tests compare certificates and unwrap exports with it"
  "command:pcscd                pcscd              readers: PC/SC, for lines with such heads and for tests"
  "library:pcsc/drivers/serial/libifdvpcd.so  vsmartcard-vpcd  virtual readers, in which tests and demonstrations put virtual chips"
  "command:opensc-tool          opensc             tests have it read finished chips"
  "file:/usr/include/PCSC/winscard.h  libpcsclite-dev  tests compare the binding with its header; the build does not need it"
  "any:/usr/lib/postgresql/*/bin/initdb  postgresql  tests run the ledger on PostgreSQL, in a cluster of their own"
  "command:gcc                  gcc                PKCS#11 modules are loaded through cgo"
  "file:/usr/include/stdlib.h   libc6-dev          headers for cgo"
  "file:/etc/ssl/certs/ca-certificates.crt  ca-certificates  fetching Go modules over TLS"
)

main() {
  check_go
  local missing=() need what package why
  for need in "${needs[@]}"; do
    read -r what package why <<<"$need"
    if ! is_there "$what"; then
      echo "setup: missing $package ($why)"
      missing+=("$package")
    fi
  done
  if ((${#missing[@]} > 0)); then
    install_packages "${missing[@]}"
  fi
}

is_there() {
  case $1 in
    command:*) command -v "${1#command:}" >/dev/null || [[ -x /usr/sbin/${1#command:} ]] ;;
    file:*) [[ -e ${1#file:} ]] ;;
    any:*) compgen -G "${1#any:}" >/dev/null ;;
    library:*) compgen -G "/usr/lib*/${1#library:}" >/dev/null || compgen -G "/usr/lib/*/${1#library:}" >/dev/null ;;
  esac
}

# check_go compares the Go that would build this module with the one that go.mod asks for.
check_go() {
  local want have
  want=$(awk '$1 == "go" { print $2 }' go.mod)
  if ! command -v go >/dev/null; then
    fail "Go is not installed; this needs go$want or later: https://go.dev/dl/ (then put its bin folder into PATH)"
  fi
  have=$(go env GOVERSION 2>/dev/null || true)
  have=${have#go}
  have=${have%% *}
  if [[ -z $have || $(printf '%s\n%s\n' "$want" "$have" | sort -V | head -n 1) != "$want" ]]; then
    fail "Go ${have:-of unknown version} at $(command -v go) is too old; this needs go$want or later: https://go.dev/dl/"
  fi
}

install_packages() {
  if ! command -v apt-get >/dev/null; then
    fail "this is not Debian or Ubuntu; install what brings: $*"
  fi
  local command="apt-get update && apt-get install --yes --no-install-recommends $*"
  if ((EUID == 0)); then
    echo "setup: running: $command"
    run_apt env "$@"
    return
  fi
  command="sudo apt-get update && sudo apt-get install --yes --no-install-recommends $*"
  if [[ ! -t 0 ]] || ! command -v sudo >/dev/null; then
    fail "root is needed for this, and nobody is here to ask; run: $command"
  fi
  local answer
  read -r -p "setup: run \"$command\"? [y/N] " answer
  [[ $answer == [yY]* ]] || fail "nothing was installed"
  run_apt sudo "$@"
}

# run_apt runs apt behind its first argument (sudo, or env for root), without questions. The virtual readers come without the
# configuration that would give them to the system's pcscd: that one listens on every network interface.
run_apt() {
  local as=$1
  shift
  "$as" apt-get -q update
  "$as" env DEBIAN_FRONTEND=noninteractive apt-get -q install --yes --no-install-recommends \
    -o Dpkg::Options::=--path-exclude=/etc/reader.conf.d/vpcd "$@"
}

fail() {
  echo "setup: error: $1" >&2
  exit 1
}

main
