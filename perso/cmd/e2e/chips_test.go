package e2e

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"

	"github.com/persoline/persoline/lineside/card"
	"github.com/persoline/persoline/lineside/chipfarm"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/tlv"
)

// What a test reader asks a chip (GlobalPlatform Card Specification, ETSI TS 102 221, 3GPP TS 31.102).
const (
	selectECASD = "00A4040010A0000005591010FFFFFFFF8900000200"
	getEID      = "80CA005A00"
	getCert     = "80CA7F2100"
	selectMF    = "00A40004023F00"
	selectICCID = "00A40004022FE2"
	readICCID   = "00B000000A"
	selectUSIM  = "00A4040410A0000000871002FF86FF0389FFFFFFFF00"
	selectIMSI  = "00A40004026F07"
	readIMSI    = "00B0000009"
	selectISD   = "00A4040008A000000151000000"
	initUpdate  = "8050000008010203040506070800" // the key version stands behind ten bytes
	initFactory = "8050FF0008010203040506070800" // with the maker's keys

	tagEID    = 0x5A
	fileICCID = 0x2FE2
	fileIMSI  = 0x6F07
)

// chip is what a finished chip says of itself; what it does not have is empty.
type chip struct {
	chipfarm.Place
	bin              perso.Verdict
	eid, iccid, imsi string // as printed
	cert             []byte // 7F21, whole
	memory           memory
}

