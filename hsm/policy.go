package hsm

import (
	"encoding/binary"
	"slices"

	"github.com/miekg/pkcs11"
)

// What came with PKCS #11 v3.0; the binding stops at v2.40.
const (
	ckmAESKeyWrapKWP       = 0x210B
	ckkECEdwards           = 0x40
	ckmECEdwardsKeyPairGen = 0x1055
	ckmEdDSA               = 0x1057
)

// An attribute is one line of a key's template: what is set when the key is
// made and what must be read back before it is used.
type attribute struct {
	typ   uint
	name  string
	value any // bool, uint, string or []byte
	why   string
}

// gap is what a module that cannot keep the attribute must declare; 0: every
// module must keep it.
func (a attribute) gap(class uint) Gap {
	switch a.typ {
	case pkcs11.CKA_ALLOWED_MECHANISMS:
		return GapAllowedMechanisms
	case pkcs11.CKA_COPYABLE:
		return GapCopyable
	case pkcs11.CKA_DESTROYABLE:
		return GapDestroyable
	case pkcs11.CKA_PRIVATE:
		if class == pkcs11.CKO_PUBLIC_KEY {
			return GapPrivatePublic
		}
	}
	return 0
}

// form is what kind of PKCS#11 object a class lives in.
type form uint8

const (
	generic form = iota + 1 // CKO_SECRET_KEY, CKK_GENERIC_SECRET
	aes                     // CKO_SECRET_KEY, CKK_AES
	p256                    // key pair on P-256
	edwards                 // key pair on edwards25519; p256 where the token has no EdDSA
	brain                   // key pair on brainpoolP256r1
	des3                    // CKO_SECRET_KEY, CKK_DES3
	rsa3072                 // key pair, CKK_RSA with a modulus of 3072 bits
)

// A rule is the policy of one class. The rules are the single source of the
// templates, of the check before use and of KEYS.md.
type rule struct {
	class Class
	form  form
	// uses are the CKA usage attributes that are true; all others are false.
	uses []uint
	// mechanisms is CKA_ALLOWED_MECHANISMS: all the key may be used with.
	mechanisms []uint
	// makeBytes is the length Generate asks for; importBytes what Import
	// takes, where the class permits it, and the lengths that a key may have.
	makeBytes   int
	importBytes []int
	why         string
	// gaps are those of the token that the rule is kept on.
	gaps []Gap
}

