package cardsim

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/persoline/persoline/perso/apdu"
	"github.com/persoline/persoline/perso/scp"
)

// simParts are the commands that make the files of a small SIM: rule 1 read always, update never; 2 read PIN1, update ADM1; 3 a rule
// that names the transport code.
func simParts() (all []string) {
	create := func(s string) {
		b := unhex(s)
		all = append(all, fmt.Sprintf("00E00000%02X62%02X%X", len(b)+2, len(b), b))
	}
	create("8202 7821 8302 3F00 8A01 01 8B03 2F06 01 C606 9001 80 8301 01")
	create("8204 4221 0020 8302 2F06 8A01 05 8B03 2F06 01 8002 0060 8801 30")
	for i, rule := range []string{
		"8001 01 9000 8001 02 9700",
		"8001 01 A406 8301 01 9501 08 8001 02 A406 8301 0A 9501 08",
		"8001 03 A406 8301 0E 9501 08",
	} {
		all = append(all, fmt.Sprintf("00DC%02X0420%X", i+1, append(unhex(rule), bytes.Repeat([]byte{0xFF}, 32)...)[:32]))
	}
	create("8202 4121 8302 2FE2 8A01 05 8B03 2F06 01 8002 000A 8801 10")
	all = append(all, "00D600000A98881200000000000000")
	create("8202 4121 8302 2F10 8A01 05 8B03 2F06 03 8002 0002 8800")
	create("8202 7821 8302 7FD0 8410" + hex.EncodeToString([]byte(aidUSIM)) + "8A01 05 8B03 2F06 01 C609 9001 80 8301 01 8301 81")
	create("8202 4121 8302 6F07 8A01 05 8B03 2F06 02 8002 0009 8801 38")
	return append(all, "00D6000009082943001000000010")
}

func codeOnly() Options { return Options{SIM: true, NoDomain: true} }

// transport is VERIFY of the maker's code of the test chips.
func transport() string {
	code := testKeys(0x40).TransportCode()
	return fmt.Sprintf("0020000E08%X", code)
}

