package cardsim

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"testing"

	"github.com/persoline/persoline/perso/aka"
	"github.com/persoline/persoline/perso/apdu"
	"github.com/persoline/persoline/perso/scp"
)

// bare is a chip that has an ISD-P with codes and keys, and no file: what a basic SIM begins with.
func bare(t testing.TB, nvm NVM, faults ...Fault) *line {
	t.Helper()
	l := newLine(t, newChip(t, nvm, faults...))
	if !l.open(testKeys(0x40), 0xFF, scp.LevelAll) {
		t.Fatal("lost power")
	}
	for _, step := range l.writeSteps(testSubscriber()) {
		files := step[1] == insStoreData && bytes.Contains(step, unhex("2FE20A"))
		if step[1] == insPutKey || files {
			continue
		}
		if _, sw, _ := l.secure(step); !sw.OK() {
			t.Fatalf("%X: %v", step, sw)
		}
	}
	return l
}

const simAID = "A0000000871002FFFFFFFF8907030000"

// simFiles are the commands that make the file system of a basic SIM: rules 1 read always, rest ADM; 2 PIN1, rest ADM; 3
// read and increase PIN1, rest ADM.
func simFiles() (all []string) {
	template := func(s string) {
		b := unhex(s)
		all = append(all, fmt.Sprintf("00E00000%02X62%02X%X", len(b)+2, len(b), b))
	}
	template("8202 7821 8302 3F00 8A01 05 AB0B 8001 7F A406 8301 0A 9501 08 C609 9001 00 8301 01 8301 81")
	template("8204 4221 0024 8302 2F06 8A01 03 8B03 2F06 01 8002 006C 8801 30")
	for i, rule := range []string{
		"8001 01 9000 8001 7E A406 8301 0A 9501 08",
		"8001 03 A406 8301 01 9501 08 8001 7C A406 8301 0A 9501 08",
		"8001 01 A406 8301 01 9501 08 8001 7E A406 8301 0A 9501 08 8401 32 A406 8301 01 9501 08",
	} {
		all = append(all, fmt.Sprintf("00DC%02X0424%X", i+1, append(unhex(rule), bytes.Repeat([]byte{0xFF}, 36)...)[:36]))
	}
	all = append(all, "00440000")
	template("8202 4121 8302 2FE2 8A01 05 8B03 2F06 01 8002 000A 8801 10")
	all = append(all, "00D600000A98881200000000000000")
	template("8202 7821 8302 7FF0 8410" + simAID + "8A01 05 8B03 2F06 03 C609 9001 00 8301 01 8301 81")
	template("8202 4121 8302 6F07 8A01 05 8B03 2F06 02 8002 0009 8801 38")
	template("8202 4121 8302 6F38 8A01 05 8B03 2F06 01 8002 0005 8801 20 A503 C101 FF")
	template("8204 4621 0003 8302 6F39 8A01 05 8B03 2F06 03 8002 0009 8800 A503 C101 00")
	template("8204 4221 0004 8302 6F3B 8A01 05 8B03 2F06 01 8002 0010 8800")
	return append(all, "00DC020404"+"31323334")
}

// sim is a basic SIM, made by commands.
func sim(t testing.TB, nvm *Memory) *line {
	t.Helper()
	l := bare(t, nvm)
	l = newLine(t, l.chip)
	commands := simFiles()
	l.plain(apdu.SWOK, commands[0])
	l.plain(apdu.SWSecurity, commands[1]) // the MF has rules, and nobody has shown ADM1
	l.plain(apdu.SWOK, "0020000A080102030405060708")
	for _, c := range commands[1:] {
		l.plain(apdu.SWOK, c)
	}
	return l
}

func TestBasicSIM(t *testing.T) {
	t.Parallel()
	nvm := &Memory{}
	sim(t, nvm)
	l := newLine(t, reopen(t, nvm))
	l.plain(apdu.SWOK, "00A40004022FE200")
	if got := l.plain(apdu.SWOK, "00B0000000"); !bytes.Equal(got, unhex("98881200000000000000")) {
		t.Errorf("EF.ICCID %X", got)
	}
	l.plain(apdu.SWSecurity, "00D600000100")
	fcp := l.plain(apdu.SWOK, "00A4040407A000000087100200") // what only one name begins with
	if !bytes.Contains(fcp, unhex("8410"+simAID)) || !bytes.Contains(fcp, unhex("C609 900140 830101 830181")) {
		t.Errorf("FCP %X", fcp) // PIN2 is asked for, PIN1 is not
	}
	l.plain(apdu.SWOK, "00A40004026F0700")
	l.plain(apdu.SWOK, "00D6000009"+"082982608200002080") // PIN1 is not asked for
	l.plain(apdu.SWOK, "00280001083132333400000000"[:10]+"31323334FFFFFFFF")
	l = newLine(t, reopen(t, nvm))
	l.plain(apdu.SWOK, "00A4040C10"+simAID)
	l.plain(apdu.SWSecurity, "00B0870000")
	l.plain(apdu.SWOK, "002000010831323334FFFFFFFF")
	if got := l.plain(apdu.SWOK, "00B0870000"); !bytes.Equal(got, unhex("082982608200002080")) {
		t.Errorf("EF.IMSI %X", got)
	}
	l.plain(apdu.SWOK, "00A4000C026F39")
	if got := l.plain(apdu.SWOK, "80320000030000070 0"); !bytes.Equal(got, unhex("000007000007")) {
		t.Errorf("increased to %X", got)
	}
	l.plain(apdu.SWUnknownCLA, "003200000300000700")
	l.plain(apdu.SWOK, "00A4000C026F3B")
	if got := l.plain(apdu.SWOK, "00A2010402333400"); !bytes.Equal(got, []byte{2}) {
		t.Errorf("found in %X", got)
	}
	if got := l.plain(apdu.SWOK, "00B2020404"); !bytes.Equal(got, []byte("1234")) {
		t.Errorf("record %X", got)
	}
	if got := l.plain(apdu.SWOK, "80F2000100"); !bytes.Equal(got, unhex("8410"+simAID)) {
		t.Errorf("STATUS %X", got)
	}
	l.plain(apdu.SWSecurity, "0004000002"+"6F3B") // DEACTIVATE is the administrator's
	l.plain(apdu.SWOK, "0020000A080102030405060708")
	l.plain(apdu.SWOK, "0004000002"+"6F3B")
	l.plain(apdu.SWFileInvalidated, "00A4000C026F3B")
	l.plain(apdu.SWReferenceUnusable, "00B2020404")
	l.plain(apdu.SWOK, "00E40000026F3B")
	l.plain(apdu.SWFileNotFound, "00A4000C026F3B")
	l.plain(apdu.SWUnknownINS, "00FE0000")
}

