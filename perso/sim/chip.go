package sim

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"strings"

	"github.com/persoline/persoline/lineside/cardsim"
	"github.com/persoline/persoline/perso/apdu"
	"github.com/persoline/persoline/perso/scp"
)

// Blank is a chip as it comes from its maker.
type Blank struct {
	cardsim.Personality
	Unknown bool // on no goods-in list
}

// chip is one virtual chip and its place.
type chip struct {
	w       *World
	name    string // "chip 3"
	blank   Blank
	id      [10]byte
	card    *cardsim.Chip
	records [][]byte
	strikes int // how often a head stopped over it
}

// Append is cardsim.NVM's. Whatever is written to a chip passes here, so the checker sees it first.
func (c *chip) Append(record []byte) error {
	c.records = append(c.records, bytes.Clone(record))
	c.w.check.written(c, record)
	return nil
}

// Replay is cardsim.NVM's.
func (c *chip) Replay(apply func([]byte) error) error {
	for _, r := range c.records {
		if err := apply(r); err != nil {
			return err
		}
	}
	return nil
}

// newBlank makes chip n with the maker's keys.
func (w *World) newBlank(n int) (Blank, error) {
	p := w.site.product
	options, err := cardsim.OptionsOf(p)
	if err != nil {
		return Blank{}, err
	}
	b := Blank{Personality: cardsim.Personality{ATR: mustHex(strings.ReplaceAll(p.ATR.String(), "X", "0")), KVN: p.Factory.KVN, Options: options}}
	copy(b.CPLC[:], []byte{0x4A, 0x50, 0x12, 0x34})
	binary.BigEndian.PutUint32(b.CPLC[12:], uint32(n)+1)
	b.CPLC[16], b.CPLC[17] = 1, 2
	return b, w.factoryKeys(&b)
}

func (w *World) factoryKeys(b *Blank) (err error) {
	b.Keys, err = scp.DiversifyKDF3(w.site.kmc, b.ChipID())
	return err
}

// newChip makes chip n with the faults that the seed gives it.
func (w *World) newChip(n int, before []*chip) (*chip, error) {
	b, err := w.newBlank(n)
	if err != nil {
		return nil, err
	}
	switch {
	case w.cfg.Chip != nil:
		w.cfg.Chip(n, &b)
	default:
		err = w.blemish(&b, before)
	}
	if err != nil {
		return nil, err
	}
	c := &chip{w: w, name: fmt.Sprintf("chip %d", n), blank: b, id: b.ChipID()}
	c.card, err = cardsim.New(b.Personality, c, w.stream())
	return c, err
}

// blemish gives a chip what may be wrong with it.
func (w *World) blemish(b *Blank, before []*chip) error {
	r, f := w.rng, &w.cfg.Faults
	if r.Float64() < f.Strange {
		switch k := r.IntN(3); {
		case k == 0:
			b.Unknown = true
		case k == 1:
			own := scp.StaticKeys{ENC: w.draw(16), MAC: w.draw(16), DEK: w.draw(16)}
			b.Foreign = &cardsim.Foreign{KVN: 0x30, Keys: own, Seq: 3}
			copy(b.Foreign.EID[:], w.draw(16))
			copy(b.Foreign.Stamp[:], w.draw(32))
		case len(before) > 0:
			b.CPLC = before[r.IntN(len(before))].blank.CPLC
			b.Seq = r.Uint32N(4)
			if err := w.factoryKeys(b); err != nil {
				return err
			}
		}
	}
	for range 3 {
		if r.Float64() >= f.Chip {
			break
		}
		b.Faults = append(b.Faults, w.chipFault())
	}
	return nil
}

func (w *World) chipFault() cardsim.Fault {
	r := w.rng
	kinds := []cardsim.FaultKind{cardsim.FaultContact, cardsim.FaultTearBefore, cardsim.FaultTearAfter, cardsim.FaultTearBefore, cardsim.FaultTearAfter,
		cardsim.FaultStatus, cardsim.FaultFlip, cardsim.FaultMute}
	one := cardsim.Fault{Kind: kinds[r.IntN(len(kinds))], Contact: 1 + r.Uint32N(2)}
	switch one.Kind {
	case cardsim.FaultMute:
		if r.IntN(2) == 0 {
			one.Kind = cardsim.FaultContact
		}
		return one
	case cardsim.FaultContact:
		return one
	case cardsim.FaultStatus:
		one.SW = []apdu.SW{apdu.SWConditions, apdu.SWSecurity, apdu.SWMemoryProblem, apdu.SWUnknown, apdu.SWRefDataNotFound}[r.IntN(5)]
	case cardsim.FaultFlip:
		one.Bit = uint16(r.Uint32N(4096))
	}
	one.APDU = 1 + r.Uint32N(70)
	one.Dead = r.IntN(6) == 0 && (one.Kind == cardsim.FaultTearAfter || one.Kind == cardsim.FaultTearBefore)
	return one
}

func (w *World) draw(n int) []byte {
	b := make([]byte, n)
	if _, err := io.ReadFull(w.stream(), b); err != nil {
		panic(err) // a ChaCha8 stream has no end
	}
	return b
}

func mustHex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err) // the callers' texts are constants
	}
	return b
}
