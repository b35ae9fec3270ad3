package chipfarm

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/persoline/persoline/lineside/cardsim"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/scp"
)

// Places of CPLC fields (GlobalPlatform Card Specification §H.6 and common practice).
const (
	cplcSerial = 12 // 4 bytes
	cplcBatch  = 16 // 2 bytes
)

// GoodsIn is the chip maker's list of one reel, as the ledger receives it.
type GoodsIn struct {
	Version int      `json:"version"`
	Reel    string   `json:"reel"`
	Product string   `json:"product"`
	OS      string   `json:"os"`
	ATR     string   `json:"atr"`
	KMC     string   `json:"kmc"`
	KVN     int      `json:"kvn"`
	Count   int      `json:"count"`
	Chips   []string `json:"chips"`
}

// maker computes chips from a Spec, so that a chip costs nothing until it is loaded.
type maker struct {
	spec  Spec
	cplc  [cardsim.CPLCBytes]byte // of chip 0
	atr   []byte
	chips map[uint32][]FaultSpec // faults of single chips
	share []FaultSpec            // faults of a share of all
}

func newMaker(s Spec) (*maker, error) {
	if err := s.Validate(); err != nil {
		return nil, fmt.Errorf("checking chip farm: %w", err)
	}
	m := &maker{spec: s, chips: map[uint32][]FaultSpec{}}
	var err error
	if m.cplc, err = s.cplc(); err != nil {
		return nil, err
	}
	if m.atr, err = fillATR(s.ATR); err != nil {
		return nil, err
	}
	for _, f := range s.Faults {
		for _, index := range f.Chips {
			m.chips[index] = append(m.chips[index], f)
		}
		if f.Permille > 0 {
			m.share = append(m.share, f)
		}
	}
	return m, nil
}

// goodsIn lists the chips by the ids they should have: a maker does not know his twins.
func (m *maker) goodsIn() (lists []GoodsIn) {
	reels := (m.spec.Chips + MaxReelChips - 1) / MaxReelChips
	for reel := range reels {
		g := GoodsIn{Version: 1, Reel: string(m.spec.Reel), Product: m.spec.Product, OS: m.spec.OS,
			ATR: strings.ToUpper(hex.EncodeToString(m.atr)), KMC: string(m.spec.KMC), KVN: int(m.spec.KVN)}
		if reels > 1 {
			g.Reel = fmt.Sprintf("%s-%d", m.spec.Reel, reel+1)
		}
		for index := reel * MaxReelChips; index < min(m.spec.Chips, (reel+1)*MaxReelChips); index++ {
			p := cardsim.Personality{CPLC: m.cplcOf(index)}
			chip := p.ChipID()
			g.Chips = append(g.Chips, hex.EncodeToString(chip[:]))
		}
		g.Count = len(g.Chips)
		lists = append(lists, g)
	}
	return lists
}

// personality makes one chip.
func (m *maker) personality(index uint32) (cardsim.Personality, error) {
	p := cardsim.Personality{ATR: m.atr, CPLC: m.cplcOf(index), KVN: m.spec.KVN, Options: m.spec.Options}
	for _, f := range m.faultsOf(index) {
		switch f.Kind {
		case FaultTwin:
			p.CPLC = m.cplcOf(f.TwinOf)
		case FaultForeign:
			p.Foreign = m.foreign(index)
		default:
			one, err := f.fault(1 + m.draw("apdu", index)%anyAPDU)
			if err != nil {
				return p, err
			}
			p.Faults = append(p.Faults, one)
		}
	}
	err := m.spec.MasterKey.Reveal(func(master []byte) (err error) {
		p.Keys, err = scp.DiversifyKDF3(master, p.ChipID())
		return err
	})
	return p, err
}

func (m *maker) faultsOf(index uint32) []FaultSpec {
	all := slices.Clone(m.chips[index])
	for i, f := range m.share {
		if m.draw(fmt.Sprint("share ", i), index)%wholePermille < uint32(f.Permille) {
			all = append(all, f)
		}
	}
	return all
}

// foreign is a chip of another owner: keys, claim and EID that nobody here knows.
func (m *maker) foreign(index uint32) *cardsim.Foreign {
	key := func(name string) []byte {
		sum := m.hash("foreign "+name, index)
		return sum[:16]
	}
	f := &cardsim.Foreign{KVN: 0x30, Seq: 1, Stamp: m.hash("foreign stamp", index)}
	f.Keys = scp.StaticKeys{ENC: key("enc"), MAC: key("mac"), DEK: key("dek")}
	copy(f.EID[:], key("eid"))
	return f
}

func (m *maker) cplcOf(index uint32) [cardsim.CPLCBytes]byte {
	c := m.cplc
	first := binary.BigEndian.Uint32(c[cplcSerial:])
	binary.BigEndian.PutUint32(c[cplcSerial:], first+index)
	return c
}

// chipID is the id that a chip answers with.
func (m *maker) chipID(index uint32) (id.ChipID, error) {
	p := cardsim.Personality{CPLC: m.cplcOf(index)}
	for _, f := range m.chips[index] {
		if f.Kind == FaultTwin {
			p.CPLC = m.cplcOf(f.TwinOf)
		}
	}
	b := p.ChipID()
	return id.ChipIDFromBytes(b[:])
}

// indexOf finds the chip that should have an id. A twin is found by its index only.
func (m *maker) indexOf(chip id.ChipID) (uint32, bool) {
	first := cardsim.Personality{CPLC: m.cplc}
	from, want := first.ChipID(), chip.Bytes()
	const sameBytes = 6 // all but the serial number
	if len(want) != len(from) || !bytes.Equal(from[:sameBytes], want[:sameBytes]) {
		return 0, false
	}
	index := binary.BigEndian.Uint32(want[sameBytes:]) - binary.BigEndian.Uint32(from[sameBytes:])
	return index, index < m.spec.Chips
}

// draw is a number that only seed, purpose and chip decide.
func (m *maker) draw(purpose string, index uint32) uint32 {
	sum := m.hash(purpose, index)
	return binary.BigEndian.Uint32(sum[:])
}

func (m *maker) hash(purpose string, index uint32) [32]byte {
	return seeded(m.spec.Seed, purpose, index)
}

func seeded(seed uint64, purpose string, index uint32) [32]byte {
	b := binary.BigEndian.AppendUint64([]byte("persoline chip farm\x00"), seed)
	b = binary.BigEndian.AppendUint32(b, index)
	return sha256.Sum256(append(b, purpose...))
}

// cplc reads the pattern, or makes one: an invented maker, and batch and first serial number from the seed.
func (s Spec) cplc() (c [cardsim.CPLCBytes]byte, err error) {
	const maxFirstSerial = 1<<31 - 1 // leaves room to count on
	if s.CPLC != "" {
		b, err := hex.DecodeString(s.CPLC)
		if err != nil || len(b) != len(c) {
			return c, fmt.Errorf("pattern of %d characters, expected %d bytes in hex", len(s.CPLC), len(c))
		}
		copy(c[:], b)
	} else {
		copy(c[:], "\x4F\x45\x02\x00\x50\x4C\x61\x00\x02\x00\x61\x20")
		sum := seeded(s.Seed, "cplc", 0)
		copy(c[cplcSerial:cplcBatch+2], sum[:])
		c[cplcSerial] &= 0x7F
		c[cplcSerial+3] |= 1 // never blank
	}
	if binary.BigEndian.Uint32(c[cplcSerial:]) > maxFirstSerial {
		return c, fmt.Errorf("first serial number is above %d", maxFirstSerial)
	}
	return c, nil
}
