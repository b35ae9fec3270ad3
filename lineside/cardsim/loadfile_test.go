package cardsim

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"github.com/persoline/persoline/perso/apdu"
	"github.com/persoline/persoline/perso/scp"
	"github.com/persoline/persoline/perso/tlv"
)

const (
	pkgAID    = "\xF0\x00\x00\x00\x01\x01"
	moduleAID = "\xF0\x00\x00\x00\x01\x01\x01"
	appAID    = "\xF0\x00\x00\x00\x01\x02"
)

// capOf is the code of a package with one applet, and method bytes that nobody runs.
func capOf(pkg string, method int) []byte {
	component := func(tag byte, body []byte) []byte {
		return append(binary.BigEndian.AppendUint16([]byte{tag}, uint16(len(body))), body...)
	}
	return slices.Concat(component(1, append(unhex("DECAFFED 0201 04 0001"), withLength(nil, []byte(pkg))...)),
		component(3, append(withLength([]byte{1}, []byte(moduleAID)), 0, 8)), component(7, bytes.Repeat([]byte{0x7A}, method)))
}

func lv(parts ...[]byte) (out []byte) {
	for _, p := range parts {
		out = withLength(out, p)
	}
	return out
}

func forLoad(aid string, hash []byte) []byte {
	return command("80E60200", lv([]byte(aid), nil, hash, nil, nil))
}

// loadBlocks cuts a load file data block into LOAD commands.
func loadBlocks(code []byte) (all [][]byte) {
	const blockBytes = scp.MaxDataS8Level33
	data := tlv.Encode(tagLoadFile, code)
	for n := 0; len(data) > 0; n++ {
		part, p1 := data[:min(blockBytes, len(data))], byte(0)
		if data = data[len(part):]; len(data) == 0 {
			p1 = 0x80
		}
		all = append(all, command(fmt.Sprintf("80E8%02X%02X", p1, n), part))
	}
	return all
}

func (l *line) all(want apdu.SW, commands ...[]byte) (data []byte) {
	l.t.Helper()
	for i, c := range commands {
		got, sw, ok := l.secure(c)
		if expected := map[bool]apdu.SW{true: want, false: apdu.SWOK}[i == len(commands)-1]; !ok || sw != expected {
			l.t.Fatalf("%X: %v (power %v), expected %v", c, sw, ok, expected)
		}
		data = got
	}
	return data
}

func opened(t testing.TB, nvm NVM) *line {
	t.Helper()
	l := newLine(t, newChip(t, nvm))
	if !l.open(testKeys(0x40), 0xFF, scp.LevelAll) {
		t.Fatal("lost power")
	}
	return l
}