func TestBasicSIMAuthenticates(t *testing.T) {
	t.Parallel()
	nvm := &Memory{}
	l := newLine(t, sim(t, nvm).chip)
	s, rand := testSubscriber(), aka.Rand{1, 2, 3}
	m, err := aka.New(s.ki, s.opc)
	if err != nil {
		t.Fatal(err)
	}
	autn := m.BuildAUTN(rand, aka.SQNOf(0x20), aka.AMF{0x80})
	challenge := hex.EncodeToString(command("00880081", append(append(append([]byte{16}, rand[:]...), 16), autn[:]...)))
	l.plain(apdu.SWConditions, challenge) // no application
	l.plain(apdu.SWOK, "00A4040C10"+simAID)
	keys := m.F2345(rand)
	if got := l.plain(apdu.SWOK, challenge); got[0] != 0xDB || !bytes.Equal(got[2:10], keys.RES[:]) {
		t.Errorf("answer %X", got)
	}
	gsm := hex.EncodeToString(command("00880080", append([]byte{16}, rand[:]...)))
	sres, kc := keys.SRES(), keys.Kc()
	if got := l.plain(apdu.SWOK, gsm); !bytes.Equal(got, append(append(append([]byte{4}, sres[:]...), 8), kc[:]...)) {
		t.Errorf("GSM answer %X, expected %X %X", got, sres, kc)
	}
	l.plain(apdu.SWWrongLength, challenge[:6]+"80"+challenge[8:])
	l.plain(apdu.SWOK, "0020000A080102030405060708")
	l.plain(apdu.SWOK, "00A4000C026F38")
	l.plain(apdu.SWOK, "00D600040100") // service 38 is gone
	l.plain(apdu.SWGSMContext, gsm)
}

// The files of data groupings and a file system keep out of each other's way.
func TestFilesOfOneKindOnly(t *testing.T) {
	t.Parallel()
	c, _ := finished(t)
	l := newLine(t, c)
	l.plain(apdu.SWConditions, simFiles()[0])
	l.plain(apdu.SWOK, "00A40004022FE200")
	l.plain(apdu.SWUnknownINS, "00D600000100")
	l.plain(apdu.SWUnknownINS, "80F2000000")

	nvm := &Memory{}
	l = newLine(t, sim(t, nvm).chip)
	if !l.open(testKeys(0x40), 0xFF, scp.LevelAll) {
		t.Fatal("lost power")
	}
	l.secure(forPerso(testISDP))
	if _, sw, _ := l.secure(blocks(dgi(uint16(fileICCID), make([]byte, 10)))[0]); sw != apdu.SWConditions {
		t.Errorf("a file by data grouping: %v", sw)
	}
	l.in(apdu.SWOK, "80E40000124F10"+hex.EncodeToString([]byte(testISDP)))
	l = newLine(t, reopen(t, nvm))
	l.plain(apdu.SWFileNotFound, "00A4040C10"+simAID)
	l.plain(apdu.SWConditions, simFiles()[0]) // no profile
}

// A SECURED card takes no first file.
func TestNoFirstFileOnASecuredCard(t *testing.T) {
	t.Parallel()
	l := bare(t, &Memory{})
	l.in(apdu.SWOK, "80F08007")
	l.in(apdu.SWOK, "80F0800F")
	l = newLine(t, l.chip)
	l.plain(apdu.SWConditions, simFiles()[0])
}

// Whatever command the power is lost at, before it or after, the memory is as before or as after that command.
func TestTornFileCommands(t *testing.T) {
	t.Parallel()
	commands := simFiles()
	commands = append([]string{commands[0], "0020000A080102030405060708"}, commands[1:]...)
	clean := &Memory{}
	l := newLine(t, bare(t, clean).chip)
	states := [][]byte{snapshot(l.chip)}
	for _, c := range commands {
		l.plain(apdu.SWOK, c)
		states = append(states, snapshot(l.chip))
	}
	for _, kind := range []FaultKind{FaultTearBefore, FaultTearAfter} {
		for at := range commands {
			nvm := &Memory{}
			fault := Fault{Kind: kind, Contact: 1, APDU: uint32(at + 1)}
			bare(t, nvm)
			l := newLine(t, reopen(t, nvm, fault))
			for _, c := range commands[:at] {
				l.plain(apdu.SWOK, c)
			}
			if resp := l.send(unhex(commands[at])); resp != nil {
				t.Fatalf("%s at %s: answered %X", kind, commands[at], resp)
			}
			want := states[at]
			if kind == FaultTearAfter {
				want = states[at+1]
			}
			if !bytes.Equal(withoutContacts(snapshot(reopen(t, nvm))), want) {
				t.Errorf("%s at %s: the memory is neither as before nor as after", kind, commands[at])
			}
		}
	}
}
