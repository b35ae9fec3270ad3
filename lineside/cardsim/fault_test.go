package cardsim

import (
	"bytes"
	"testing"

	"github.com/persoline/persoline/perso/apdu"
	"github.com/persoline/persoline/perso/scp"
)

// apdusOfAll is how many commands personalize needs, the three that open the channel included.
func apdusOfAll(t *testing.T) int {
	l := newLine(t, newChip(t, &Memory{}))
	if !l.open(testKeys(0x40), 0xFF, scp.LevelAll) || !l.personalize(testSubscriber()) {
		t.Fatal("lost power without a fault")
	}
	return l.sent
}

// TestTearAnywhere takes the power away at every command of the script, before and after it took effect, and then goes
// on with the same chip from a new contact.
func TestTearAnywhere(t *testing.T) {
	t.Parallel()
	s := testSubscriber()
	for n := 1; n <= apdusOfAll(t); n++ {
		for _, kind := range []FaultKind{FaultTearBefore, FaultTearAfter} {
			nvm := &Memory{}
			l := newLine(t, newChip(t, nvm, Fault{Kind: kind, APDU: uint32(n)}))
			if l.open(testKeys(0x40), 0xFF, scp.LevelAll) && l.personalize(s) {
				t.Fatalf("%s at %d: the chip went on", kind, n)
			}
			if l.sent != n || l.chip.Powered() || l.send(unhex("00A4040000")) != nil {
				t.Fatalf("%s at %d: %d commands were answered", kind, n, l.sent)
			}
			before := snapshot(l.chip)
			again := newLine(t, reopen(t, nvm, Fault{Kind: kind, APDU: uint32(n)}))
			if after := snapshot(again.chip); !bytes.Equal(withoutContacts(before), withoutContacts(after)) {
				t.Fatalf("%s at %d: the journal says something else than the chip", kind, n)
			}
			again.recover(s)
			checkFinished(t, newLine(t, again.chip))
		}
	}
}

// recover does what a vault does: it takes the keys that the chip says it has, and writes what may be missing.
func (l *line) recover(s subscriber) {
	l.t.Helper()
	l.plain(apdu.SWOK, "00A4040000")
	keys, kvn := testKeys(0x40), byte(0xFF)
	if bytes.Contains(l.plain(apdu.SWOK, "80CA00E000"), unhex("C004013088")) {
		keys, kvn = s.isd, 0x30
	}
	if !l.open(keys, kvn, scp.LevelAll) {
		l.t.Fatal("lost power again")
	}
	l.secure(forPerso(aidECASD))
	certified := l.in(apdu.SWOK, "80E29100 04 5C027F21 00")
	point := l.in(apdu.SWOK, "80E29100 04 5C02DF30 00")
	for _, step := range l.writeSteps(s) {
		switch {
		case step[1] == insGenerate && len(certified) > 0, step[1] == insPutKey && kvn == 0x30:
			continue
		}
		data, sw, _ := l.secure(step)
		if !sw.OK() && sw != apdu.SWConditions {
			l.t.Fatalf("%X: %v", step, sw)
		}
		if step[1] == insGenerate {
			point = data[2:70] // as long as DF30 and its value
		}
	}
	for _, step := range finishSteps(bytes.Clone(point[3:])) {
		_, sw, _ := l.secure(step)
		if !sw.OK() && step[1] != insSetStatus {
			l.t.Fatalf("%X: %v", step, sw)
		}
	}
}

func snapshot(c *Chip) []byte {
	var all changes
	for _, e := range c.mem.cells {
		all.put(e.at, e.value...)
	}
	return encodeRecord(all)
}

func withoutContacts(record []byte) []byte {
	all, err := decodeRecord(record)
	if err != nil {
		return nil
	}
	var kept changes
	for _, c := range all {
		if c.at != cellOf(0, kindBench, noteContacts) {
			kept = append(kept, c)
		}
	}
	return encodeRecord(kept)
}

// TestTearInside: a memory that is not written in one piece has so many values of a command, and half of one; the chip can be read
// wherever that was.
func TestTearInside(t *testing.T) {
	t.Parallel()
	nvm := &Memory{}
	p := testPersonality(Fault{Kind: FaultTearInside, APDU: 2, Bit: 0})
	p.Options = codeOnly()
	made := newLine(t, chipWith(t, nvm, codeOnly()))
	for _, c := range append([]string{transport()}, simParts()...) {
		made.plain(apdu.SWOK, c)
	}
	made.plain(apdu.SWOK, "00A40804022FE200")
	torn, err := New(p, nvm, &counter{})
	if err != nil {
		t.Fatal(err)
	}
	l := newLine(t, torn)
	l.plain(apdu.SWOK, transport())
	if l.send(unhex("00D682000A0102030405060708090A")) != nil || l.chip.Powered() { // EF.ICCID by its short identifier
		t.Fatal("the chip went on")
	}
	l = newLine(t, reopenWith(t, nvm, codeOnly()))
	l.plain(apdu.SWOK, transport())
	if got := l.plain(apdu.SWOK, "00B082000A"); !bytes.Equal(got, unhex("01020304050000000000")) {
		t.Errorf("EF.ICCID is %X, want the first half of what was written", got)
	}
	// A whole personalization, torn inside each command in turn and behind each number of values, can be read and goes on to its proof
	// or not; nothing panics, and the journal says what the chip says.
	for n := 1; n <= apdusOfAll(t); n++ {
		for values := range uint16(4) {
			nvm := &Memory{}
			l := newLine(t, newChip(t, nvm, Fault{Kind: FaultTearInside, APDU: uint32(n), Bit: values}))
			if l.open(testKeys(0x40), 0xFF, scp.LevelAll) && l.personalize(testSubscriber()) {
				t.Fatalf("torn at %d: the chip went on", n)
			}
			again := reopen(t, nvm)
			if again.Digest() != l.chip.Digest() {
				t.Fatalf("torn at %d: the journal says something else than the chip", n)
			}
			l = newLine(t, again)
			for _, command := range []string{"00A4040000", "80CA00E000", "80CADF2000", "00A40804022FE200", "00B000000A", "00200001", "00A4040C10A0000000871002FF86FF0389FFFFFFFF",
				"00880081221000112233445566778899AABBCCDDEEFF1000112233445566778899AABBCCDDEEFF00"} {
				l.send(unhex(command))
			}
		}
	}
}

