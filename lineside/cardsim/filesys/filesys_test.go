package filesys

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/persoline/persoline/perso/apdu"
)

// keyring is a chip's PINs: those that are enabled, and those that were verified.
type keyring struct {
	enabled, verified map[byte]bool
	stranger          bool // who may not make files
}

func (k keyring) Satisfied(_ int, ref byte) bool { return k.verified[ref] }
func (k keyring) Creator() bool                  { return !k.stranger }
func (k keyring) Enabled(_ int, ref byte) bool   { return k.enabled[ref] }

const (
	pin1 = 0x01
	adm1 = 0x0A
)

// card is a file system with its memory beside it, which must say the same after each command.
type card struct {
	testing.TB
	sys    *System
	at     Selection
	keys   keyring
	memory map[string]Change
}

func newCard(t testing.TB) *card {
	return &card{TB: t, sys: New(), keys: keyring{enabled: map[byte]bool{pin1: true}, verified: map[byte]bool{}}, memory: map[string]Change{}}
}

func (c *card) hex(s string) []byte {
	c.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		c.Fatalf("%q: %v", s, err)
	}
	return b
}

// run is one command, as a chip would carry it out.
func (c *card) run(raw []byte) ([]byte, apdu.SW) {
	c.Helper()
	cmd, err := apdu.Parse(raw)
	if err != nil {
		return nil, apdu.SWWrongLength
	}
	var answer []byte
	var all Changes
	var sw apdu.SW
	next := c.at
	switch cmd.INS {
	case 0xA4:
		next, answer, sw = c.sys.Select(c.at, cmd, c.keys)
	case 0xB0:
		next, answer, sw = c.sys.ReadBinary(c.at, cmd, c.keys)
	case 0xB2:
		next, answer, sw = c.sys.ReadRecord(c.at, cmd, c.keys)
	case 0xA2:
		next, answer, sw = c.sys.SearchRecord(c.at, cmd, c.keys)
	case 0xD6:
		next, all, sw = c.sys.UpdateBinary(c.at, cmd, c.keys)
	case 0xDC:
		next, all, sw = c.sys.UpdateRecord(c.at, cmd, c.keys)
	case 0x32:
		next, answer, all, sw = c.sys.Increase(c.at, cmd, c.keys)
	case 0xE0:
		next, all, sw = c.sys.CreateFile(c.at, cmd, c.keys)
	case 0xE4:
		next, all, sw = c.sys.DeleteFile(c.at, cmd, c.keys)
	case 0xD4:
		all, sw = c.sys.Resize(c.at, cmd, c.keys)
	case 0xF2:
		answer, sw = c.sys.Status(c.at, cmd, c.keys)
	default:
		all, sw = c.sys.LifeCycle(c.at, cmd, c.keys)
	}
	if !sw.OK() && !sw.Warning() && (len(all) > 0 || next != c.at) {
		c.Fatalf("% X was refused with %04X, and changed something", raw, uint16(sw))
	}
	c.keep(all)
	c.at = next
	return answer, sw
}

// keep writes changes to memory, and reads a second file system from it.
func (c *card) keep(all Changes) {
	c.Helper()
	if err := c.sys.Apply(all); err != nil {
		c.Fatalf("applying: %v", err)
	}
	for _, ch := range all {
		key := fmt.Sprintf("%04d.%04d", ch.File, ch.Chunk+1)
		if ch.Gone {
			delete(c.memory, key)
		} else {
			c.memory[key] = ch
		}
	}
	if len(all) == 0 {
		return
	}
	again := New()
	for pass := range 2 { // headers first
		for _, ch := range c.memory {
			if (ch.Chunk == Header) == (pass == 0) {
				if err := again.Apply(Changes{ch}); err != nil {
					c.Fatalf("reading memory: %v", err)
				}
			}
		}
	}
	if a, b := dump(c.sys), dump(again); a != b {
		c.Fatalf("in memory is\n%s\nthe chip has\n%s", b, a)
	}
}

func dump(s *System) string {
	var b strings.Builder
	for n := range MaxFiles {
		if f := s.files[n]; f != nil {
			fmt.Fprintf(&b, "%d % X % X\n", n, f.header(), f.content)
		}
	}
	return b.String()
}