// TestSIMUnderTransportCode: nothing can be written without the code, all with it, and nothing after the MF was activated.
func TestSIMUnderTransportCode(t *testing.T) {
	t.Parallel()
	nvm, s := &Memory{}, testSubscriber()
	l := newLine(t, chipWith(t, nvm, codeOnly()))
	parts := simParts()
	for _, c := range []struct {
		want    apdu.SW
		command string
	}{
		{apdu.SWFileNotFound, "00A40004023F0000"}, {apdu.SWFileNotFound, "00A4040000"}, {apdu.SWFileNotFound, "00A4040008A00000015100000000"},
		{apdu.SWUnknownINS, "8050000008001122334455667700"}, {apdu.SWUnknownINS, "80F28002024F0000"},
		{apdu.SWSecurity, parts[0]}, {apdu.SWSecurity, "00DADF2020" + fmt.Sprintf("%064X", 1)}, {apdu.SWSecurity, "80CADF2600"}, {apdu.SWSecurity, "80CADF2700"},
		{apdu.SWRefDataNotFound, "80CADF2000"}, {apdu.SWRefDataNotFound, "80CA00E000"}, {apdu.SWRefDataNotFound, "80CA006600"}, {apdu.SWRefDataNotFound, "0020000A"},
		{apdu.SWTriesLeft | 10, "0020000E"}, {apdu.SWTriesLeft | 9, "0020000E080000000000000000"}, {apdu.SWConditions, "0028000E080000000000000000"},
	} {
		l.plain(c.want, c.command)
	}
	if data := l.plain(apdu.SWOK, "80CA9F7F00"); len(data) != 3+CPLCBytes {
		t.Errorf("CPLC %X", data)
	}
	l.plain(apdu.SWOK, transport())
	for _, part := range parts {
		l.plain(apdu.SWOK, part)
	}
	l.plain(apdu.SWFileExists, parts[0])
	l.plain(apdu.SWOK, "00A4000C023F00")
	l.plain(apdu.SWFileExists, parts[5])
	keys := func(bad byte) []byte {
		check := kcv(s.ki)
		check[0] ^= bad
		return slices.Concat([]byte{1}, s.ki, check, s.opc, kcv(s.opc))
	}
	put := func(tag string, data ...[]byte) string {
		b := slices.Concat(data...)
		return fmt.Sprintf("00DA%s%02X%X", tag, len(b), b)
	}
	ota := slices.Concat(s.ota.ENC, kcv(s.ota.ENC))
	for _, c := range []struct {
		want    apdu.SW
		command string
	}{
		{apdu.SWSecurity, put("8F20", keys(1))}, {apdu.SWWrongData, put("8F20", keys(0)[1:])}, {apdu.SWWrongData, put("8F21", unhex("02"), s.pins1, unhex("33AA"))},
		{apdu.SWWrongData, put("8F21", unhex("01"), []byte("12A4\xFF\xFF\xFF\xFF12345678"), unhex("33AA"))}, {apdu.SWWrongData, put("8F22", s.pins1)},
		{apdu.SWWrongData, put("8F23", unhex("100188"), ota)}, {apdu.SWWrongData, put("8F23", unhex("010488"), ota)}, {apdu.SWWrongData, put("8F23", unhex("010180"), ota)},
		{apdu.SWSecurity, put("8F23", unhex("010188"), ota[:16], []byte{1, 2, 3})}, {apdu.SWRefDataNotFound, put("2FE2", make([]byte, 10))},
		{apdu.SWWrongData, put("DF20", make([]byte, 31))}, {apdu.SWWrongLength, "00DA8F2000"[:8]},
		{apdu.SWOK, put("DF20", bytes.Repeat([]byte{0x5A}, 32))}, {apdu.SWOK, put("8F20", keys(0))}, {apdu.SWOK, put("8F21", unhex("01"), s.pins1, unhex("33AA"))},
		{apdu.SWOK, put("8F21", unhex("81"), s.pins2, unhex("33AA"))}, {apdu.SWOK, put("8F22", s.adm)}, {apdu.SWOK, put("8F23", unhex("010188"), ota)},
	} {
		l.plain(c.want, c.command)
	}
	if data := l.plain(apdu.SWOK, "80CADF2600"); !bytes.Equal(data, slices.Concat(unhex("DF260701"), kcv(s.ki), kcv(s.opc))) {
		t.Errorf("check values %X", data)
	}
	if data := l.plain(apdu.SWOK, "00CA00E000"); !bytes.Equal(data, unhex("E006C00401018810")) {
		t.Errorf("keys %X", data)
	}
	// Whoever comes in between without the code reaches nothing; the code itself is there again.
	l = newLine(t, l.chip)
	l.plain(apdu.SWOK, "00A40804022FE200")
	l.plain(apdu.SWSecurity, "00B000000A")
	l.plain(apdu.SWSecurity, put("8F20", keys(0)))
	l.plain(apdu.SWSecurity, "00440000")
	l.plain(apdu.SWOK, transport())
	l.plain(apdu.SWOK, "00B000000A")
	l.plain(apdu.SWOK, "00A4000C023F00")
	l.plain(apdu.SWOK, "00440000")
	checkFinishedSIM(t, l, put("8F20", keys(0)))
	l = newLine(t, reopenWith(t, nvm, codeOnly()))
	l.plain(apdu.SWReferenceUnusable, transport())
	checkFinishedSIM(t, l, put("8F20", keys(0)))
}

// reopenWith is the same chip after the power was away.
func reopenWith(t testing.TB, nvm *Memory, o Options) *Chip {
	t.Helper()
	return chipWith(t, &Memory{records: nvm.records}, o)
}

