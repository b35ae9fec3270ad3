package hsm

import (
	"encoding/binary"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/miekg/pkcs11"
)

var update = flag.Bool("update", false, "write KEYS.md from policy.go")

// TestKeysPage: KEYS.md is what policy.go says, word for word.
func TestKeysPage(t *testing.T) {
	t.Parallel()
	want := keysPage()
	if *update {
		if err := os.WriteFile("KEYS.md", []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile("KEYS.md")
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Error("KEYS.md does not say what policy.go says; run go test ./hsm -run TestKeysPage -update and review the change")
	}
}

const keysIntro = `# Keys on the token

This page is written from policy.go by ` + "`go test ./hsm -run TestKeysPage -update`" + `; a test fails when the two differ, and
another reads every attribute of every class back from SoftHSM and from NSS softoken. The same table is checked against the
token before a key is used: a key that differs in one attribute is refused, whoever made it.

A key's label is ` + "`persoline/<environment>/<class>/<id>`" + `, once per token; CKA_ID is 16 random bytes of the token. The environments
"check" and "bench" are those of ` + "`perso hsm check --probe` and `perso hsm bench`" + `: their keys live for seconds, and one that a crash
left may be destroyed. Modules must
know PKCS#11 v2.40: one that does not keep an attribute below is refused when a key is made, unless whoever opens it has
declared that gap (see Gaps).

## Classes

| class | object | made with | allowed mechanism | uses | import | why |
|---|---|---|---|---|---|---|
`

const keysBackups = `
## Backups of the token

A key that comes from a backup of the HSM's own, or by its maker's means to another token of the cluster, must read there as it did: CKA_LOCAL true
where it was made inside. A module that sets it false for what it restores brings no site back: pairs are refused, and a lot that
has receipts is never opened again, since its key could be somebody's who knows it (keygen/DESIGN.md, "Keys are derived").
If it keeps ALWAYS_SENSITIVE and NEVER_EXTRACTABLE, the gap local makes up for that, though new keys show none.

Try it before production, on a token of the same model and firmware, with a test site that has made a lot and is stopped: type
` + "`perso hsm check --site ./site --keys`" + `, restore the HSM's backup into an empty token, and type it again. Each key must be there and say what it
said: every lot, receipt, seal, print and signing key was made inside. A pair that the module changed is refused (exit 3); of other keys
compare the two lists. Start the site and go on with the lot. Do it again when the firmware changes.
`

func keysPage() string {
	var b strings.Builder
	b.WriteString(keysIntro)
	for _, c := range Classes() {
		r := ruleOf(c)
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s |\n",
			c, objectText(r), name(r.generator()), names(r.mechanisms), names(r.uses), importText(r), r.why)
	}
	b.WriteString("\nWhere a token has no EdDSA, log and statement keys are P-256 pairs with CKM_ECDSA.\n")
	secret, private := ruleOf(ClassLot), ruleOf(ClassEUM)
	table(&b, "Secret keys", "SENSITIVE and not EXTRACTABLE from birth: a key made inside (CKA_LOCAL) must also read ALWAYS_SENSITIVE and NEVER_EXTRACTABLE.", secret.keyObject())
	table(&b, "Private keys", "Always made inside: CKA_LOCAL, ALWAYS_SENSITIVE and NEVER_EXTRACTABLE must read true.", private.keyObject())
	table(&b, "Public keys", "One beside each private key, under the same label. An RSA pair has CKA_PUBLIC_EXPONENT 65537 in the place of CKA_EC_PARAMS, and\nits modulus is measured.", private.publicObject())
	card := support{eddsa: true, wrap: ckmAESKeyWrapKWP}
	tableWith(&b, "Card key pairs", "Where a chip makes no pair of its own (key_origin hsm), CardPair makes one, takes it out and destroys it, all in one session:\n"+
		"P-256, CKM_EC_KEY_PAIR_GEN. It leaves once, wrapped (RFC 5649) under a carrier that is made for it alone.", cardKeyObject(card), oneText)
	tableWith(&b, "Carriers of card key pairs", "AES-256, 32 bytes of C_GenerateRandom brought in by C_CreateObject: the vault undoes the wrapping itself, since a key that could\n"+
		"wrap and decrypt would be the classic way to read any key out. Allowed: CKM_AES_KEY_WRAP_KWP, or CKM_AES_KEY_WRAP_PAD where the\nmodule has only that.", carrierObject(card), oneText)
	b.WriteString("\n## Gaps\n\nWhat a module may lack, when it is opened with the gap declared. The log names each gap at every start, `perso hsm check`\n" +
		"compares the declared ones with those that it finds, and tests assert that they are there. SoftHSM has none, NSS softoken all.\n" +
		"Where keys can be taken out (test only), keys of the environment `production` are neither made nor used.\n\n| gap | test only | without it |\n|---|---|---|\n")
	for _, g := range Gaps() {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", g, map[bool]string{true: "yes"}[g.TestOnly()], g.Cost())
	}
	b.WriteString(keysBackups)
	return b.String()
}