// do is a command in hex that must be answered with a status word, and gives its data.
func (c *card) do(command string, want apdu.SW) string {
	c.Helper()
	answer, sw := c.run(c.hex(command))
	if sw != want {
		c.Errorf("%s: %04X %X, want %04X", command, uint16(sw), answer, uint16(want))
	}
	return strings.ToUpper(hex.EncodeToString(answer))
}

// usual is a small card: MF with EF.ARR (record 1: read always, update ADM1; 2: read PIN1, update PIN1, the rest ADM1; 3: all
// ADM1, increase PIN1), EF.ICCID, EF.DIR, and a USIM with IMSI, a cyclic and a larger file.
func usual(t testing.TB) *card {
	c := newCard(t)
	c.keys.verified[adm1] = true
	c.do("00E00000 1D 62 1B 8202 3821 8302 3F00 8A01 05 AB0B 8001 06 A406 8301 0A 9501 08", apdu.SWWrongLength) // Lc does not fit
	c.create("8202 7821 8302 3F00 8A01 05 AB0B 8001 7F A406 8301 0A 9501 08 C609 9001 00 8301 01 8301 81")
	c.create("8204 4221 0020 8302 2F06 8A01 03 8B03 2F06 01 8002 0060 8801 30") // its rules are in itself: written first, then in force
	for i, rule := range []string{
		"8001 01 9000 8001 7E A406 8301 0A 9501 08",
		"8001 03 A406 8301 01 9501 08 8001 7C A406 8301 0A 9501 08",
		"8001 7F A406 8301 0A 9501 08 8401 32 A406 8301 01 9501 08",
	} {
		b := append(c.hex(rule), bytes.Repeat([]byte{0xFF}, 32)...)[:32]
		c.do(fmt.Sprintf("00DC%02X04 20 %X", i+1, b), apdu.SWOK)
	}
	c.do("00440000", apdu.SWOK)
	c.create("8202 4121 8302 2FE2 8A01 05 8B03 2F06 01 8002 000A 8801 10")
	c.create("8202 7821 8302 7FF0 8410 A0000000871002FFFFFFFF8907030000 8A01 05 8B03 2F06 03")
	c.create("8202 4121 8302 6F07 8A01 05 8B03 2F06 02 8002 0009 8801 38 A503 C101 00")
	c.create("8204 4621 0003 8302 6F39 8A01 05 8B03 2F06 03 8002 0009 8800 A503 C101 00")
	c.create("8202 4121 8302 6F46 8A01 05 8B03 2F06 02 8002 0258 8800 A505 C203 41 42 43")
	c.keys.verified[adm1] = false
	c.at = Selection{} // as after a reset
	return c
}

func (c *card) create(template string) {
	c.Helper()
	b := c.hex(template)
	c.do(fmt.Sprintf("00E00000 %02X 62 %02X %X", len(b)+2, len(b), b), apdu.SWOK)
}

func TestSelect(t *testing.T) {
	t.Parallel()
	c := usual(t)
	for _, s := range []struct {
		command string
		sw      apdu.SW
		want    string
	}{
		{"00A40004 02 3F00 00", apdu.SWOK, "6223820278218302 3F008A0105AB0B80017FA40683010A950108C609900180830101830181"},
		{"00A40004 02 2FE2 00", apdu.SWOK, "6217820241218302 2FE28A01058B032F06018002000A880110"},
		{"00A40004 02 6F07 00", apdu.SWFileNotFound, ""}, // no application is selected
		{"00A40804 04 7FFF6F07 00", apdu.SWFileNotFound, ""},
		{"00A40404 07 A0000000871002 00", apdu.SWOK, "6220820278218410A0000000871002FFFFFFFF89070300008A01058B032F0603C600"},
		{"00A40004 02 6F07 00", apdu.SWOK, "621C820241218302 6F07A503C101008A01058B032F060280020009880138"},
		{"00A4000C 02 3F00", apdu.SWOK, ""},
		{"00A40804 04 7FFF6F39 00", apdu.SWOK, "621E820546210003038302 6F39A503C101008A01058B032F0603800200098800"},
		{"00A4030C", apdu.SWOK, ""},
		{"00A40004 02 7FFF 00", apdu.SWOK, "6220820278218410A0000000871002FFFFFFFF89070300008A01058B032F0603C600"},
		{"00A40404 05 A000000088 00", apdu.SWFileNotFound, ""},
		{"00A40004 03 3F0000 00", apdu.SWWrongLength, ""},
		{"00A40704 02 3F00 00", apdu.SWWrongP1P2, ""},
	} {
		if got := c.do(s.command, s.sw); got != strings.ReplaceAll(s.want, " ", "") {
			t.Errorf("%s: %s, want %s", s.command, got, s.want)
		}
	}
}

