package life

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/persoline/persoline/hsm"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/statement"
)

// Errors that say what a vault may not start or go on with. Each comes with a text for the person who has to act.
var (
	// ErrOvertaken says that the token knows another life of this vault than its state does.
	ErrOvertaken = errors.New("another life of this vault has begun")
	// ErrLost says that the token knows the vault, and its state does not know itself.
	ErrLost = errors.New("the vault's state was lost")
)

// Token is what is asked of the HSM; *hsm.Token and the test double give it.
type Token interface {
	Generate(ctx context.Context, k hsm.Key) error
	Has(ctx context.Context, k hsm.Key) (bool, error)
	MAC(ctx context.Context, k hsm.Key, msg []byte) ([32]byte, error)
	Random(ctx context.Context, n int) ([]byte, error)
	List(ctx context.Context) ([]hsm.Key, error)
	Destroy(ctx context.Context, k hsm.Key) error
}

// Store keeps the Record in the vault's state. RememberLife replaces what was there, as a whole, and returns when it is
// durable.
type Store interface {
	Life() (r Record, found bool, err error)
	RememberLife(r Record) error
}

const (
	// nonceBytes makes two processes that draw the same nonce a matter of 2^56; more would not fit a label beside a name.
	nonceBytes = 7
	// BirthBytes is the length of a vault's birth.
	BirthBytes = 16
	siteBytes  = 4
	// MaxAlso bounds the keys that a state names beside its own: one from each crash in a row. More means that something else is
	// wrong.
	MaxAlso = 16
)

// Nonce tells one life from another.
type Nonce [nonceBytes]byte

// String is the end of the key's label.
func (n Nonce) String() string { return hex.EncodeToString(n[:]) }

// ParseNonce reads what String writes.
func ParseNonce(s string) (n Nonce, err error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != nonceBytes || hex.EncodeToString(b) != s {
		return n, fmt.Errorf("%q is not the nonce of a life", s)
	}
	return Nonce(b), nil
}

// Birth is drawn when a vault begins for the first time, and stays: a vault whose state was made anew has another one. The
// log vault gives a lot to a vault of one birth.
type Birth [BirthBytes]byte

// Record is what the state says.
type Record struct {
	Birth Birth
	Count uint64 // of lives; people may look at it
	Now   Nonce  // this life; zero before the first
	Proof [32]byte
	Also  []Nonce // keys that may be on the token: of the last life, and of those that were about to begin
	// Words are what the vault had heard of officers when this life began: the state holds these, and maybe more.
	Words statement.Words
}

// Owner names whose life it is.
type Owner struct {
	Env   perso.Env
	Site  perso.Name
	Vault perso.Name
}

// Key names a life's key: <vault>.<site, hashed>.<nonce>. Several sites may share a token.
func (o Owner) Key(n Nonce) (hsm.Key, error) {
	return hsm.NewKey(string(o.Env), hsm.ClassLife, o.prefix()+n.String())
}

func (o Owner) prefix() string {
	sum := sha256.Sum256([]byte(o.Site))
	return fmt.Sprintf("%s.%x.", o.Vault, sum[:siteBytes])
}

// VaultOf tells which vault a life's key is of; false of any other key, or one whose label Key did not make.
func VaultOf(k hsm.Key) (perso.Name, bool) {
	part := strings.Split(k.ID(), ".")
	if k.Class != hsm.ClassLife || len(part) != 3 {
		return "", false
	}
	if _, err := ParseNonce(part[2]); err != nil {
		return "", false
	}
	vault, err := perso.ParseName(part[0])
	return vault, err == nil
}

// onToken lists the lives of the owner that the token knows.
func (o Owner) onToken(ctx context.Context, t Token) (all []Nonce, err error) {
	keys, err := t.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("looking for the lives of vault %q: %w", o.Vault, err)
	}
	for _, k := range keys {
		end, own := strings.CutPrefix(k.ID(), o.prefix())
		if k.Class != hsm.ClassLife || k.Env() != string(o.Env) || !own {
			continue
		}
		n, err := ParseNonce(end)
		if err != nil {
			return nil, fmt.Errorf("key %q: %w", k, err)
		}
		all = append(all, n)
	}
	return all, nil
}

// message is what a life's key is asked to MAC: who the vault is, and what it heard of officers. A state from before that was noted
// has no words.
func (o Owner) message(b Birth, n Nonce, w statement.Words) []byte {
	m := fmt.Appendf(nil, "persoline/1 life %s %s %s %x %s", o.Env, o.Site, o.Vault, b[:], n)
	if w != (statement.Words{}) {
		m = fmt.Appendf(m, " words %d %x", w.Count, w.Chain)
	}
	return m
}

// strangers are those that the state does not name.
func (r Record) strangers(have []Nonce) []Nonce {
	return slices.DeleteFunc(slices.Clone(have), func(n Nonce) bool { return n == r.Now || slices.Contains(r.Also, n) })
}