// TestLoadFile: a load file comes block by block, is in the registry with its module, becomes an application that can be selected, and
// goes again.
func TestLoadFile(t *testing.T) {
	t.Parallel()
	nvm := &Memory{}
	l := opened(t, nvm)
	code := capOf(pkgAID, 1500)
	sum := sha256.Sum256(code)
	before, cost := nvm.Len(), l.cost.Pages
	l.all(apdu.SWOK, append([][]byte{forLoad(pkgAID, sum[:])}, loadBlocks(code)...)...)
	if nvm.Len() != before+1 || l.cost.Pages-cost < len(code)/pageBytes {
		t.Errorf("%d records, %d pages for %d bytes", nvm.Len()-before, l.cost.Pages-cost, len(code))
	}
	file := tlv.Encode(tagStatusEntry, tlv.Encode(tagAID, []byte(pkgAID)), unhex("9F700101"), tlv.Encode(0xCC, []byte(aidISD)))
	if data := l.all(apdu.SWOK, command("80F22002", unhex("4F00"))); !bytes.Equal(data, file) {
		t.Errorf("load files %X", data)
	}
	if data := l.all(apdu.SWOK, command("80F21002", unhex("4F02F000"))); !bytes.Contains(data, tlv.Encode(0x84, []byte(moduleAID))) {
		t.Errorf("modules %X", data)
	}
	install := func(p1 byte, module string, params string) []byte {
		return command(fmt.Sprintf("80E6%02X00", p1), lv([]byte(pkgAID), []byte(module), []byte(appAID), []byte{0}, unhex(params), nil))
	}
	l.all(apdu.SWRefDataNotFound, install(0x04, moduleAID+"\x09", "C900"))
	l.all(apdu.SWWrongData, install(0x04, moduleAID, ""))
	l.all(apdu.SWOK, install(0x04, moduleAID, "C900"))
	l.all(apdu.SWConditions, install(0x0C, moduleAID, "C900"))
	l.plain(apdu.SWFileNotFound, fmt.Sprintf("00A4040006%X00", appAID)) // it ends the session: an application that is not selectable yet

	l = newLine(t, reopen(t, nvm))
	l.open(testKeys(0x40), 0xFF, scp.LevelAll)
	selectable := command("80E60800", lv(nil, nil, []byte(appAID), []byte{0}, nil, nil))
	l.all(apdu.SWOK, selectable)
	l.all(apdu.SWConditions, selectable)
	if data := l.all(apdu.SWOK, command("80F24002", unhex("4F01F0"))); !bytes.Contains(data, append(tlv.Encode(tagAID, []byte(appAID)), unhex("9F700107")...)) {
		t.Errorf("applications %X", data)
	}
	for _, step := range []struct {
		state byte
		want  apdu.SW
	}{{0x0F, apdu.SWOK}, {0x0B, apdu.SWConditions}, {0x8F, apdu.SWOK}, {0x17, apdu.SWConditions}, {0x0F, apdu.SWOK}, {0x0F, apdu.SWOK}} {
		l.all(step.want, command(fmt.Sprintf("80F040%02X", step.state), []byte(appAID)))
	}
	l.plain(apdu.SWOK, fmt.Sprintf("00A4040006%X00", appAID))
	l.plain(apdu.SWUnknownINS, "80CA9F7F00")
	l.plain(apdu.SWUnknownINS, "00B0000000")

	l.open(testKeys(0x40), 0xFF, scp.LevelAll)
	remove := func(p2 byte, aid string) []byte {
		return command(fmt.Sprintf("80E400%02X", p2), tlv.Encode(tagAID, []byte(aid)))
	}
	l.all(apdu.SWConditions, remove(0, pkgAID))
	l.all(apdu.SWOK, remove(0x80, pkgAID))
	l.all(apdu.SWRefDataNotFound, remove(0, appAID))
	l.all(apdu.SWRefDataNotFound, command("80F22002", unhex("4F00")))
	if l = opened(t, &Memory{}); reopen(t, nvm).Digest() != l.chip.Digest() {
		t.Error("something of the load file is left")
	}
}