func TestAccessRules(t *testing.T) {
	t.Parallel()
	c := usual(t)
	c.do("00A4000C 02 2FE2", apdu.SWOK)
	c.do("00B00000 0A", apdu.SWOK)
	c.do("00D60000 0A 98880010200000000005", apdu.SWSecurity)
	c.keys.verified[adm1] = true
	c.do("00D60000 0A 98880010200000000005", apdu.SWOK)
	c.keys.verified[adm1] = false
	if got := c.do("00B00002 03", apdu.SWOK); got != "001020" {
		t.Errorf("EF.ICCID has %s at 2", got)
	}
	c.do("00A4040C 07 A0000000871002", apdu.SWOK)
	c.do("00B08700 00", apdu.SWSecurity)
	c.keys.verified[pin1] = true
	if got := c.do("00B08700 00", apdu.SWOK); got != "000000000000000000" {
		t.Errorf("EF.IMSI has %s", got)
	}
	c.do("00D60000 03 080910", apdu.SWOK) // it is selected now
	c.do("00D68705 05 0102030405", apdu.SWOutsideEF)
	c.do("00B00009 01", apdu.SWOutsideEF)
	c.do("00B00008 05", apdu.SWWrongLe|1)
	c.do("00A4000C 02 6F39", apdu.SWOK)
	c.do("00B20104 03", apdu.SWSecurity)
	c.do("00B00000 00", apdu.SWCommandIncompatible)
	c.do("00A4000C 02 3F00", apdu.SWOK)
	c.do("00B00000 00", apdu.SWNoCurrentEF)
	c.do("00E00000 05 62 03 8A01 05", apdu.SWWrongData)
	c.do("00E00000 19 62 17 8202 4121 8302 2F05 8A01 05 8B03 2F06 01 8002 0002 8801 28", apdu.SWSecurity)
}

func TestRecords(t *testing.T) {
	t.Parallel()
	c := usual(t)
	c.keys.verified[pin1], c.keys.verified[adm1] = true, true
	c.do("00A4000C 02 2F06", apdu.SWOK)
	if got := c.do("00B20204 20", apdu.SWOK); !strings.HasPrefix(got, "800103A406") {
		t.Errorf("record 2 is %s", got)
	}
	c.do("00B20404 20", apdu.SWRecordNotFound)
	c.do("00B20004 20", apdu.SWRecordNotFound) // there is no current record
	c.do("00B20002 20", apdu.SWOK)
	c.do("00B20002 20", apdu.SWOK)
	c.do("00B20002 00", apdu.SWOK)
	c.do("00B20002 20", apdu.SWRecordNotFound) // not around the end
	c.do("00B20003 20", apdu.SWOK)
	c.do("00B20104 10", apdu.SWWrongLe|0x20)
	if got := c.do("00A20104 03 840132 00", apdu.SWOK); got != "03" {
		t.Errorf("found in %s", got)
	}
	if got := c.do("00A20305 02 A406 00", apdu.SWOK); got != "030201" {
		t.Errorf("backward found in %s", got)
	}
	c.do("00A20104 02 1234 00", apdu.SWEndOfFile)
	c.do("00A20106 02 1234 00", apdu.SWWrongP1P2)

	c.do("00A4040C 07 A0000000871002", apdu.SWOK)
	c.do("00A4000C 02 6F39", apdu.SWOK)
	c.do("00DC0104 03 000001", apdu.SWWrongP1P2) // a cyclic file is only written before its first record
	c.do("00DC0003 03 0000FE", apdu.SWOK)
	c.do("00DC0003 02 0000", apdu.SWWrongLength)
	if got := c.do("00320000 03 000003 00", apdu.SWOK); got != "000101000003" {
		t.Errorf("increased to %s", got)
	}
	for i, want := range []string{"000101", "0000FE", "000000", "000101"} {
		if got := c.do(map[bool]string{true: "00B20104 03", false: "00B20002 03"}[i == 0], apdu.SWOK); got != want {
			t.Errorf("record %d is %s, want %s", i+1, got, want)
		}
		if i == 0 {
			c.at.record = 1
		}
	}
	c.do("00DC0003 03 FFFFFF", apdu.SWOK)
	c.do("00320000 01 01 00", 0x9850)
}

