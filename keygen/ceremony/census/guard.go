package census

import (
	"context"
	"crypto"
	"fmt"

	"github.com/persoline/persoline/hsm"
	"github.com/persoline/persoline/keygen"
	"github.com/persoline/persoline/perso/secret"
	"github.com/persoline/persoline/perso/statement/transcript"
)

// Guard is the token as the vault may use it: every key that is not active in the inventory, or about which the census
// gave an alarm, is refused with hsm.ErrRefused, and nothing is made but keys of lots. Those pass, unless the census gave
// an alarm about one: their life is in the vault's own memory. It is taken once, at the vault's start; a ceremony is
// followed by a new start.
func Guard(t keygen.Token, c Census) keygen.Token {
	g := &guard{token: t, why: map[string]string{}}
	for _, l := range c {
		switch {
		case l.Alarm():
			g.why[l.Key] = fmt.Sprintf("%s: %s", l.Verdict, l.What)
		case l.Lot, l.Life: // of a life the guard is not asked
		case l.Entry != nil && l.Entry.State == transcript.StateActive:
			g.why[l.Key] = ""
		case l.Entry != nil:
			g.why[l.Key] = "by the inventory it is " + string(l.Entry.State)
		}
	}
	return g
}

// guard asks before each use. The token is no embedded one, so that a verb that the vault learns does not pass unasked.
type guard struct {
	token keygen.Token
	why   map[string]string // by label: "" is fit for use
}

func (g *guard) admit(k hsm.Key) error {
	why, known := g.why[k.Label]
	if _, lots := lotOf(k); !known && !lots {
		why = "no ceremony made it"
	}
	if why != "" {
		return fmt.Errorf("%w: key %q: %s", hsm.ErrRefused, k, why)
	}
	return nil
}

// Generate makes lots' keys and no others: all others are made in ceremonies.
func (g *guard) Generate(ctx context.Context, k hsm.Key) error {
	if _, lots := lotOf(k); !lots {
		return fmt.Errorf("%w: key %q: it is made in a ceremony", hsm.ErrRefused, k)
	}
	if err := g.admit(k); err != nil {
		return err
	}
	return g.token.Generate(ctx, k)
}

// Has looks for a key that may be used.
func (g *guard) Has(ctx context.Context, k hsm.Key) (bool, error) {
	if err := g.admit(k); err != nil {
		return false, err
	}
	return g.token.Has(ctx, k)
}

// Local says whether a key that may be used was made inside the token.
func (g *guard) Local(ctx context.Context, k hsm.Key) (bool, error) {
	if err := g.admit(k); err != nil {
		return false, err
	}
	return g.token.Local(ctx, k)
}

// Public reads a public key.
func (g *guard) Public(ctx context.Context, k hsm.Key) (crypto.PublicKey, error) {
	if err := g.admit(k); err != nil {
		return nil, err
	}
	return g.token.Public(ctx, k)
}

// MAC uses a MAC key.
func (g *guard) MAC(ctx context.Context, k hsm.Key, msg []byte) (mac [32]byte, err error) {
	if err := g.admit(k); err != nil {
		return mac, err
	}
	return g.token.MAC(ctx, k, msg)
}

// EncryptECB uses a block cipher's key.
func (g *guard) EncryptECB(ctx context.Context, k hsm.Key, blocks []byte) ([]byte, error) {
	if err := g.admit(k); err != nil {
		return nil, err
	}
	return g.token.EncryptECB(ctx, k, blocks)
}

// DecryptECB uses a receive key.
func (g *guard) DecryptECB(ctx context.Context, k hsm.Key, blocks []byte) ([]byte, error) {
	if err := g.admit(k); err != nil {
		return nil, err
	}
	return g.token.DecryptECB(ctx, k, blocks)
}

// Random draws from the token; it takes no key.
func (g *guard) Random(ctx context.Context, n int) ([]byte, error) { return g.token.Random(ctx, n) }

// CardPair makes a pair that is no key of the site: it takes none, and leaves none.
func (g *guard) CardPair(ctx context.Context) (hsm.CardPair, error) { return g.token.CardPair(ctx) }

// Seal uses a seal key.
func (g *guard) Seal(ctx context.Context, k hsm.Key, plaintext secret.Bytes, aad []byte) ([]byte, error) {
	if err := g.admit(k); err != nil {
		return nil, err
	}
	return g.token.Seal(ctx, k, plaintext, aad)
}

// Unseal uses a seal key.
func (g *guard) Unseal(ctx context.Context, k hsm.Key, sealed, aad []byte) (secret.Bytes, error) {
	if err := g.admit(k); err != nil {
		return secret.Bytes{}, err
	}
	return g.token.Unseal(ctx, k, sealed, aad)
}

// SignDigest uses a certificate key.
func (g *guard) SignDigest(ctx context.Context, k hsm.Key, digest []byte) ([]byte, error) {
	if err := g.admit(k); err != nil {
		return nil, err
	}
	return g.token.SignDigest(ctx, k, digest)
}

// SignMessage uses a signing key.
func (g *guard) SignMessage(ctx context.Context, k hsm.Key, msg []byte) ([]byte, error) {
	if err := g.admit(k); err != nil {
		return nil, err
	}
	return g.token.SignMessage(ctx, k, msg)
}
