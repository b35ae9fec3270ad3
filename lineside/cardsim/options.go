package cardsim

import (
	"errors"
	"fmt"
	"math/bits"
	"strings"

	"github.com/persoline/persoline/perso/apdu"
	"github.com/persoline/persoline/perso/product"
	"github.com/persoline/persoline/perso/scp"
	"github.com/persoline/persoline/perso/scp/scp02"
	"github.com/persoline/persoline/perso/scp/tdes"
)

// Options are what a chip's operating system was built with. The zero value is SCP03 with 8-byte MACs and a pseudo-random
// challenge, every level, and the basic logical channel alone.
type Options struct {
	// SCP02 lets the ISD speak SCP02, i = 55, under Triple DES keys instead of SCP03 under AES keys.
	SCP02 bool `json:"scp02,omitempty"`
	// S16 makes challenges, cryptograms and MACs of SCP03 16 bytes long.
	S16 bool `json:"s16,omitempty"`
	// Random makes the card challenge of SCP03 a random one: nothing can be prepared for it.
	Random bool `json:"random,omitempty"`
	// Levels are the security levels that EXTERNAL AUTHENTICATE accepts. None means every one that the protocol has.
	Levels Levels `json:"levels,omitzero"`
	// Write is the level that whatever changes the chip must come under at least. 00 means the highest accepted one.
	Write Levels `json:"write,omitzero"`
	// Channels are the logical channels beside the basic one, 0 to 3.
	Channels int `json:"channels,omitempty"`
	// SIM makes the chip a SIM of one profile instead of an eUICC: of the security domains it has the ISD alone.
	SIM bool `json:"sim,omitempty"`
	// NoDomain leaves out even that: such a SIM is written under its maker's transport code.
	NoDomain bool `json:"no_domain,omitempty"`
	// JavaCard makes the chip take profile packages that demand Java Card, with the code and the applications in them. It keeps them as
	// it keeps what LOAD and INSTALL bring: nothing runs.
	JavaCard bool `json:"java_card,omitempty"`
}

// OptionsOf are the options of a product's chips, as its family and its factory parameters describe them: the protocol, and i of
// SCP03 (GlobalPlatform Amendment D table 5-1). A chip of another i than this operating system can have is an error.
func OptionsOf(p product.Product) (Options, error) {
	protocol, i := p.Factory.SCP, p.Factory.I
	o := Options{SIM: p.Family == product.Basic, NoDomain: protocol == product.SCPNone, SCP02: protocol == product.SCP02, JavaCard: p.Profile.Has(product.ServiceJavaCard)}
	if o.SCP02 || o.NoDomain {
		return o, o.Validate()
	}
	o.S16, o.Random = i&scp.OptS16 != 0, i&scp.OptPseudo == 0
	if o.i() != i {
		return o, fmt.Errorf("building a virtual chip of SCP%s with i = %02X: it has R-MAC and R-ENC, and no other options than S16 and a pseudo-random challenge", protocol, i)
	}
	return o, nil
}

// Levels is a set of security levels. Its text is "01,03,33".
type Levels uint8

// allLevels are the levels of SCP03 in rising order; those of SCP02 are two of them.
func allLevels() [6]scp.Level {
	return [6]scp.Level{scp.LevelNone, scp.LevelCMAC, scp.LevelCMACCENC, scp.LevelCMACRMAC, scp.LevelCMACCENCRMAC, scp.LevelAll}
}

const everyLevel Levels = 1<<6 - 1

// LevelsOf makes a set.
func LevelsOf(levels ...scp.Level) (set Levels) {
	for _, l := range levels {
		set |= levelBit(l)
	}
	return set
}

func levelBit(level scp.Level) Levels {
	for i, l := range allLevels() {
		if l == level {
			return 1 << i
		}
	}
	return 0
}

// Has says whether a level is in the set.
func (s Levels) Has(level scp.Level) bool { return s&levelBit(level) != 0 }

// highest is the level of the set that protects most.
func (s Levels) highest() scp.Level {
	if s == 0 {
		return scp.LevelNone
	}
	all := allLevels()
	return all[min(bits.Len8(uint8(s)), len(all))-1]
}

// String is "01,03,33".
func (s Levels) String() string {
	var parts []string
	for _, l := range allLevels() {
		if s.Has(l) {
			parts = append(parts, l.String())
		}
	}
	return strings.Join(parts, ",")
}

// MarshalText is String.
func (s Levels) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (s *Levels) UnmarshalText(text []byte) error {
	*s = 0
	if len(text) == 0 {
		return nil
	}
	for part := range strings.SplitSeq(string(text), ",") {
		var bit Levels
		for i, l := range allLevels() {
			if l.String() == part {
				bit = 1 << i
			}
		}
		if bit == 0 {
			return fmt.Errorf("reading security levels %.40q: %w", text, scp.ErrLevel)
		}
		*s |= bit
	}
	return nil
}

// maxChannels is what the class byte can name beside the basic channel (ETSI TS 102 221 §10.1.1).
const maxChannels = 3