func TestLifeCycleOfFiles(t *testing.T) {
	t.Parallel()
	c := usual(t)
	c.keys.verified[adm1], c.keys.verified[pin1] = true, true
	c.do("00A4040C 07 A0000000871002", apdu.SWOK)
	if got := c.do("00A40004 02 6F46 00", apdu.SWOK); got == "" {
		t.Error("no parameters")
	}
	if got := c.do("00B00254 04", apdu.SWOK); got != "43414243" {
		t.Errorf("the pattern ends with %s", got)
	}
	c.do("00040000", apdu.SWOK)
	c.do("00A4000C 02 6F46", apdu.SWFileInvalidated)
	c.do("00B00000 01", apdu.SWReferenceUnusable)
	c.do("00440000", apdu.SWOK)
	c.do("00B00000 01", apdu.SWOK)
	c.keys.verified[adm1] = false
	c.do("00040000", apdu.SWSecurity)
	c.keys.verified[adm1] = true
	c.do("00E60000", apdu.SWCommandIncompatible)
	c.do("00E80000", apdu.SWOK)
	c.do("00440000", apdu.SWConditions)
	c.do("00B00000 01", apdu.SWConditions)

	// A smaller and a larger file keep what was there; a deleted one is gone, and with a DF all in it.
	c.do("00A4000C 02 6F07", apdu.SWOK)
	c.do("00D60000 09 010203040506070809", apdu.SWOK)
	c.do("00D40000 0A 62 08 8302 6F07 8002 0003", apdu.SWSecurity) // its rules speak of no RESIZE
	c.do("00E40000 02 6F07", apdu.SWOK)
	c.do("00A4000C 02 6F07", apdu.SWFileNotFound)
	c.do("00A4000C 02 3F00", apdu.SWOK)
	c.do("00E40000 02 3F00", apdu.SWConditions)
	c.do("00A4040C 07 A0000000871002", apdu.SWOK)
	c.do("00E40000", apdu.SWOK)
	c.do("00A4040C 07 A0000000871002", apdu.SWFileNotFound)
	if n := len(c.sys.files); n != 3 {
		t.Errorf("%d files are left", n)
	}
}

// Templates that say too little, too much or what does not fit make no file.
func TestCreateRefuses(t *testing.T) {
	t.Parallel()
	for name, template := range map[string]string{
		"no identifier":       "8202 4121 8A01 05 8B03 2F06 01 8002 0002",
		"no access rules":     "8202 4121 8302 6F99 8A01 05 8002 0002",
		"no size":             "8202 4121 8302 6F99 8A01 05 8B03 2F06 01",
		"size of a DF":        "8202 7821 8302 6F99 8A01 05 8B03 2F06 01 8002 0002",
		"twice":               "8202 4121 8302 6F99 8302 6F99 8A01 05 8B03 2F06 01 8002 0002",
		"records do not fit":  "8204 4221 0003 8302 6F99 8A01 05 8B03 2F06 01 8002 0004",
		"no record length":    "8202 4221 8302 6F99 8A01 05 8B03 2F06 01 8002 0004",
		"255 records":         "8204 4221 0001 8302 6F99 8A01 05 8B03 2F06 01 8002 00FF",
		"terminated":          "8202 4121 8302 6F99 8A01 0C 8B03 2F06 01 8002 0002",
		"the current ADF":     "8202 4121 8302 7FFF 8A01 05 8B03 2F06 01 8002 0002",
		"SFI 31":              "8202 4121 8302 6F99 8A01 05 8B03 2F06 01 8002 0002 8801 F8",
		"rules that are none": "8202 4121 8302 6F99 8A01 05 AB03 8001 01 8002 0002",
		"unknown tag":         "8202 4121 8302 6F99 8A01 05 8B03 2F06 01 8002 0002 8501 00",
		"too large":           "8202 4121 8302 6F99 8A01 05 8B03 2F06 01 8002 FFFF",
		"a name for an EF":    "8202 4121 8302 6F99 8405 A000000087 8A01 05 8B03 2F06 01 8002 0002",
	} {
		c := usual(t)
		c.keys.verified[adm1] = true
		b := c.hex(template)
		if _, sw := c.run(c.hex(fmt.Sprintf("00E00000 %02X 62 %02X %X", len(b)+2, len(b), b))); sw != apdu.SWWrongData {
			t.Errorf("%s: %04X", name, uint16(sw))
		}
	}
	c := usual(t)
	c.keys.verified[adm1] = true
	for name, template := range map[string]string{
		"same identifier": "8202 4121 8302 2FE2 8A01 05 8B03 2F06 01 8002 0002 8800",
		"same SFI":        "8202 4121 8302 2F99 8A01 05 8B03 2F06 01 8002 0002 8801 10",
		"same name":       "8202 7821 8302 7FF1 8410 A0000000871002FFFFFFFF8907030000 8A01 05 8B03 2F06 03",
	} {
		c.do("00A4000C 02 3F00", apdu.SWOK)
		b := c.hex(template)
		if _, sw := c.run(c.hex(fmt.Sprintf("00E00000 %02X 62 %02X %X", len(b)+2, len(b), b))); sw != apdu.SWFileExists {
			t.Errorf("%s: %04X", name, uint16(sw))
		}
	}
}