// ruleOf returns the policy of a class; for no class it has no form.
func ruleOf(c Class) rule {
	mac := rule{class: c, form: generic, uses: []uint{pkcs11.CKA_SIGN},
		mechanisms: []uint{pkcs11.CKM_SHA256_HMAC}, makeBytes: 32, importBytes: []int{32}}
	sign := rule{class: c, form: edwards, uses: []uint{pkcs11.CKA_SIGN}, mechanisms: []uint{ckmEdDSA}}
	cert := rule{class: c, form: p256, uses: []uint{pkcs11.CKA_SIGN}, mechanisms: []uint{pkcs11.CKM_ECDSA}}
	ecb := rule{class: c, form: aes, uses: []uint{pkcs11.CKA_ENCRYPT},
		mechanisms: []uint{pkcs11.CKM_AES_ECB}, makeBytes: 32, importBytes: []int{16, 24, 32}}
	switch c {
	case ClassLot:
		mac.why = "seeds of a lot's cards; destroying it is the deletion of the lot's secrets"
		return mac
	case ClassReceipt:
		mac.why = "MACs of render receipts; apart from lot keys, since it outlives them"
		return mac
	case ClassLife:
		mac.why = "which life a vault is in: its MAC of a constant stands in the vault's state, and it is destroyed when the next life begins, so that a copy or an older state finds its key gone"
		return mac
	case ClassKiPrint:
		mac.why = "prints of customers' Ki: the same for the same Ki, and nothing to anybody else; apart from the receipt key, so that no MAC of one is one of the other"
		return mac
	case ClassLog:
		sign.why = "checkpoints of the log, and nothing else"
		return sign
	case ClassStatement:
		sign.why = "the vault's other statements; apart from the log key, so that neither can speak for the other"
		return sign
	case ClassEUM:
		cert.why = "eUICC certificates; P-256 as SGP.02 and SGP.22 ask"
		return cert
	case ClassEIS:
		cert.why = "EIS records for an SM-SR; P-256 as SGP.02 asks"
		return cert
	case ClassTransport:
		ecb.why = "a receiver's K4; wraps Ki on export and never decrypts, so that no export can be read here"
		return ecb
	case ClassSMSR:
		ecb.makeBytes, ecb.importBytes = 16, []int{16}
		ecb.why = "key sets for an SM-SR; AES-128 as agreed with it, encrypts only"
		return ecb
	case ClassKMC:
		ecb.why = "a chip maker's master key; diversifying needs only the forward direction"
		return ecb
	case ClassEUMBrainpool:
		cert.form = brain
		cert.why = "eUICC certificates on brainpoolP256r1, the other curve of SGP.02 and SGP.22; refused where the module lacks it"
		return cert
	case ClassTransport3DES:
		return rule{class: c, form: des3, uses: []uint{pkcs11.CKA_ENCRYPT}, mechanisms: []uint{pkcs11.CKM_DES3_ECB},
			makeBytes: 24, importBytes: []int{16, 24},
			why: "transport key of an AuC that knows no AES; 16 bytes are two-key 3DES and become K1 K2 K1"}
	case ClassKMCEMV, ClassKMCVISA2:
		return rule{class: c, form: des3, uses: []uint{pkcs11.CKA_ENCRYPT}, mechanisms: []uint{pkcs11.CKM_DES3_ECB},
			makeBytes: 24, importBytes: []int{16, 24},
			why: "a chip maker's Triple DES master key for chips with SCP02; one class for each way of diversifying it"}
	case ClassReceive:
		ecb.uses = []uint{pkcs11.CKA_DECRYPT}
		ecb.why = "an operator's key that his own Ki arrive under; opens one and never encrypts, so that nothing can be put in his name"
		return ecb
	case ClassEnvelope:
		return rule{class: c, form: rsa3072, uses: []uint{pkcs11.CKA_SIGN}, mechanisms: []uint{pkcs11.CKM_SHA512_RSA_PKCS},
			why: "the maker's signature on envelopes with Ki; RSA, since receivers of that form know nothing else"}
	case ClassSeal:
		return rule{class: c, form: aes, uses: []uint{pkcs11.CKA_ENCRYPT, pkcs11.CKA_DECRYPT},
			mechanisms: []uint{pkcs11.CKM_AES_GCM}, makeBytes: 32, importBytes: []int{32},
			why: "OP, TOP and random Ki at rest: data to be read back in the vault, so it alone decrypts"}
	}
	return rule{class: c}
}

// on returns the rule as this token can keep it: Ed25519 becomes ECDSA on
// P-256 where the token has no EdDSA, and attributes in a declared gap are left
// out.
func (r rule) on(s support) rule {
	if r.form == edwards && !s.eddsa {
		r.form, r.mechanisms = p256, []uint{pkcs11.CKM_ECDSA}
	}
	r.gaps = s.gaps
	return r
}

// kept leaves out what the rule's token cannot keep of an object of the class.
func (r rule) kept(class uint, list []attribute) []attribute {
	return slices.DeleteFunc(list, func(a attribute) bool { return slices.Contains(r.gaps, a.gap(class)) })
}

// isPair reports whether the class is a private and a public key.
func (r rule) isPair() bool { return slices.Contains([]form{p256, edwards, brain, rsa3072}, r.form) }

// objectClass is the CKA_CLASS of the object that must stay secret.
func (r rule) objectClass() uint {
	if r.isPair() {
		return pkcs11.CKO_PRIVATE_KEY
	}
	return pkcs11.CKO_SECRET_KEY
}

// keyType is the object's CKA_KEY_TYPE.
func (r rule) keyType() uint {
	switch r.form {
	case generic:
		return pkcs11.CKK_GENERIC_SECRET
	case aes:
		return pkcs11.CKK_AES
	case des3:
		return pkcs11.CKK_DES3
	case p256, brain:
		return pkcs11.CKK_EC
	case rsa3072:
		return pkcs11.CKK_RSA
	default:
		return ckkECEdwards
	}
}

