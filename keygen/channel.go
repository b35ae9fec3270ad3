package keygen

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/persoline/persoline/hsm"
	"github.com/persoline/persoline/keygen/carddata"
	"github.com/persoline/persoline/perso/apdu"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/product"
	"github.com/persoline/persoline/perso/scp"
	"github.com/persoline/persoline/perso/scp/scp02"
	"github.com/persoline/persoline/perso/scp/tdes"
	"github.com/persoline/persoline/perso/statement"
)

// Two protocols open a secure channel, SCP03 and SCP02. What they have in common is all that the way of an act needs; how they
// differ is here, and in what a chip can prove: SCP02 protects no answer. So what such a chip says on the way (probes, statuses,
// what is read back) is the word of whoever carried it. The vault uses it to go on with a half-written chip, and counts none of
// it as a proof: "good" are the card cryptogram under the card's own keys, with a challenge of the vault's, and AUTHENTICATE.

// binder makes keys that only this session's holders can make.
type binder interface {
	BindKey(label string) ([32]byte, error)
}

// encrypter encrypts a value for the chip.
type encrypter interface {
	EncryptDEK(value []byte) ([]byte, error)
}

// opener begins a session, or takes it up where a window left it.
type opener interface {
	ExternalAuthenticate(level scp.Level) ([]byte, error)
	Resume(level scp.Level, m scp.Mark) error
	Mark() scp.Mark
}

// wrapper protects commands, and opens answers in any order.
type wrapper interface {
	Wrap(cmd apdu.Command) ([]byte, scp.Mark, error)
	UnwrapAt(m scp.Mark, answer []byte) ([]byte, apdu.SW, error)
	Wipe()
}

// channel is the host's end of one session.
type channel interface {
	binder
	encrypter
	opener
	wrapper
}

// initUpdate is the answer to INITIALIZE UPDATE, of one protocol. Its errors are scp's.
type initUpdate interface {
	// open derives the session keys, and checks the cryptogram and the challenge's counter. aid is of the ISD.
	open(keys scp.StaticKeys, challenge, aid []byte) (channel, error)
	// verify checks the cryptogram alone.
	verify(keys scp.StaticKeys, challenge []byte) error
}

// parseUpdate reads the answer as the lot's protocol has it, and as its script opened it.
func (l *lot) parseUpdate(data []byte) (scp.Presented, initUpdate, error) {
	said, err := scp.ParsePresented(data)
	if err != nil {
		return said, nil, err
	}
	if l.terms.channel == product.ChannelSCP02 {
		iu, err := scp02.ParseInitUpdate(data)
		return said, update02{iu}, err
	}
	iu, err := scp.ParseInitUpdate(data)
	if err == nil && iu.S16() != l.script.Channels[0].S16 {
		err = scp.ErrFormat
	}
	return said, update03{iu}, err
}

type update03 struct{ scp.InitUpdate }

func (u update03) open(keys scp.StaticKeys, challenge, aid []byte) (channel, error) {
	host, err := scp.OpenHost(keys, challenge, u.InitUpdate)
	if err != nil {
		return nil, err
	}
	if err := scp.CheckCounter(keys, aid, u.InitUpdate); err != nil {
		host.Wipe()
		return nil, err
	}
	return host, nil
}

func (u update03) verify(keys scp.StaticKeys, challenge []byte) error {
	return scp.VerifyCard(keys, challenge, u.InitUpdate)
}

type update02 struct{ scp02.InitUpdate }

// open needs no look at the counter: it is under the cryptogram (Card Specification §E.4.2).
func (u update02) open(keys scp.StaticKeys, challenge, _ []byte) (channel, error) {
	if len(challenge) != challengeBytes {
		return nil, scp.ErrFormat
	}
	host, err := scp02.OpenHost(scp02.StaticKeys(keys), [challengeBytes]byte(challenge), u.InitUpdate)
	if errors.Is(err, scp02.ErrCryptogram) {
		return nil, fmt.Errorf("%w: %w", scp.ErrCryptogram, err)
	}
	if err != nil {
		return nil, err
	}
	return channel02{host}, nil
}

func (u update02) verify(keys scp.StaticKeys, challenge []byte) error {
	host, err := u.open(keys, challenge, nil)
	if err == nil {
		host.Wipe()
	}
	return err
}

// channel02 is SCP02 in the terms of SCP03: its place in the session is the last MAC, and no answer is protected.
type channel02 struct{ *scp02.Host }

func (c channel02) ExternalAuthenticate(level scp.Level) ([]byte, error) {
	return c.Host.ExternalAuthenticate(scp02.Level(level))
}

func (c channel02) Resume(level scp.Level, m scp.Mark) error {
	return c.Host.Resume(scp02.Level(level), scp02.Mark(m.Chain[:len(scp02.Mark{})]))
}

func (c channel02) Mark() (m scp.Mark) {
	at := c.Host.Mark()
	copy(m.Chain[:], at[:])
	return m
}

