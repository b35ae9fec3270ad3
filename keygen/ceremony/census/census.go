// Package census compares what is on the token with what the signed inventory says should be there, and keeps the vault
// from using a key about which the two disagree.
//
// It exists because a token can be put back to an older state: its folder restored, its cluster member swapped. Then a
// destroyed key is there again, and keys made since are missing. Only a record outside the token can tell.
//
// What it cannot tell: an inventory put back together with its token. Against that the head (number and hash of the last
// ceremony) is pinned where the vault is configured and printed on every transcript, and the reader compares. Objects on
// the token whose label is not of this product are not seen; no verb of package hsm can use them.
//
// Callers: package conduct, perso/cmd, and perso/cmd/site at the vault's start.
package census

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/persoline/persoline/hsm"
	"github.com/persoline/persoline/keygen/kisource"
	"github.com/persoline/persoline/keygen/life"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/statement/transcript"
)

// Token is what is asked of the HSM.
type Token interface {
	List(ctx context.Context) ([]hsm.Key, error)
	Has(ctx context.Context, k hsm.Key) (bool, error)
	Local(ctx context.Context, k hsm.Key) (bool, error)
	Public(ctx context.Context, k hsm.Key) (crypto.PublicKey, error)
	KCV(ctx context.Context, k hsm.Key) ([hsm.KCVBytes]byte, error)
}

// Lots says of each lot that the vault made whether its key was destroyed since. Lots that it does not name were never
// made here.
type Lots map[perso.Name]bool

// Verdict is what the comparison says of one key.
type Verdict string

// The verdicts. All but OK and Gone are alarms.
const (
	OK       Verdict = "ok"        // as the inventory says
	Gone     Verdict = "gone"      // destroyed, and not on the token
	Missing  Verdict = "missing"   // should be on the token
	Unknown  Verdict = "unknown"   // on the token, and made by nobody
	CameBack Verdict = "came back" // destroyed, and on the token again
	Changed  Verdict = "changed"   // another key under this label
	Unfit    Verdict = "unfit"     // its attributes are not those of hsm/KEYS.md
)

// Line is one key.
type Line struct {
	Key     string
	Class   string
	Verdict Verdict
	What    string
	Entry   *transcript.Entry // nil when no ceremony made it
	Lot     bool              // it is a lot's, made by the vault under a release
	Life    bool              // it marks a vault's life, and is the vault's own
}

// Alarm reports that somebody must look.
func (l Line) Alarm() bool { return l.Verdict != OK && l.Verdict != Gone }

// Census is the whole comparison, by label.
type Census []Line

// Alarms lists the lines that somebody must look at.
func (c Census) Alarms() (out []Line) {
	for _, l := range c {
		if l.Alarm() {
			out = append(out, l)
		}
	}
	return out
}

// Take compares. lots may be nil where there is no vault yet: then any lot key is unknown.
func Take(ctx context.Context, t Token, inv *transcript.Inventory, env perso.Env, lots Lots) (Census, error) {
	there, err := t.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing the token's keys: %w", err)
	}
	var c Census
	seen := map[string]bool{}
	for _, k := range there {
		seen[k.Label] = true
		l, err := judge(ctx, t, inv, env, lots, k)
		if err != nil {
			return nil, err
		}
		c = append(c, l)
	}
	for _, e := range inv.Keys() {
		if seen[string(e.Key)] || e.Key.Class() == transcript.ClassOP {
			continue
		}
		l := Line{Key: string(e.Key), Class: e.Key.Class(), Verdict: Gone, What: "not on the token, as it should be", Entry: e}
		if e.State.OnToken() {
			l.Verdict, l.What = Missing, fmt.Sprintf("%s by the inventory, and not on the token: was the token put back to an older state?", e.State)
		}
		c = append(c, l)
	}
	slices.SortStableFunc(c, func(a, b Line) int { return strings.Compare(a.Key, b.Key) })
	return c, nil
}