// generator is the mechanism that makes the key inside the token.
func (r rule) generator() uint {
	switch r.form {
	case generic:
		return pkcs11.CKM_GENERIC_SECRET_KEY_GEN
	case aes:
		return pkcs11.CKM_AES_KEY_GEN
	case des3:
		return pkcs11.CKM_DES3_KEY_GEN
	case p256, brain:
		return pkcs11.CKM_EC_KEY_PAIR_GEN
	case rsa3072:
		return pkcs11.CKM_RSA_PKCS_KEY_PAIR_GEN
	default:
		return ckmECEdwardsKeyPairGen
	}
}

// blockBytes is the block of the cipher that the key is for.
func (r rule) blockBytes() int {
	if r.form == des3 {
		return desBlockBytes
	}
	return aesBlockBytes
}

// curve is the CKA_EC_PARAMS of a pair: the curve's object identifier in DER,
// prime256v1 (RFC 5480), id-Ed25519 (RFC 8410) or brainpoolP256r1 (RFC 5639).
func (r rule) curve() []byte {
	switch r.form {
	case edwards:
		return []byte{0x06, 0x03, 0x2b, 0x65, 0x70} // 1.3.101.112
	case brain:
		return []byte{0x06, 0x09, 0x2b, 0x24, 0x03, 0x03, 0x02, 0x08, 0x01, 0x01, 0x07} // 1.3.36.3.3.2.8.1.1.7
	default:
		return []byte{0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07} // 1.2.840.10045.3.1.7
	}
}

// keyObject is the template of the secret or private key, all but its name.
func (r rule) keyObject() []attribute {
	list := []attribute{
		{pkcs11.CKA_CLASS, "CKA_CLASS", r.objectClass(), "the part that must stay secret"},
		{pkcs11.CKA_KEY_TYPE, "CKA_KEY_TYPE", r.keyType(), "fixes the algorithms the token will consider at all"},
		{pkcs11.CKA_TOKEN, "CKA_TOKEN", true, "lives on the token, not in a session that may be thrown away"},
		{pkcs11.CKA_PRIVATE, "CKA_PRIVATE", true, "invisible before login"},
		{pkcs11.CKA_MODIFIABLE, "CKA_MODIFIABLE", false, "no attribute is ever changed, by us or by another client"},
		{pkcs11.CKA_COPYABLE, "CKA_COPYABLE", false, "a copy could get a softer template"},
		{pkcs11.CKA_DESTROYABLE, "CKA_DESTROYABLE", true, "deletion is a duty of SAS-UP"},
		{pkcs11.CKA_SENSITIVE, "CKA_SENSITIVE", true, "the value is never shown"},
		{pkcs11.CKA_EXTRACTABLE, "CKA_EXTRACTABLE", false, "nor wrapped out"},
		{pkcs11.CKA_WRAP_WITH_TRUSTED, "CKA_WRAP_WITH_TRUSTED", true, "second bolt: wrapping would need a key that the security officer trusts"},
	}
	usages := []attribute{
		{pkcs11.CKA_SIGN, "CKA_SIGN", false, "MAC or signature"},
		{pkcs11.CKA_SIGN_RECOVER, "CKA_SIGN_RECOVER", false, "not used"},
		{pkcs11.CKA_ENCRYPT, "CKA_ENCRYPT", false, "forward direction"},
		{pkcs11.CKA_DECRYPT, "CKA_DECRYPT", false, "only where data of ours is to be read back"},
		{pkcs11.CKA_VERIFY, "CKA_VERIFY", false, "MACs are compared by making them again"},
		{pkcs11.CKA_WRAP, "CKA_WRAP", false, "no key of ours wraps another: the classic way to read a key out"},
		{pkcs11.CKA_UNWRAP, "CKA_UNWRAP", false, "nor lets one in under a template of the caller's"},
		{pkcs11.CKA_DERIVE, "CKA_DERIVE", false, "derivation is done by MAC; CKM derivations can leak parts of a key"},
	}
	skip := []uint{pkcs11.CKA_SIGN_RECOVER} // not an attribute of secret keys
	if r.isPair() {
		skip = []uint{pkcs11.CKA_ENCRYPT, pkcs11.CKA_VERIFY, pkcs11.CKA_WRAP} // nor these of private keys
		list = append(list, attribute{pkcs11.CKA_ALWAYS_AUTHENTICATE, "CKA_ALWAYS_AUTHENTICATE", false, "no PIN per operation: the line cannot wait for an officer"})
	}
	for _, u := range usages {
		if slices.Contains(skip, u.typ) {
			continue
		}
		u.value = slices.Contains(r.uses, u.typ)
		list = append(list, u)
	}
	return r.kept(r.objectClass(), append(list, attribute{pkcs11.CKA_ALLOWED_MECHANISMS, "CKA_ALLOWED_MECHANISMS", ulongs(r.mechanisms), "this mechanism and no other, whatever the usages allow"}))
}

