package chaos

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/persoline/persoline/lineside/card"
	"github.com/persoline/persoline/lineside/chipfarm"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/id"
)

// chip is what a chip in a bin says of itself.
type chip struct {
	chipfarm.Place
	bin   perso.Verdict
	dead  bool
	eid   id.EID   // zero when it has none
	iccid id.ICCID // zero when it has none
}

// readChips asks every chip in every bin, in a test reader.
func (f *factory) readChips() (all []chip) {
	f.t.Helper()
	f.farm(func(c *chipfarm.Client) error {
		all = nil
		bins, err := c.Bins(f.t.Context())
		for bin, places := range bins {
			for _, p := range places {
				one, err := f.readChip(c, p)
				if err != nil {
					return err
				}
				one.bin = perso.Verdict(bin)
				all = append(all, one)
			}
		}
		return err
	})
	return all
}

// What a test reader sends (SGP.02, ETSI TS 102 221).
var questions = [][]byte{
	unhex("00A4040010A0000005591010FFFFFFFF890000020000"), // SELECT ECASD
	unhex("80CA005A00"),     // GET DATA EID
	unhex("00A40004023F00"), // SELECT MF
	unhex("00A40004022FE2"), // SELECT EF.ICCID
	unhex("00B000000A"),     // READ BINARY
}

func (f *factory) readChip(c *chipfarm.Client, p chipfarm.Place) (chip, error) {
	one := chip{Place: p}
	a, err := c.Inspect(f.t.Context(), chipfarm.Ref{Index: p.Index}, questions)
	if errors.Is(err, card.ErrMute) {
		one.dead = true
		return one, nil
	}
	if err != nil {
		return one, err
	}
	if value, has := bytes.CutPrefix(a[1], []byte{0x5A, 0x10}); has {
		if one.eid, err = id.EIDFromBytes(value[:len(value)-2]); err != nil {
			return one, fmt.Errorf("reading EID of chip %s: %w", p.Chip, err)
		}
	}
	if value, has := bytes.CutSuffix(a[4], []byte{0x90, 0x00}); has {
		if one.iccid, err = id.ICCIDFromEF(value); err != nil {
			return one, fmt.Errorf("reading ICCID of chip %s: %w", p.Chip, err)
		}
	}
	return one, nil
}

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

// judge compares all chips with the ledger: no identity is on two chips, and what lies in the good bin, or among the samples, is what the
// ledger calls good, no chip more and none less.
func (f *factory) judge(lots ...*lot) {
	f.t.Helper()
	eids, iccids, good := map[id.EID]chip{}, map[id.ICCID]chip{}, map[perso.Name]uint64{}
	for _, c := range f.readChips() {
		if other, twice := eids[c.eid]; twice && !c.eid.IsZero() {
			f.t.Errorf("EID %s is on chip %s (%s) and on chip %s (%s)", c.eid, other.Chip, other.bin, c.Chip, c.bin)
		}
		eids[c.eid] = c
		if c.bin != perso.VerdictGood && c.bin != perso.VerdictSample {
			continue
		}
		if other, twice := iccids[c.iccid]; twice || c.iccid.IsZero() || c.eid.IsZero() != f.sims || c.dead {
			f.t.Errorf("good chip %s: ICCID %s, EID %s, dead %t; the ICCID is also on chip %s", c.Chip, c.iccid, c.eid, c.dead, other.Chip)
			continue
		}
		iccids[c.iccid] = c
		good[f.onRecord(c)]++
	}
	for _, l := range lots {
		if s := l.status(); good[l.name] != s.Good || s.Good == 0 {
			f.t.Errorf("%d chips of lot %s lie in the good bin, the ledger has %d", good[l.name], l.name, s.Good)
		}
		delete(good, l.name)
	}
	if len(good) > 0 {
		f.t.Errorf("good chips of unknown lots: %v", good)
	}
}

// onRecord gives the lot in which the log calls a good chip good, under each of its identities.
func (f *factory) onRecord(c chip) perso.Name {
	f.t.Helper()
	byICCID := ask[bus.TraceReply](f, bus.OfficeTrace, bus.TraceRequest{Key: c.iccid.String()})
	if !f.sims {
		byEID := ask[bus.TraceReply](f, bus.OfficeTrace, bus.TraceRequest{Key: c.eid.String()})
		if byEID.Lot != byICCID.Lot || byEID.Unit != byICCID.Unit {
			f.t.Errorf("chip %s: EID %s is unit %d of %s, ICCID %s is unit %d of %s", c.Chip, c.eid, byEID.Unit, byEID.Lot, c.iccid, byICCID.Unit, byICCID.Lot)
		}
	}
	outcomes := 0
	for _, e := range byICCID.Entries {
		if e.Kind != entry.KindOutcome {
			continue
		}
		o, err := entry.ParseOutcome(e.Body)
		if err != nil {
			f.t.Fatal(err)
		}
		if o.Verdict != perso.VerdictGood {
			continue
		}
		if outcomes++; o.Chip != c.Chip || o.EID != c.eid {
			f.t.Errorf("unit %d of %s is good on chip %s with EID %s; in the bin lies chip %s with EID %s", o.Unit, o.Lot, o.Chip, o.EID, c.Chip, c.eid)
		}
	}
	if outcomes != 1 {
		f.t.Errorf("chip %s lies in the good bin and has %d good outcomes", c.Chip, outcomes)
	}
	return byICCID.Lot
}