// Whatever comes, in whatever order: nothing panics, what is refused changes nothing, and memory says what the chip has.
func TestAnyCommands(t *testing.T) {
	t.Parallel()
	ids := []string{"3F00", "2FE2", "2F06", "7FFF", "6F07", "6F39", "6F46", "6F99", "5F01"}
	for seed := range uint64(150) {
		rng := rand.New(rand.NewPCG(seed, 7))
		c := usual(t)
		pick := func(of ...string) string { return of[rng.IntN(len(of))] }
		for range 120 {
			c.keys.verified[pin1], c.keys.verified[adm1] = rng.IntN(3) > 0, rng.IntN(4) > 0
			id := pick(ids...)
			command := pick("00A40004 02 "+id+" 00", "00A4000C 02 "+id, "00A4040C 07 A0000000871002", "00A4030C", "00A40804 04 7FFF"+id+" 00",
				"00B00000 00", "00B08700 00", "00B20104 00", "00B20002 00", "00B20003 00", "00D60000 04 01020304", "00DC0003 03 000102", "00DC0104 03 000102",
				"00320000 02 0101 00", "00A20104 02 8001 00", "00040000", "00440000", "00E80000", "00F20000 00", "00E40000 02 "+id, "00E40000",
				"00D40000 0A 62 08 8302 "+id+" 8002 0012",
				"00E00000 19 62 17 8202 4121 8302 "+id+" 8A01 05 8B03 2F06 02 8002 0123 8801 28", "00E00000 14 62 12 8202 7821 8302 5F01 8A01 05 8B03 2F06 03 C600")
			raw := c.hex(command)
			if rng.IntN(4) == 0 {
				raw[rng.IntN(len(raw))] ^= 1 << rng.IntN(8)
			}
			c.run(raw)
		}
	}
}

func FuzzCreate(f *testing.F) {
	f.Add([]byte{0x82, 2, 0x41, 0x21, 0x83, 2, 0x6F, 0x99, 0x8A, 1, 5, 0x8B, 3, 0x2F, 6, 1, 0x80, 2, 0, 2})
	f.Add([]byte{0x82, 2, 0x78, 0x21, 0x83, 2, 0x5F, 1, 0x8A, 1, 5, 0xAB, 3, 0x80, 1, 1})
	f.Fuzz(func(t *testing.T, template []byte) {
		made, err := parseFCP(template)
		if err != nil {
			return
		}
		if len(made.header()) > maxHeader {
			return
		}
		again, err := parseHeader(made.header())
		if err != nil || !bytes.Equal(again.header(), made.header()) {
			t.Fatalf("% X: header % X, %v", template, made.header(), err)
		}
		made.fcp(nil)
	})
}

// Memory of another version, or a broken one, is refused and not read as files.
func TestImageRefuses(t *testing.T) {
	t.Parallel()
	c := usual(t)
	header := c.sys.files[2].header()
	for name, ch := range map[string]Change{
		"cut header": {File: 2, Chunk: Header, Value: header[:len(header)-1]}, "long header": {File: 2, Chunk: Header, Value: append(bytes.Clone(header), 0)},
		"no kind": {File: 2, Chunk: Header, Value: append([]byte{9}, header[1:]...)}, "no file": {File: 400, Chunk: 0, Value: []byte{1}},
		"beyond": {File: 2, Chunk: 1, Value: []byte{1}}, "number": {File: MaxFiles, Chunk: Header, Value: header},
	} {
		if err := New().Apply(Changes{{File: 2, Chunk: Header, Value: header}, ch}); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
}