func (c channel02) Wrap(cmd apdu.Command) ([]byte, scp.Mark, error) {
	raw, err := c.Host.Wrap(cmd)
	return raw, c.Mark(), err
}

func (channel02) UnwrapAt(_ scp.Mark, answer []byte) ([]byte, apdu.SW, error) {
	return apdu.SWOf(answer)
}

// level is the security level of the lot's sessions: all that the protocol has.
func (t terms) level() scp.Level {
	if t.channel == product.ChannelSCP02 {
		return scp.LevelCMACCENC
	}
	return scp.LevelAll
}

// protectsAnswers says whether only the chip can have said what came through its channel.
func (t terms) protectsAnswers() bool { return t.channel == product.ChannelSCP03 }

// ownSet02 names the key set that a chip with SCP02 gets for its ISD.
func ownSet02(kvn byte) carddata.SetName {
	return carddata.SetName{Protocol: carddata.SCP02, KVN: kvn, Algorithm: carddata.TDES2}
}

// makeable02 refuses what SCP02 is not for: only of a SIM is "good" worth something without protected answers, since an eUICC's
// certificate is for a key that the chip must have said itself.
func makeable02(r statement.Release) error {
	if r.EUICC() {
		return fmt.Errorf("channel %q for eUICCs", r.Channel)
	}
	return ownSet02(r.CardKVN).Valid()
}

// deriveISD02 puts the Triple DES key set in the place of the AES one.
func (k *cardKeys) deriveISD02(seed *[seedBytes]byte, name carddata.SetName) error {
	set, err := carddata.DeriveSet(carddata.NewExpander(seed), name)
	if err != nil {
		return err
	}
	defer set.Wipe()
	for i, to := range []*[keyBytes]byte{&k.ISDEnc, &k.ISDMac, &k.ISDDek} {
		if err := set.Keys[i].Reveal(func(key []byte) error {
			copy(to[:], key)
			return nil
		}); err != nil {
			return fmt.Errorf("placing key %d of %s: %w", i+1, name, err)
		}
	}
	return nil
}

// checkValue is that of a secret as the chip takes it: the ISD's keys are of its protocol, all others are AES keys.
func (t terms) checkValue(name string, value []byte) ([3]byte, error) {
	if t.channel != product.ChannelSCP02 || name != "ISD.ENC" && name != "ISD.MAC" && name != "ISD.DEK" {
		return scp.KCV(value), nil
	}
	k, err := tdes.New(value)
	if err != nil {
		return [3]byte{}, fmt.Errorf("making the check value of %s: %w", name, err)
	}
	return k.KCV(), nil
}

// kmcSchemes are the classes that a chip maker's master key may be of, and how chips' keys follow from it: of an AES master by KDF3,
// which has no name here; of a Triple DES master, which chips with SCP02 alone have, by the scheme that the class names. Visa's older
// scheme stays out: no check values of it are published.
func (t terms) kmcSchemes() map[hsm.Class]scp02.Scheme {
	if t.channel != product.ChannelSCP02 {
		return map[hsm.Class]scp02.Scheme{hsm.ClassKMC: ""}
	}
	return map[hsm.Class]scp02.Scheme{hsm.ClassKMC: "", hsm.ClassKMCEMV: scp02.SchemeEMV, hsm.ClassKMCVISA2: scp02.SchemeVISA2}
}

// findKMC finds the chip maker's key by its name, and with its class how it is diversified. Two of one name are no answer.
func (v *Vault) findKMC(ctx context.Context, l *lot) error {
	var found []hsm.Key
	var classes []string
	schemes := l.terms.kmcSchemes()
	for _, class := range hsm.Classes() {
		scheme, fits := schemes[class]
		if !fits {
			continue
		}
		k, err := hsm.NewKey(string(v.cfg.Env), class, string(l.release.KMC))
		if err != nil {
			return fmt.Errorf("naming chip maker's key of lot %q: %w", l.release.Lot, err)
		}
		has, err := v.cfg.Token.Has(ctx, k)
		if err != nil {
			return fmt.Errorf("looking for chip maker's key %q: %w", k, err)
		}
		if has {
			l.kmc, l.scheme = k, scheme
			found = append(found, k)
		}
		classes = append(classes, class.String())
	}
	switch {
	case len(found) == 0:
		return bus.Refuse(bus.FaultRefused, "chip maker's key %q is not on the token, as none of class %s: import it in a key ceremony (keygen/ceremony/CEREMONY.md)", l.release.KMC, strings.Join(classes, ", "))
	case len(found) > 1:
		return bus.Refuse(bus.FaultRefused, "chip maker's key %q is on the token as %q and as %q: by which the chips' keys were diversified nobody can tell", l.release.KMC, found[0], found[1])
	}
	return nil
}

// diversify gives the blocks that the chip maker's key encrypts into a chip's factory keys.
func (l *lot) diversify(kdd [10]byte) ([3 * keyBytes]byte, error) {
	if l.scheme != "" {
		return l.scheme.ECBInputs(kdd)
	}
	return scp.KDF3ECBInputs(kdd, l.subkey), nil
}