func table(b *strings.Builder, title, note string, list []attribute) {
	tableWith(b, title, note, list, valueText)
}

// oneText shows a value of a template that is not by class.
func oneText(a attribute) string {
	switch a.typ {
	case pkcs11.CKA_KEY_TYPE:
		return map[uint]string{pkcs11.CKK_EC: "CKK_EC", pkcs11.CKK_AES: "CKK_AES"}[a.value.(uint)]
	case pkcs11.CKA_ALLOWED_MECHANISMS:
		return name(uint(binary.NativeEndian.Uint64(a.value.([]byte))))
	case pkcs11.CKA_SIGN, pkcs11.CKA_ENCRYPT, pkcs11.CKA_DECRYPT:
		return fmt.Sprint(a.value)
	}
	return valueText(a)
}

func tableWith(b *strings.Builder, title, note string, list []attribute, text func(attribute) string) {
	fmt.Fprintf(b, "\n## %s\n\n%s\n\n| attribute | value | why |\n|---|---|---|\n", title, note)
	for _, a := range list {
		fmt.Fprintf(b, "| %s | %s | %s |\n", a.name, text(a), a.why)
	}
}

// valueText shows a value, or that it depends on the class.
func valueText(a attribute) string {
	switch a.typ {
	case pkcs11.CKA_CLASS:
		return map[uint]string{pkcs11.CKO_SECRET_KEY: "CKO_SECRET_KEY", pkcs11.CKO_PRIVATE_KEY: "CKO_PRIVATE_KEY", pkcs11.CKO_PUBLIC_KEY: "CKO_PUBLIC_KEY"}[a.value.(uint)]
	case pkcs11.CKA_KEY_TYPE, pkcs11.CKA_ALLOWED_MECHANISMS, pkcs11.CKA_EC_PARAMS,
		pkcs11.CKA_SIGN, pkcs11.CKA_ENCRYPT, pkcs11.CKA_DECRYPT:
		if a.value != false || a.why != "not used" {
			return "by class"
		}
	}
	return fmt.Sprint(a.value)
}

func objectText(r rule) string {
	switch r.form {
	case generic:
		return "CKK_GENERIC_SECRET, 32 bytes"
	case aes:
		return fmt.Sprintf("CKK_AES, %d bytes", r.makeBytes)
	case p256:
		return "CKK_EC, P-256 pair"
	case brain:
		return "CKK_EC, brainpoolP256r1 pair"
	case rsa3072:
		return fmt.Sprintf("CKK_RSA, pair of %d bits", rsaBits)
	case des3:
		return fmt.Sprintf("CKK_DES3, %d bytes", r.makeBytes)
	default:
		return "CKK_EC_EDWARDS, Ed25519 pair"
	}
}

func importText(r rule) string {
	if !r.class.permits(VerbImport) {
		return "never"
	}
	return strings.ReplaceAll(strings.Trim(fmt.Sprint(r.importBytes), "[]"), " ", ", ") + " bytes"
}

func names(list []uint) string {
	var out []string
	for _, m := range list {
		out = append(out, name(m))
	}
	return strings.Join(out, ", ")
}

func name(code uint) string {
	switch code {
	case pkcs11.CKA_SIGN:
		return "SIGN"
	case pkcs11.CKA_ENCRYPT:
		return "ENCRYPT"
	case pkcs11.CKA_DECRYPT:
		return "DECRYPT"
	}
	return mechanismName(code)
}

// TestPolicyIsClosed: every class has a whole rule, and no rule lets a key out
// or in.
func TestPolicyIsClosed(t *testing.T) {
	t.Parallel()
	for _, c := range Classes() {
		r := ruleOf(c)
		if r.form == 0 || r.why == "" || len(r.mechanisms) != 1 {
			t.Errorf("%s: incomplete rule %+v", c, r)
		}
		for _, a := range r.keyObject() {
			switch a.typ {
			case pkcs11.CKA_WRAP, pkcs11.CKA_UNWRAP, pkcs11.CKA_DERIVE, pkcs11.CKA_EXTRACTABLE, pkcs11.CKA_MODIFIABLE, pkcs11.CKA_COPYABLE:
				if a.value != false {
					t.Errorf("%s: %s is set", c, a.name)
				}
			case pkcs11.CKA_ALLOWED_MECHANISMS:
				if got := binary.NativeEndian.Uint64(a.value.([]byte)); got != uint64(r.mechanisms[0]) {
					t.Errorf("%s: allowed mechanism %#x", c, got)
				}
			}
			if a.why == "" {
				t.Errorf("%s: %s has no reason", c, a.name)
			}
		}
	}
	if ruleOf(0).form != 0 || ruleOf(99).form != 0 {
		t.Error("a rule for no class")
	}
}