// judge looks at one key that is on the token.
func judge(ctx context.Context, t Token, inv *transcript.Inventory, env perso.Env, lots Lots, k hsm.Key) (Line, error) {
	l := Line{Key: k.Label, Class: k.Class.String(), Verdict: OK}
	if lot, ok := lotOf(k); ok && k.Env() == string(env) {
		return judgeLot(l, lots, lot), nil
	}
	if vault, ok := life.VaultOf(k); ok && k.Env() == string(env) {
		l.Life, l.What = true, fmt.Sprintf("the life of vault %q: a new key with each life, as often as every minute", vault)
		return l, nil
	}
	l.Entry = inv.Find(transcript.Label(k.Label))
	switch {
	case l.Entry == nil:
		l.Verdict, l.What = Unknown, "on the token, and no ceremony made it"
		return l, nil
	case !l.Entry.State.OnToken():
		l.Verdict, l.What = CameBack, fmt.Sprintf("%s in ceremony %d, and on the token again: it was put back to an older state", l.Entry.State, l.Entry.Ceremony)
		return l, nil
	}
	if _, err := t.Has(ctx, k); errors.Is(err, hsm.ErrRefused) {
		l.Verdict, l.What = Unfit, err.Error()
		return l, nil
	} else if err != nil {
		return l, err
	}
	got, err := Check(ctx, t, k)
	if err != nil {
		return l, err
	}
	local, err := t.Local(ctx, k)
	if err != nil {
		return l, err
	}
	switch made := l.Entry.Origin == transcript.OpGenerate; {
	case got != l.Entry.Check:
		l.Verdict, l.What = Changed, fmt.Sprintf("it is %s, ceremony %d made %s", got, l.Entry.Ceremony, l.Entry.Check)
	case made != local:
		l.Verdict, l.What = Changed, "it was not made the way the ceremony made it"
	default:
		l.What = string(l.Entry.State)
	}
	return l, nil
}

// lotOf tells the lot of a key that the vault makes under a release: the lot's own, and the one that seals its random Ki.
func lotOf(k hsm.Key) (perso.Name, bool) {
	if k.Class == hsm.ClassLot {
		return perso.Name(k.ID()), true
	}
	sample, err := kisource.LotSealKey(perso.Env(k.Env()), "x")
	if err != nil || k.Class != sample.Class {
		return "", false
	}
	lot, ok := strings.CutPrefix(k.ID(), strings.TrimSuffix(sample.ID(), "x"))
	return perso.Name(lot), ok
}

func judgeLot(l Line, lots Lots, lot perso.Name) Line {
	l.Lot = true
	switch destroyed, made := lots[lot]; {
	case !made:
		l.Verdict, l.What = Unknown, "key of a lot that this vault did not make"
	case destroyed:
		l.Verdict, l.What = CameBack, "key of a lot whose key was destroyed"
	default:
		l.What = "lot made under a release"
	}
	return l
}

// checkNone is what a key is known by that shows nothing: a seal key allows GCM alone.
const checkNone = "none"

// Check is what a key is known by in the inventory: its check value, or the hash of its public half (SHA-256 of the
// SubjectPublicKeyInfo), with the kind before it.
func Check(ctx context.Context, t Token, k hsm.Key) (string, error) {
	if k.Admit(hsm.VerbPublic, 0) == nil {
		pub, err := t.Public(ctx, k)
		if err != nil {
			return "", err
		}
		der, err := PublicDER(pub)
		if err != nil {
			return "", err
		}
		sum := sha256.Sum256(der)
		kind := "ecdsa:"
		if _, ok := pub.(ed25519.PublicKey); ok {
			kind = "ed25519:"
		}
		return kind + hex.EncodeToString(sum[:]), nil
	}
	if k.Admit(hsm.VerbKCV, 0) != nil {
		return checkNone, nil
	}
	kcv, err := t.KCV(ctx, k)
	if err != nil {
		return "", err
	}
	return "kcv:" + hex.EncodeToString(kcv[:]), nil
}