// TestLoadFileRefused: what is not the file that was announced is refused, at the block that shows it, and leaves nothing.
func TestLoadFileRefused(t *testing.T) {
	t.Parallel()
	code := capOf(pkgAID, 600)
	good := loadBlocks(code)
	sum := sha1.Sum(code)
	swapped := [][]byte{good[0], good[2]}
	bent := bytes.Clone(code)
	bent[len(bent)-1] ^= 1
	long := slices.Clone(good)
	long[len(long)-1] = command("80E88002", append(bytes.Clone(apduData(t, good[2])), 0))
	for name, c := range map[string]struct {
		commands [][]byte
		want     apdu.SW
	}{
		"nothing announced": {good[:1], apdu.SWConditions},
		"no load file":      {[][]byte{forLoad(pkgAID, nil), command("80E88000", unhex("C50100"))}, apdu.SWWrongData},
		"signed":            {[][]byte{forLoad(pkgAID, nil), command("80E80000", unhex("E2034F01F0"))}, apdu.SWWrongData},
		"empty":             {[][]byte{forLoad(pkgAID, nil), command("80E88000", unhex("C400"))}, apdu.SWWrongData},
		"a block left out":  {append([][]byte{forLoad(pkgAID, nil)}, swapped...), apdu.SWWrongP1P2},
		"P1":                {[][]byte{forLoad(pkgAID, nil), command("80E84000", unhex("C40100"))}, apdu.SWWrongP1P2},
		"too early an end":  {[][]byte{forLoad(pkgAID, nil), good[0], command("80E88001", apduData(t, good[1]))}, apdu.SWWrongData},
		"too much":          {append([][]byte{forLoad(pkgAID, nil)}, long...), apdu.SWWrongData},
		"another hash":      {append([][]byte{forLoad(pkgAID, sum[:])}, loadBlocks(bent)...), apdu.SWWrongData},
		"another package":   {append([][]byte{forLoad(pkgAID+"\x00", nil)}, good...), apdu.SWWrongData},
		"no code":           {append([][]byte{forLoad(pkgAID, nil)}, loadBlocks(code[3:])...), apdu.SWWrongData},
		"cut short":         {append([][]byte{forLoad(pkgAID, nil)}, loadBlocks(code[:len(code)-1])...), apdu.SWWrongData},
		"hash of 8 bytes":   {[][]byte{forLoad(pkgAID, make([]byte, 8))}, apdu.SWWrongData},
		"a domain's name":   {[][]byte{forLoad(aidECASD, nil)}, apdu.SWConditions},
		"another domain":    {[][]byte{command("80E60200", lv([]byte(pkgAID), []byte(aidISDR), nil, nil, nil))}, apdu.SWRefDataNotFound},
		"a token":           {[][]byte{command("80E60200", lv([]byte(pkgAID), nil, nil, nil, []byte{1}))}, apdu.SWWrongData},
		"something between": {[][]byte{forLoad(pkgAID, nil), good[0], command("80F28002", unhex("4F00")), good[1]}, apdu.SWConditions},
		"a domain's privilege": {append(append([][]byte{forLoad(pkgAID, nil)}, good...),
			command("80E60C00", lv([]byte(pkgAID), []byte(moduleAID), []byte(appAID), []byte{0x80}, unhex("C900"), nil))), apdu.SWWrongData},
	} {
		nvm := &Memory{}
		l := opened(t, nvm)
		before := snapshot(l.chip)
		l.all(c.want, c.commands...)
		if name != "a domain's privilege" && !bytes.Equal(snapshot(l.chip), before) {
			t.Errorf("%s: something is left", name)
		}
		if _, sw, _ := l.secure(good[0]); sw != apdu.SWConditions {
			t.Errorf("%s: after it a block is answered %v", name, sw)
		}
	}
	l := opened(t, &Memory{})
	for n := range maxLoadFiles {
		aid := pkgAID + string([]byte{0x10 + byte(n)})
		l.all(apdu.SWOK, append([][]byte{forLoad(aid, nil)}, loadBlocks(capOf(aid, 10))...)...)
	}
	l.all(apdu.SWNoSpace, forLoad(pkgAID, nil))
	// So many entries do not fit one answer: the rest is asked for.
	first := l.all(apdu.SWMoreDataBER, command("80F21002", unhex("4F00")))
	second := l.all(apdu.SWOK, command("80F21003", unhex("4F00")))
	if n := bytes.Count(append(first, second...), []byte(moduleAID)); n != maxLoadFiles {
		t.Errorf("%d of %d modules are told", n, maxLoadFiles)
	}
	l.all(apdu.SWConditions, command("80F21003", unhex("4F00")))
}

func apduData(t testing.TB, raw []byte) []byte {
	t.Helper()
	c, err := apdu.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return c.Data
}

// TestTornLoadFile: a load file that lost its power is not there, or is there whole.
func TestTornLoadFile(t *testing.T) {
	t.Parallel()
	code := capOf(pkgAID, 600)
	commands := append([][]byte{forLoad(pkgAID, nil)}, loadBlocks(code)...)
	const opening = 3
	for n := range commands {
		for _, kind := range []FaultKind{FaultTearBefore, FaultTearAfter} {
			nvm := &Memory{}
			l := newLine(t, newChip(t, nvm, Fault{Kind: kind, APDU: uint32(opening + 1 + n)}))
			l.open(testKeys(0x40), 0xFF, scp.LevelAll)
			for _, c := range commands {
				if _, _, ok := l.secure(c); !ok {
					break
				}
			}
			_, there := reopen(t, nvm).loadFile([]byte(pkgAID))
			if want := n == len(commands)-1 && kind == FaultTearAfter; there != want {
				t.Errorf("%s at %d: there %v", kind, n, there)
			}
		}
	}
}

func FuzzCAP(f *testing.F) {
	f.Add(capOf(pkgAID, 10))
	f.Add(unhex("01000FDECAFFED0201040001 06F0000000010103000100"))
	f.Fuzz(func(t *testing.T, code []byte) {
		pkg, applets, ok := readCAP(code)
		if ok && (!isAID(pkg) || len(applets) > maxInstances) {
			t.Errorf("%X gives %X and %d applets", code, pkg, len(applets))
		}
	})
}