// parameter is what a pair is made from: a curve, or a public exponent.
func (r rule) parameter() attribute {
	if r.form == rsa3072 {
		return attribute{pkcs11.CKA_PUBLIC_EXPONENT, "CKA_PUBLIC_EXPONENT", []byte{1, 0, 1}, "65537, which every receiver takes"}
	}
	return attribute{pkcs11.CKA_EC_PARAMS, "CKA_EC_PARAMS", r.curve(), "the curve by name, never by parameters"}
}

// pairTemplate is what a pair's public half is made from. The size of an RSA
// modulus is said here alone: not every module gives CKA_MODULUS_BITS back, and
// the modulus itself is measured.
func (r rule) pairTemplate(list []attribute) []*pkcs11.Attribute {
	t := template(list)
	if r.form == rsa3072 {
		t = append(t, pkcs11.NewAttribute(pkcs11.CKA_MODULUS_BITS, uint(rsaBits)))
	}
	return t
}

// publicObject is the template of a pair's public key, all but its name.
func (r rule) publicObject() []attribute {
	return r.kept(pkcs11.CKO_PUBLIC_KEY, []attribute{
		{pkcs11.CKA_CLASS, "CKA_CLASS", uint(pkcs11.CKO_PUBLIC_KEY), "a public key"},
		{pkcs11.CKA_KEY_TYPE, "CKA_KEY_TYPE", r.keyType(), "as the private key"},
		r.parameter(),
		{pkcs11.CKA_TOKEN, "CKA_TOKEN", true, "lives as long as the private key"},
		{pkcs11.CKA_PRIVATE, "CKA_PRIVATE", true, "made and replaced by nobody who has not logged in"},
		{pkcs11.CKA_MODIFIABLE, "CKA_MODIFIABLE", false, "no attribute is ever changed"},
		{pkcs11.CKA_COPYABLE, "CKA_COPYABLE", false, "one object per label"},
		{pkcs11.CKA_DESTROYABLE, "CKA_DESTROYABLE", true, "goes with the private key"},
		{pkcs11.CKA_VERIFY, "CKA_VERIFY", true, "what a public key is for"},
		{pkcs11.CKA_VERIFY_RECOVER, "CKA_VERIFY_RECOVER", false, "not used"},
		{pkcs11.CKA_ENCRYPT, "CKA_ENCRYPT", false, "not used"},
		{pkcs11.CKA_WRAP, "CKA_WRAP", false, "no key of ours wraps another"},
		{pkcs11.CKA_DERIVE, "CKA_DERIVE", false, "no key agreement with signing keys"},
	})
}

// template turns attributes into what the binding takes.
func template(list []attribute) []*pkcs11.Attribute {
	out := make([]*pkcs11.Attribute, len(list))
	for i, a := range list {
		out[i] = pkcs11.NewAttribute(a.typ, a.value)
	}
	return out
}

// ulongs writes mechanisms as the CK_ULONG array that
// CKA_ALLOWED_MECHANISMS is. A CK_ULONG is 8 bytes on every 64-bit system but
// Windows, which this product does not run on.
func ulongs(list []uint) []byte {
	var out []byte
	for _, m := range list {
		out = binary.NativeEndian.AppendUint64(out, uint64(m))
	}
	return out
}