func TestFaultsOfContact(t *testing.T) {
	t.Parallel()
	nvm := &Memory{}
	c := newChip(t, nvm, Fault{Kind: FaultContact, Contact: 2}, Fault{Kind: FaultTearAfter, Contact: 4, APDU: 2, Dead: true})
	for contact, want := range []bool{true, false, true} {
		if got := len(c.PowerOn()) > 0; got != want {
			t.Errorf("contact %d: ATR %v", contact+1, got)
		}
		if contact == 0 { // the count survives the instrument's own restart
			c = reopen(t, nvm, c.p.Faults...)
		}
	}
	l := newLine(t, c)
	l.plain(apdu.SWOK, "00A4040000")
	if l.send(unhex("80CA9F7F00")) != nil {
		t.Error("the answer should be lost")
	}
	c = reopen(t, nvm, c.p.Faults...)
	c.OnTestReader()
	if c.PowerOn() != nil {
		t.Error("a dead chip answers")
	}
	if c := newChip(t, &Memory{}, Fault{Kind: FaultMute}); c.PowerOn() != nil || c.Powered() {
		t.Error("a mute chip answers")
	}
}

func TestFaultsOfAnswers(t *testing.T) {
	t.Parallel()
	nvm := &Memory{}
	l := newLine(t, newChip(t, nvm, Fault{Kind: FaultStatus, APDU: 2, SW: 0x6F00}, Fault{Kind: FaultFlip, APDU: 3, Bit: 9}))
	l.plain(apdu.SWOK, "00A4040000")
	written := nvm.Len()
	l.plain(0x6F00, "8050000008 0011223344556677 00")
	if nvm.Len() != written {
		t.Error("a command that was answered wrongly was executed")
	}
	flipped := l.send(unhex("80CA9F7F00"))
	right := l.send(unhex("80CA9F7F00"))
	if flipped[1]^right[1] != 0x40 || !bytes.Equal(flipped[2:], right[2:]) {
		t.Errorf("%X, expected %X with one bit wrong", flipped, right)
	}
	l.chip.OnTestReader()
	l = newLine(t, l.chip)
	l.plain(apdu.SWOK, "00A4040000")
	l.plain(apdu.SWOK, "8050000008 0011223344556677 00")
}

func TestFaultsAreChecked(t *testing.T) {
	t.Parallel()
	for _, f := range []Fault{
		{}, {Kind: "lazy"}, {Kind: FaultMute, APDU: 1}, {Kind: FaultTearAfter}, {Kind: FaultStatus, APDU: 1}, {Kind: FaultFlip},
	} {
		if f.Validate() == nil {
			t.Errorf("%+v is accepted", f)
		}
	}
	for _, f := range []Fault{{Kind: FaultMute}, {Kind: FaultContact, Contact: 2}, {Kind: FaultStatus, APDU: 1, SW: 0x6F00}, {Kind: FaultTearBefore, APDU: 9}} {
		if err := f.Validate(); err != nil {
			t.Errorf("%+v: %v", f, err)
		}
	}
}

func TestForeignChip(t *testing.T) {
	t.Parallel()
	p := testPersonality()
	p.Foreign = &Foreign{KVN: 0x31, Keys: testKeys(0x10), Seq: 5}
	c, err := New(p, &Memory{}, &counter{})
	if err != nil {
		t.Fatal(err)
	}
	l := newLine(t, c)
	l.plain(apdu.SWOK, "00A4040000")
	l.plain(apdu.SWRefDataNotFound, "8050FF0008 0011223344556677 00")
	if !l.open(testKeys(0x10), 0, scp.LevelAll) {
		t.Fatal("no channel")
	}
	l.secure(forPerso(aidECASD))
	_, sw, _ := l.secure(blocks(objects(tagEID, bytes.Repeat([]byte{1}, eidBytes)))[0])
	if sw != apdu.SWConditions {
		t.Errorf("its EID could be changed: %v", sw)
	}
}
