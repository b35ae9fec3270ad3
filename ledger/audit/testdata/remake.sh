#!/bin/sh
# Makes the bundle of today's format anew, with the program itself: sh ledger/audit/testdata/remake.sh bin/perso
#
# Only for as long as nothing is released. From the first release on, the bundle of each format that a release wrote stays as it is,
# and another format gets another folder.
set -eu
perso=$(readlink -f "$1")
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$here/../../.."
"$perso" demo --dir "$work/demo" --order deploy/samples/orders/small-20.json >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
rm -rf "$here/bundle-1"
cp -r "$work"/demo/out/*/audit-* "$here/bundle-1"
"$perso" audit verify --json "$here/bundle-1" 2>/dev/null >"$work/verified"
for key in "officer register" "log key" "statement key"; do
	sed 's/.*"name":"'"$key"'","fingerprint":"\([0-9a-f]*\)".*/\1/' "$work/verified"
done >"$here/bundle-1.pins"