// askChips asks every chip in every bin. One that never answers again is opened under the microscope.
func (f *factory) askChips(t *testing.T) {
	t.Helper()
	bins, err := f.farm.Bins(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for bin, places := range bins {
		for _, p := range places {
			c := chip{Place: p, bin: perso.Verdict(bin), memory: f.memoryOf(t, p.Index)}
			a, err := f.apdus(t, p.Index, selectECASD, getEID, getCert, selectMF, selectICCID, readICCID, selectUSIM, selectIMSI, readIMSI)
			switch {
			case err == nil:
				c.tell(a[1], a[2], a[5], a[8])
			case errors.Is(err, card.ErrMute) && bin != perso.BinGood:
				m := c.memory.cells
				c.tell(tlv.Encode(tagEID, m[cell{domECASD, kindData, tagEID}]), nil, c.memory.file(fileICCID, 10, 0x98), c.memory.file(fileIMSI, 9, 0x08))
			default:
				t.Fatal(err)
			}
			f.chips = append(f.chips, c)
		}
	}
}

// tell reads answers as they are printed on paper.
func (c *chip) tell(eid, cert, iccid, imsi []byte) {
	if value, is := bytes.CutPrefix(eid, []byte{tagEID, 16}); is {
		c.eid = hex.EncodeToString(value)
	}
	c.cert, c.iccid = cert, strings.TrimRight(swapped(iccid), "f")
	if len(imsi) > 0 && int(imsi[0]) < len(imsi) { // length, then parity and digits
		c.imsi = strings.TrimRight(swapped(imsi[1:1+imsi[0]]), "f")[1:]
	}
}

// apdus sends commands to a chip in a test reader; the answer to one that the chip refused is nil.
func (f *factory) apdus(t *testing.T, index uint32, commands ...string) ([][]byte, error) {
	t.Helper()
	raw := make([][]byte, len(commands))
	for i, c := range commands {
		raw[i] = unhex(t, c)
	}
	answers, err := f.farm.Inspect(t.Context(), chipfarm.Ref{Index: index}, raw)
	if err != nil || len(answers) != len(raw) {
		return nil, fmt.Errorf("asking chip %d: %d answers: %w", index, len(answers), err)
	}
	for i, a := range answers {
		data, ok := bytes.CutSuffix(a, []byte{0x90, 0x00})
		if answers[i] = nil; ok {
			answers[i] = data
		}
	}
	return answers, nil
}

// good gives the chips of the good bin.
func (f *factory) good() (all []chip) {
	for _, c := range f.chips {
		if c.bin == perso.VerdictGood {
			all = append(all, c)
		}
	}
	return all
}

// identities: what the chips themselves say is unique, in the range that was ordered, and what was told to the receivers.
func identities(t *testing.T, f *factory) {
	good, rejects := f.good(), len(f.chips)-quantity
	if len(good) != quantity || rejects < 2 {
		t.Fatalf("%d chips in the good bin and %d elsewhere, want %d and some", len(good), rejects, quantity)
	}
	taken := map[string]uint32{}
	first, ordered := eidNumber(t, "89049099002000000000000000000080"), big.NewInt(quantity+spares)
	for _, c := range good {
		for _, name := range []string{c.eid, c.iccid, c.imsi} {
			if other, twice := taken[name]; twice || name == "" {
				t.Errorf("chip %d says %q, as chip %d does", c.Index, name, other)
			}
			taken[name] = c.Index
		}
		f.finished(t, c)
		number := eidNumber(t, c.eid)
		if n := number.Sub(number, first); n.Sign() < 0 || n.Cmp(ordered) >= 0 {
			t.Errorf("chip %d has EID %s, which was not ordered", c.Index, c.eid)
		}
	}
	live := 0
	for _, c := range f.chips {
		if c.bin == perso.VerdictGood {
			continue
		}
		if other, twice := taken[c.eid]; twice {
			t.Errorf("chip %d in bin %s has EID %s of good chip %d", c.Index, c.bin, c.eid, other)
		}
		if c.bin == perso.VerdictRejectLive {
			live++ // it may hold an ICCID that was made again on another chip (I1)
		} else if c.eid != "" || c.iccid != "" || c.imsi != "" || c.cert != nil {
			t.Errorf("chip %d lies in bin %s and holds EID %q, ICCID %q, IMSI %q", c.Index, c.bin, c.eid, c.iccid, c.imsi)
		}
	}
	if live == 0 {
		t.Error("no chip was lost after it had taken an identity: the order's seed shows too little")
	}
	for _, d := range f.eisBatch(t) {
		c := f.chipWith(t, d.text("Eid"))
		if got := strings.TrimSuffix(d.text("Iccid"), "F"); got != c.iccid || d.text("Imsi") != c.imsi {
			t.Errorf("EIS %s says ICCID %s and IMSI %s, the chip %s and %s", c.eid, got, d.text("Imsi"), c.iccid, c.imsi)
		}
	}
	for _, u := range f.outputFile(t) {
		if c := f.chipWith(t, u["EID"]); u["ICCID"] != c.iccid || u["IMSI"] != c.imsi {
			t.Errorf("the output file gives EID %s ICCID %s and IMSI %s, the chip says %s and %s", c.eid, u["ICCID"], u["IMSI"], c.iccid, c.imsi)
		}
	}
}

// finished: a good chip is as it may leave the factory: secured, personalized, and under its own keys alone.
func (f *factory) finished(t *testing.T, c chip) {
	t.Helper()
	const secured, personalized, ownKVN = 0x0F, 0x0F, 0x30
	for domain, want := range map[byte]byte{domISD: secured, domISDR: personalized, domECASD: personalized} {
		if got := c.memory.cells[cell{domain, kindState, 0}]; !bytes.Equal(got, []byte{want}) {
			t.Errorf("EID %s: domain %d is in state %X, want %X", c.eid, domain, got, want)
		}
	}
	a, err := f.apdus(t, c.Index, selectISD, initUpdate, initFactory)
	if err != nil || len(a[1]) < 11 || a[1][10] != ownKVN || a[2] != nil {
		t.Errorf("EID %s: INITIALIZE UPDATE is answered %X, %v", c.eid, a, err)
	}
}

// chipWith is the good chip that says this EID.
func (f *factory) chipWith(t *testing.T, eid string) chip {
	t.Helper()
	for _, c := range f.good() {
		if c.eid == eid {
			return c
		}
	}
	t.Fatalf("no good chip says EID %s", eid)
	return chip{}
}

// eidNumber is an EID without its check digits, which must be right (ISO 7064 MOD 97-10).
func eidNumber(t *testing.T, eid string) *big.Int {
	t.Helper()
	n, ok := new(big.Int).SetString(eid, 10)
	if !ok || len(eid) != 32 {
		t.Fatalf("EID %q", eid)
	}
	if rest := new(big.Int).Mod(n, big.NewInt(97)); rest.Int64() != 1 {
		t.Errorf("EID %s leaves %s when divided by 97", eid, rest)
	}
	return n.Div(n, big.NewInt(100))
}

// swapped reads digits of a card file: the low nibble first.
func swapped(b []byte) string {
	text := []byte(hex.EncodeToString(b))
	for i := 0; i < len(text); i += 2 {
		text[i], text[i+1] = text[i+1], text[i]
	}
	return string(text)
}

func unhex(t *testing.T, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