// checkFinishedSIM wants the rules of simParts in force.
func checkFinishedSIM(t *testing.T, l *line, put string) {
	t.Helper()
	for _, c := range []struct {
		want    apdu.SW
		command string
	}{
		{apdu.SWConditions, put}, {apdu.SWReferenceUnusable, "0020000E" + "080000000000000000"}, {apdu.SWSecurity, "80CADF2600"},
		{apdu.SWOK, "00A40804022FE200"}, {apdu.SWOK, "00B000000A"}, {apdu.SWSecurity, "00D600000100"},
		{apdu.SWOK, "00A40804022F1000"}, {apdu.SWSecurity, "00B0000002"}, {apdu.SWSecurity, "00D600000100"},
		{apdu.SWSecurity, simParts()[7]},
		{apdu.SWOK, "00A4040C10" + hex.EncodeToString([]byte(aidUSIM))}, {apdu.SWOK, "00A4000C026F07"}, {apdu.SWOK, "00B0000009"}, {apdu.SWSecurity, "00D600000108"},
		{apdu.SWTriesLeft | 9, "0020000A080000000000000000"}, {apdu.SWOK, "0020000A080102030405060708"}, {apdu.SWOK, "00D600000108"},
		{apdu.SWOK, "80CADF2600"}, {apdu.SWOK, "80CADF2700"}, {apdu.SWSecurity, simParts()[7]},
		{apdu.SWReferenceUnusable, "0020000108" + "31323334FFFFFFFF"},
	} {
		l.plain(c.want, c.command)
	}
}

// TestSIMInChannel: the ISD's channel makes the files, at the level that may write and until the MF is activated.
func TestSIMInChannel(t *testing.T) {
	t.Parallel()
	nvm, s := &Memory{}, testSubscriber()
	l := newLine(t, chipWith(t, nvm, Options{SIM: true}))
	parts := simParts()
	l.plain(apdu.SWSecurity, parts[0])
	l.plain(apdu.SWFileNotFound, "00A40004023F0000")
	l.plain(apdu.SWFileNotFound, "00A4040410"+hex.EncodeToString([]byte(aidECASD))+"00")
	l.open(testKeys(0x40), 0xFF, scp.LevelCMACCENC)
	l.in(apdu.SWSecurity, parts[0])
	l.in(apdu.SWOK, "80F28002024F0000")

	l.open(testKeys(0x40), 0xFF, scp.LevelAll)
	for _, part := range parts {
		l.in(apdu.SWOK, part)
	}
	l.in(apdu.SWOK, "00A40804022FE200")
	if data := l.in(apdu.SWOK, "00B000000A"); data[0] != 0x98 {
		t.Errorf("EF.ICCID %X", data)
	}
	if data := l.in(apdu.SWOK, "80F28002024F0000"); !bytes.Contains(data, []byte(aidISD)) {
		t.Errorf("after a SELECT of a file GET STATUS says %X", data)
	}
	l.in(apdu.SWRefDataNotFound, "80F24002024F0000") // there is no other domain
	l.in(apdu.SWRefDataNotFound, "80E60C00 39 10"+hex.EncodeToString([]byte(aidLoadFile))+"10"+hex.EncodeToString([]byte(aidECASD))+"10"+hex.EncodeToString([]byte(testISDP))+"0100"+"02C900"+"00")
	var keys []byte
	for i, key := range [][]byte{s.ota.ENC, s.ota.MAC, s.ota.DEK} {
		template := slices.Concat([]byte{0x95, 1, []byte{0x18, 0x14, 0x48}[i]}, unhex("800188 810110 8201"), []byte{byte(i + 1)}, unhex("830101 8403"), kcv(key))
		keys = slices.Concat(keys, dgi(dgiKeyTemplate, template), dgi(dgiKeyValue, l.dek(key)))
	}
	for _, data := range [][]byte{
		keys,
		dgi(dgiAKA, []byte{1}, l.dek(s.ki), kcv(s.ki), l.dek(s.opc), kcv(s.opc)),
		slices.Concat(dgi(dgiPIN, []byte{refPIN1}, l.dek(s.pins1), unhex("33AA")), dgi(dgiPIN, []byte{refPIN2}, l.dek(s.pins2), unhex("33AA")), dgi(dgiADM, l.dek(s.adm))),
	} {
		for _, block := range blocks(data) {
			if _, sw, _ := l.secure(block); !sw.OK() {
				t.Fatalf("%X: %v", block, sw)
			}
		}
	}
	l.in(apdu.SWConditions, hex.EncodeToString(blocks(dgi(0x2FE2, make([]byte, 10)))[0]))
	if data := l.in(apdu.SWOK, "80E29100065C04DF26DF2700"); !bytes.Contains(data, kcv(s.opc)) || len(data) != 10+11 {
		t.Errorf("check values %X", data)
	}
	// The OTA set opens no channel, is not what version 00 means, and is not replaced by a set of another kind.
	_, sw, _ := l.secure(l.putKeyCommand(0x01, 0x30, s.isd))
	if sw != apdu.SWRefDataNotFound {
		t.Errorf("PUT KEY in place of the OTA set: %v", sw)
	}
	l.in(apdu.SWOK, "00A4000C023F00")
	l.in(apdu.SWOK, "00440000")
	l.in(apdu.SWOK, "00A40804022FE200")
	l.in(apdu.SWSecurity, "00D600000100")
	l.in(apdu.SWSecurity, parts[7])
	l = newLine(t, reopenWith(t, nvm, Options{SIM: true}))
	l.plain(apdu.SWOK, "00A4040000")
	l.plain(apdu.SWRefDataNotFound, "8050010008001122334455667700")
	if !l.open(testKeys(0x40), 0, scp.LevelAll) {
		t.Error("version 00 is not the maker's set")
	}
	l.plain(apdu.SWOK, "00A40804022FE200")
	l.plain(apdu.SWOK, "00B000000A")
	l.plain(apdu.SWSecurity, "00D600000100")
}

