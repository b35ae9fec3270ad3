#!/bin/sh
# Holds two key ceremonies on SoftHSM with two officers and three custodians, and shows what an auditor and the vault see,
# also when an old token is put back. Usage: demo.sh PERSO FOLDER, with the program and a folder that does not exist
# yet; an earlier demo there is replaced.
# Everything here is of the environment test: one machine and one person play all parts.
set -eu

samples=$(cd "$(dirname "$0")" && pwd)
perso=$(realpath "$1")
dir=$2
begin=$(date +%s)
marker=CEREMONY-DEMO
if [ -e "$dir/$marker" ]; then
	rm -rf -- "$dir"
fi
if [ -e "$dir" ]; then
	echo "\"$dir\" is there already, and no earlier ceremony demo made it: choose another folder (make ceremony-demo DIR=other)" >&2
	exit 2
fi
mkdir "$dir"
echo 'made by "make ceremony-demo"; it will be replaced by the next one' >"$dir/$marker"
cd "$dir"
umask 077
rows=""

# row notes one line of the table at the end.
row() { rows="$rows$1|$2
"; }

# refused runs a command that must exit with 3, and keeps what it says.
refused() {
	code=0
	"$@" >refused.out 2>refused.err || code=$?
	if [ "$code" != 3 ]; then
		echo "exit code $code, expected 3: $*" >&2
		cat refused.out refused.err >&2
		exit 1
	fi
}

# value picks one field from the JSON of the last command.
value() { sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p" last.json; }

# Two officers make their keys; each of three custodians draws a component of two keys, apart from the others.
for who in "prod-1 production Test Production Officer" "sec-1 security Test Security Officer"; do
	set -- $who
	id=$1 role=$2
	shift 2
	"$perso" officer new "$id" --person "$*" --role "$role" -o "$id.key" --json >last.json
	value key >"$id.public"
done
for n in 1 2 3; do
	mkdir "keeper-$n"
	for key in kmc op; do
		"$perso" key component --class $key --bytes 16 -o "keeper-$n/$key.hex" >"keeper-$n/$key.kcv"
	done
	cat "keeper-$n/kmc.hex" "keeper-$n/op.hex" >"keeper-$n/components"
done
for n in 1 2; do
	od -An -tx1 -N8 /dev/urandom | tr -d ' \n' >"keeper-$n/pin"
done
pins="--half keeper-1=file:keeper-1/pin --half keeper-2=file:keeper-2/pin"
people="--key prod-1.key --key sec-1.key --yes"
parts="--from keeper-1=file:keeper-1/components --from keeper-2=file:keeper-2/components --from keeper-3=file:keeper-3/components"

# The samples name fixed days; here the ceremony is today.
days="s/2027-12-31T00:00:00Z/$(date -u -d '+1 day' +%Y-%m-%dT%H:%M:%SZ)/; s/until: 20../until: $(date -u -d '+10 years' +%Y)/"

sed -e "$days" -e "s/a\{64\}/$(cat prod-1.public)/" -e "s/b\{64\}/$(cat sec-1.public)/" \
	-e "s/000001/$(cat keeper-1/kmc.kcv)/" -e "s/000002/$(cat keeper-2/kmc.kcv)/" -e "s/000003/$(cat keeper-3/kmc.kcv)/" \
	-e "s/000004/$(cat keeper-1/op.kcv)/" -e "s/000005/$(cat keeper-2/op.kcv)/" -e "s/000006/$(cat keeper-3/op.kcv)/" \
	"$samples/first.yaml" >first.yaml
"$perso" key check first.yaml >check.out
row "plan reviewed" "$(grep -c '^ ' check.out) steps, $(grep '^plan' check.out | cut -c1-21)…"

"$perso" key token first.yaml $pins >token.out
row "token made" "$(cat token.out | cut -d' ' -f1-3), PIN in two halves"

# One custodian is away: nothing may be left.
if "$perso" key run first.yaml $people $pins --from keeper-1=file:keeper-1/components --from keeper-2=file:keeper-2/components --from keeper-3=file:keeper-3/pin2 >away.out 2>away.err; then
	echo "a ceremony without its third custodian went through" >&2
	exit 1
fi
if grep -q "import.*intent" away.err; then
	echo "two components of three left an intent" >&2
	exit 1
fi
row "third custodian away" "refused; $(grep -c ': done' away.err) acts done for the site, nothing of the import"

"$perso" key run first.yaml $people $pins $parts --json >last.json 2>first.err
cp last.json first.json
pin=$(value register_pin) head=$(value head)
row "ceremony 1" "$(value outcome), gone on with after the break, head $(echo "$head" | cut -c1-16)…"
"$perso" key list first.yaml $pins --head "$head" >list1.out 2>list1.err
row "keys on the token" "$(grep -c ' ok$' list1.out) as the inventory says (one of them sealed in a file)"
cp -a token token-before

sed -e "$days" -e "s/c\{64\}/$head/" -e "s/d\{64\}/$pin/" "$samples/second.yaml" >second.yaml
"$perso" key run second.yaml $people $pins --json >last.json 2>second.err
head=$(value head)
row "ceremony 2" "$(value outcome), maker's key retired, destroyed, 3 copies signed off, head $(echo "$head" | cut -c1-16)…"
"$perso" key list second.yaml $pins --head "$head" >list2.out 2>list2.err
row "maker's key" "$(grep kmc/maker-1 list2.out | tr -s ' ' | cut -d' ' -f2), $(grep kmc/maker-1 list2.out | grep -o '[0-9] of [0-9]') copies left"
"$perso" audit ceremony inventory --register-pin "$pin" --head "$head" >audit.out
row "audit, offline" "$(tail -1 audit.out), $(grep -c complete audit.out) ceremonies"

mkdir altered
cp inventory/*.transcript altered
sed -i 's/place safe 2/place safe 9/' altered/0001.transcript
refused "$perso" audit ceremony altered --register-pin "$pin"
row "one digit altered" "exit 3: $(sed -n 's/.*does not hold: \([^:]*: [^:]*\):.*/\1/p' refused.err)"
rm altered/0001.transcript
cp inventory/0001.transcript altered
rm altered/0002.transcript
refused "$perso" audit ceremony altered --register-pin "$pin" --head "$head"
row "last transcript hidden" "exit 3 against the head on paper"

mv token token-now
mv token-before token
refused "$perso" key list second.yaml $pins --head "$head"
row "old token put back" "exit 3: $(grep -o 'ALARM came back' refused.out) $(grep 'ALARM came back' refused.out | cut -d' ' -f1)"

if grep -rqiF -f keeper-1/kmc.hex inventory vault 2>/dev/null; then
	echo "a component is in the inventory" >&2
	exit 1
fi
printf '\nKEY CEREMONY, environment test\n'
printf '%s' "$rows" | awk -F'|' '{ printf "  %-24s %s\n", $1, $2 }'
printf '  %-24s %s s, everything is in %s\n' "took" "$(($(date +%s) - begin))" "$dir"
