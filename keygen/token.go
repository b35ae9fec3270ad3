package keygen

import (
	"context"
	"crypto"

	"github.com/persoline/persoline/hsm"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/secret"
)

// Keyring makes and finds keys. Local says of a key that is there whether it was made inside the token.
type Keyring interface {
	Generate(ctx context.Context, k hsm.Key) error
	Has(ctx context.Context, k hsm.Key) (bool, error)
	Local(ctx context.Context, k hsm.Key) (bool, error)
}

// Deriver is the use of symmetric keys, each in its one way: HMAC-SHA-256, single AES blocks, what rests or came sealed.
type Deriver interface {
	MAC(ctx context.Context, k hsm.Key, msg []byte) ([32]byte, error)
	EncryptECB(ctx context.Context, k hsm.Key, blocks []byte) ([]byte, error)
	DecryptECB(ctx context.Context, k hsm.Key, blocks []byte) ([]byte, error)
	Unseal(ctx context.Context, k hsm.Key, sealed, aad []byte) (secret.Bytes, error)
}

// Drawer makes Ki that are not derived: random of the token, sealed under a lot's key.
type Drawer interface {
	Random(ctx context.Context, n int) ([]byte, error)
	Seal(ctx context.Context, k hsm.Key, plaintext secret.Bytes, aad []byte) ([]byte, error)
}

// Pairer makes key pairs for chips that make none.
type Pairer interface {
	CardPair(ctx context.Context) (hsm.CardPair, error)
}

// Signer signs digests with certificate keys and messages with log and statement keys, and shows what verifies that.
type Signer interface {
	Public(ctx context.Context, k hsm.Key) (crypto.PublicKey, error)
	SignDigest(ctx context.Context, k hsm.Key, digest []byte) ([]byte, error)
	SignMessage(ctx context.Context, k hsm.Key, msg []byte) ([]byte, error)
}

// Token is what the vault asks of the HSM; *hsm.Token and the test double give it.
type Token interface {
	Keyring
	Deriver
	Drawer
	Pairer
	Signer
}

// Keys names a site's own keys. Keys of lots, chip makers and receivers are named by the release.
type Keys struct {
	Log       hsm.Key // signs checkpoints
	Statement hsm.Key // signs receipt heads and bundle seals
	Receipt   hsm.Key // parent of the receipts' MAC keys
	EUM       hsm.Key // signs eUICC certificates
	EIS       hsm.Key // signs EumSignedInfo
	Seal      hsm.Key // keeps OP at rest
	KiPrint   hsm.Key // parent of the key of customers' Ki's prints; on the token only where a site takes such Ki
	Envelope  hsm.Key // signs envelopes; on the token only where a receiver has an RSA key
}

// SiteKeys are the keys of a site in an environment, as the ceremony makes them.
func SiteKeys(env perso.Env, site perso.Name) (k Keys, err error) {
	for class, to := range map[hsm.Class]*hsm.Key{hsm.ClassLog: &k.Log, hsm.ClassStatement: &k.Statement, hsm.ClassReceipt: &k.Receipt,
		hsm.ClassEUM: &k.EUM, hsm.ClassEIS: &k.EIS, hsm.ClassSeal: &k.Seal, hsm.ClassEnvelope: &k.Envelope, hsm.ClassKiPrint: &k.KiPrint} {
		if *to, err = hsm.NewKey(string(env), class, string(site)); err != nil {
			return Keys{}, err
		}
	}
	return k, nil
}

// OPContext is the additional data that a sealed OP is bound to: it opens for one name in one environment only.
func OPContext(env perso.Env, op perso.Name) []byte {
	return []byte("persoline/1 op " + string(env) + " " + string(op))
}

// OPStore gives sealed operator keys by name.
type OPStore interface {
	SealedOP(op perso.Name) ([]byte, error)
}
