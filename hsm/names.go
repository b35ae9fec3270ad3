package hsm

import (
	"fmt"

	"github.com/miekg/pkcs11"
)

// mechanismName is what PKCS #11 calls a mechanism that we use.
func mechanismName(m uint) string {
	switch m {
	case pkcs11.CKM_GENERIC_SECRET_KEY_GEN:
		return "CKM_GENERIC_SECRET_KEY_GEN"
	case pkcs11.CKM_AES_KEY_GEN:
		return "CKM_AES_KEY_GEN"
	case pkcs11.CKM_DES3_KEY_GEN:
		return "CKM_DES3_KEY_GEN"
	case pkcs11.CKM_EC_KEY_PAIR_GEN:
		return "CKM_EC_KEY_PAIR_GEN"
	case ckmECEdwardsKeyPairGen:
		return "CKM_EC_EDWARDS_KEY_PAIR_GEN"
	case pkcs11.CKM_SHA256_HMAC:
		return "CKM_SHA256_HMAC"
	case pkcs11.CKM_AES_ECB:
		return "CKM_AES_ECB"
	case pkcs11.CKM_AES_GCM:
		return "CKM_AES_GCM"
	case pkcs11.CKM_DES3_ECB:
		return "CKM_DES3_ECB"
	case pkcs11.CKM_RSA_PKCS_KEY_PAIR_GEN:
		return "CKM_RSA_PKCS_KEY_PAIR_GEN"
	case pkcs11.CKM_SHA512_RSA_PKCS:
		return "CKM_SHA512_RSA_PKCS"
	case pkcs11.CKM_ECDSA:
		return "CKM_ECDSA"
	case ckmEdDSA:
		return "CKM_EDDSA"
	case pkcs11.CKM_AES_KEY_WRAP_PAD:
		return "CKM_AES_KEY_WRAP_PAD"
	case ckmAESKeyWrapKWP:
		return "CKM_AES_KEY_WRAP_KWP"
	default:
		return fmt.Sprintf("CKM_%#x", m)
	}
}