// TestForeignSIM: what another has finished takes nothing of us.
func TestForeignSIM(t *testing.T) {
	t.Parallel()
	for _, o := range []Options{codeOnly(), {SIM: true}} {
		p := testPersonality()
		p.Options, p.Foreign = o, &Foreign{KVN: 0x30, Keys: testKeys(0x20), Seq: 1, Stamp: [stampBytes]byte{7}}
		c, err := New(p, &Memory{}, &counter{})
		if err != nil {
			t.Fatal(err)
		}
		l := newLine(t, c)
		if o.NoDomain {
			l.plain(apdu.SWReferenceUnusable, transport())
			l.plain(apdu.SWOK, "80CADF2000")
			l.plain(apdu.SWOK, "00A40004023F0000")
			l.plain(apdu.SWSecurity, simParts()[5])
			continue
		}
		l.plain(apdu.SWOK, "00A4040000")
		l.plain(apdu.SWRefDataNotFound, "8050FF0008001122334455667700")
		l.plain(apdu.SWOK, "80CADF2000")
	}
}

// TestTearSIM takes the power away at every command under the transport code: the chip then is what one is that was given so many
// commands and no more.
func TestTearSIM(t *testing.T) {
	t.Parallel()
	commands := append(append([]string{transport()}, simParts()...), "00A4000C023F00", "00440000")
	whole := newLine(t, chipWith(t, &Memory{}, codeOnly()))
	states := []([32]byte){whole.chip.Digest()}
	for _, c := range commands {
		whole.plain(apdu.SWOK, c)
		states = append(states, whole.chip.Digest())
	}
	for n := 1; n <= len(commands); n++ {
		for _, kind := range []FaultKind{FaultTearBefore, FaultTearAfter} {
			nvm, p := &Memory{}, testPersonality(Fault{Kind: kind, APDU: uint32(n)})
			p.Options = codeOnly()
			c, err := New(p, nvm, &counter{})
			if err != nil {
				t.Fatal(err)
			}
			l := newLine(t, c)
			for i, command := range commands {
				if resp := l.send(unhex(command)); (resp == nil) != (i+1 >= n) {
					t.Fatalf("%s at %d: command %d is answered %X", kind, n, i+1, resp)
				}
			}
			want := states[n-1]
			if kind == FaultTearAfter {
				want = states[n]
			}
			again := reopenWith(t, nvm, codeOnly())
			if l.chip.Digest() != want || again.Digest() != want {
				t.Errorf("%s at %d: another chip", kind, n)
			}
		}
	}
}