// Validate says whether a chip can be built so.
func (o Options) Validate() error {
	var errs []error
	if o.SCP02 && (o.S16 || o.Random || (o.Levels|o.Write)&^LevelsOf(scp.LevelCMAC, scp.LevelCMACCENC) != 0) {
		errs = append(errs, errors.New("SCP02 has levels 01 and 03, 8-byte MACs and a pseudo-random challenge"))
	}
	if o.NoDomain && (!o.SIM || o.SCP02 || o.S16 || o.Random || o.Levels|o.Write != 0) {
		errs = append(errs, errors.New("only a SIM has no security domain, and then no secure channel"))
	}
	if o.JavaCard && o.SIM {
		errs = append(errs, errors.New("a SIM of one profile is loaded with no package, so with no Java Card either"))
	}
	if o.Channels < 0 || o.Channels > maxChannels {
		errs = append(errs, fmt.Errorf("%d logical channels beside the basic one, limit %d", o.Channels, maxChannels))
	}
	if o.Write != 0 && (o.Write != LevelsOf(o.Write.highest()) || !o.levels().Has(o.Write.highest())) {
		errs = append(errs, fmt.Errorf("level %v for what changes the chip is not one of %v", o.Write, o.levels()))
	}
	if o.levels() == LevelsOf(scp.LevelNone) {
		errs = append(errs, errors.New("no level that protects anything"))
	}
	return errors.Join(errs...)
}

// levels are the levels that are accepted.
func (o Options) levels() Levels {
	switch {
	case o.Levels != 0:
		return o.Levels
	case o.SCP02:
		return LevelsOf(scp.LevelCMAC, scp.LevelCMACCENC)
	}
	return everyLevel
}

// mayWrite says whether a level is enough for what changes the chip.
func (o Options) mayWrite(level scp.Level) bool {
	need := o.levels().highest()
	if o.Write != 0 {
		need = o.Write.highest()
	}
	return need != scp.LevelNone && level&need == need
}

// i is the parameter of SCP03.
func (o Options) i() byte {
	i := scp.OptPseudo | scp.OptRMAC | scp.OptRENC
	if o.S16 {
		i |= scp.OptS16
	}
	if o.Random {
		i &^= scp.OptPseudo
	}
	return i
}

// macBytes is the length of challenges, cryptograms and MACs.
func (o Options) macBytes() int {
	if o.S16 {
		return 16
	}
	return 8
}

// room is what an answer at a level has room for: all of it, less the MAC, and in whole blocks with padding.
func (o Options) room(level scp.Level) int {
	const whole, block = 256, 16
	switch {
	case o.SCP02:
		return whole
	case level == scp.LevelAll:
		return (whole-o.macBytes())/block*block - 1
	case level == scp.LevelCMACRMAC, level == scp.LevelCMACCENCRMAC:
		return whole - o.macBytes()
	}
	return whole
}

// cardData is what GET DATA 0066 says (Card Specification §H.2): GlobalPlatform 2.3, and the secure channel protocol with its
// option.
func (o Options) cardData() []byte {
	const head = "\x73\x2E" +
		"\x06\x07\x2A\x86\x48\x86\xFC\x6B\x01" +
		"\x60\x0B\x06\x09\x2A\x86\x48\x86\xFC\x6B\x02\x02\x03" +
		"\x63\x09\x06\x07\x2A\x86\x48\x86\xFC\x6B\x03" +
		"\x64\x0B\x06\x09\x2A\x86\x48\x86\xFC\x6B\x04"
	const scp02With55 = "\x02\x55"
	if o.SCP02 {
		return []byte(head + scp02With55)
	}
	return append([]byte(head+"\x03"), o.i())
}

// keyType is that of the ISD's keys.
func (o Options) keyType() byte {
	if o.SCP02 {
		return keyTypeDES
	}
	return keyTypeAES
}

// checkKeys holds a maker's key set to the protocol.
func (o Options) checkKeys(keys scp.StaticKeys) error {
	if !o.SCP02 {
		return keys.Valid()
	}
	for _, key := range [][]byte{keys.ENC, keys.MAC, keys.DEK} {
		if _, err := tdes.New(key); err != nil || len(key) != desKeyBytes {
			return errors.Join(fmt.Errorf("a Triple DES key of %d bytes: %w", len(key), scp.ErrKeyLength), err)
		}
	}
	return nil
}

// secureChannel is the card's end of a session, of either protocol.
type secureChannel interface {
	ExternalAuthenticate(cmd apdu.Command) error
	Open() bool
	Level() scp.Level
	Unwrap(cmd apdu.Command) (apdu.Command, error)
	Wrap(data []byte, sw apdu.SW) []byte
	DecryptDEK(enc []byte) ([]byte, error)
	Wipe()
}

// channel02 is SCP02, whose answers are never protected.
type channel02 struct{ *scp02.Card }

// Level is the session's, in the numbers of SCP03.
func (c channel02) Level() scp.Level { return scp.Level(c.Card.Level()) }

// Wrap puts data and status word together.
func (c channel02) Wrap(data []byte, sw apdu.SW) []byte {
	return sw.Append(append(make([]byte, 0, len(data)+2), data...))
}