// FuzzSIM sends anything to a SIM that is being written and to one that is finished, under the codes that there are: no panic, and
// what is refused changes nothing.
func FuzzSIM(f *testing.F) {
	seedAPDUs(f)
	made := &Memory{}
	l := newLine(f, chipWith(f, made, codeOnly()))
	l.plain(apdu.SWOK, transport())
	for _, c := range simParts() {
		l.plain(apdu.SWOK, c)
		f.Add(unhex(c))
	}
	s := testSubscriber()
	for tag, data := range map[string][]byte{"8F20": slices.Concat([]byte{1}, s.ki, kcv(s.ki), s.opc, kcv(s.opc)), "8F21": slices.Concat([]byte{1}, s.pins1, unhex("33AA")),
		"8F22": s.adm, "8F23": slices.Concat(unhex("010188"), s.ki, kcv(s.ki)), "DF20": make([]byte, stampBytes)} {
		c := fmt.Sprintf("00DA%s%02X%X", tag, len(data), data)
		l.plain(apdu.SWOK, c)
		f.Add(unhex(c))
	}
	half := len(made.records)
	l.plain(apdu.SWOK, "00A4000C023F00")
	l.plain(apdu.SWOK, "00440000")
	f.Add(unhex("80CADF2600"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, records := range []int{0, half, len(made.records)} {
			nvm := &Memory{records: made.records[:records:records]}
			c := chipWith(t, nvm, codeOnly())
			l := newLine(t, c)
			l.send(unhex(transport()))
			l.send(unhex("0020000A080102030405060708"))
			check(t, c, nvm, raw, func() apdu.SW {
				_, sw, err := apdu.SWOf(l.send(raw))
				if err != nil {
					t.Errorf("%X: %v", raw, err)
				}
				return sw
			})
			if snapshot := snapshot(c); !bytes.Equal(snapshot, snapshotOf(t, nvm)) {
				t.Errorf("after %X the memory says something else than the chip", raw)
			}
		}
	})
}

// FuzzSIMInside sends anything through the channel of a SIM's ISD, while it is being written and when it is finished.
func FuzzSIMInside(f *testing.F) {
	seedAPDUs(f)
	o, made := Options{SIM: true}, &Memory{}
	l := newLine(f, chipWith(f, made, o))
	l.open(testKeys(0x40), 0xFF, scp.LevelAll)
	for _, c := range simParts() {
		l.in(apdu.SWOK, c)
		f.Add(unhex(c))
	}
	half := len(made.records)
	l.in(apdu.SWOK, "00A4000C023F00")
	l.in(apdu.SWOK, "00440000")
	f.Fuzz(func(t *testing.T, raw []byte) {
		cmd, err := apdu.Parse(raw)
		if err != nil {
			return
		}
		for _, records := range []int{0, half, len(made.records)} {
			nvm := &Memory{records: made.records[:records:records]}
			l := newLine(t, chipWith(t, nvm, o))
			l.open(testKeys(0x40), 0xFF, scp.LevelAll)
			wrapped, mark, err := l.host.Wrap(cmd)
			if err != nil {
				return
			}
			check(t, l.chip, nvm, raw, func() apdu.SW {
				_, sw, err := l.host.UnwrapAt(mark, l.send(wrapped))
				if err != nil && !errors.Is(err, scp.ErrUnprotected) {
					t.Errorf("%X: %v", raw, err)
				}
				return sw
			})
			if !bytes.Equal(snapshot(l.chip), snapshot(chipWith(t, nvm, o))) {
				t.Errorf("after %X the memory says something else than the chip", raw)
			}
		}
	})
}

func snapshotOf(t testing.TB, nvm *Memory) []byte { return snapshot(reopenWith(t, nvm, codeOnly())) }
