package cardsim

import (
	"bytes"
	"encoding/hex"
	"errors"
	"slices"
	"testing"

	"github.com/persoline/persoline/perso/apdu"
	"github.com/persoline/persoline/perso/scp"
	"github.com/persoline/persoline/perso/tlv"
)

// TestChannelEnds breaks the channel in each way there is, and finds it closed.
func TestChannelEnds(t *testing.T) {
	t.Parallel()
	read := command("80E29100", tlv.Encode(tagTagList, unhex("E0")))
	wrapped := func(l *line) []byte {
		cmd, err := apdu.Parse(read)
		if err != nil {
			t.Fatal(err)
		}
		b, _, err := l.host.Wrap(cmd)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for name, c := range map[string]struct {
		breakIt func(l *line) []byte
		want    apdu.SW
	}{
		"wrong MAC":          {func(l *line) []byte { b := wrapped(l); b[len(b)-2] ^= 1; return l.send(b) }, apdu.SWSecurity},
		"wrong data":         {func(l *line) []byte { b := wrapped(l); b[7] ^= 1; return l.send(b) }, apdu.SWSecurity},
		"command left out":   {func(l *line) []byte { wrapped(l); return l.send(wrapped(l)) }, apdu.SWSecurity},
		"command repeated":   {func(l *line) []byte { b := wrapped(l); l.send(b); return l.send(b) }, apdu.SWSecurity},
		"plain command":      {func(l *line) []byte { return l.send(unhex("80CA9F7F00")) }, apdu.SWSecurity},
		"not an APDU":        {func(l *line) []byte { return l.send(unhex("80CA9F")) }, apdu.SWWrongLength},
		"logical channel":    {func(l *line) []byte { return l.send(unhex("81CA9F7F00")) }, apdu.SWChannelUnsupported},
		"select":             {func(l *line) []byte { return l.send(unhex("00A4040000")) }, apdu.SWOK},
		"initialize update":  {func(l *line) []byte { return l.send(unhex("8050000008001122334455667700")) }, apdu.SWOK},
		"authenticate again": {func(l *line) []byte { return l.send(unhex("84823300100011223344556677001122334455667700")) }, apdu.SWConditions},
		"power":              {func(l *line) []byte { l.chip.PowerOn(); return []byte{0x90, 0x00} }, apdu.SWOK},
	} {
		l := newLine(t, newChip(t, &Memory{}))
		l.open(testKeys(0x40), 0xFF, scp.LevelAll)
		l.wants(c.want, c.breakIt(l), name)
		if _, sw, err := apdu.SWOf(l.send(wrapped(l))); err != nil || sw.OK() {
			t.Errorf("%s: the channel is still open: %v, %v", name, sw, err)
		}
	}
}

func TestOpeningRefused(t *testing.T) {
	t.Parallel()
	isd := func(l *line) { l.plain(apdu.SWOK, "00A4040000") }
	for name, c := range map[string]struct {
		before  func(l *line)
		command string
		want    apdu.SW
	}{
		"no such keys":    {isd, "8050300008 0011223344556677 00", apdu.SWRefDataNotFound},
		"P2":              {isd, "8050000108 0011223344556677 00", apdu.SWWrongP1P2},
		"short challenge": {isd, "8050000007 00112233445566 00", apdu.SWWrongLength},
		"S16 challenge":   {isd, "8050000010 00112233445566770011223344556677 00", apdu.SWWrongLength},
		"other domain":    {func(l *line) { l.send(unhex("00A4040010" + hex.EncodeToString([]byte(aidISDR)))) }, "8050000008 0011223344556677 00", apdu.SWRefDataNotFound},
		"nothing before":  {isd, "8482330010 0011223344556677 0011223344556677", apdu.SWConditions},
		"something between": {func(l *line) {
			isd(l)
			l.plain(apdu.SWOK, "8050000008 0011223344556677 00")
			l.plain(apdu.SWOK, "80CA9F7F00")
		}, "8482330010 0011223344556677 0011223344556677", apdu.SWConditions},
		"wrong MAC":     {func(l *line) { isd(l); l.plain(apdu.SWOK, "8050000008 0011223344556677 00") }, "8482330010 0011223344556677 0011223344556677", apdu.SWAuthFailed},
		"unknown level": {func(l *line) { isd(l); l.plain(apdu.SWOK, "8050000008 0011223344556677 00") }, "8482220010 0011223344556677 0011223344556677", apdu.SWWrongP1P2},
		"wrong length":  {func(l *line) { isd(l); l.plain(apdu.SWOK, "8050000008 0011223344556677 00") }, "8482330008 0011223344556677", apdu.SWWrongData},
		"no channel":    {isd, "84E2910010 00112233445566770011223344556677 00", apdu.SWSMUnsupported},
		"store plain":   {isd, "80E2910003 5C01E0 00", apdu.SWSecurity},
		"status plain":  {isd, "80F2800202 4F00 00", apdu.SWSecurity},
		"unknown INS":   {isd, "80FE000000", apdu.SWUnknownINS},
		"unknown CLA":   {isd, "A0CA9F7F00", apdu.SWUnknownCLA},
		"file in a SD":  {isd, "00B0000000", apdu.SWUnknownINS},
		"select P1":     {isd, "00A40200023F0000", apdu.SWWrongP1P2},
		"select P2":     {isd, "00A40402023F0000", apdu.SWWrongP1P2},
	} {
		l := newLine(t, newChip(t, &Memory{}))
		c.before(l)
		data, sw, err := apdu.SWOf(l.send(unhex(c.command)))
		if err != nil || sw != c.want || len(data) != 0 {
			t.Errorf("%s: %X %v, expected %v (%v)", name, data, sw, c.want, err)
		}
	}
}

func TestWrongKeysAndCounter(t *testing.T) {
	t.Parallel()
	nvm := &Memory{}
	p := testPersonality()
	p.Seq = maxSeq - 2
	c, err := New(p, nvm, &counter{})
	if err != nil {
		t.Fatal(err)
	}
	l := newLine(t, c)
	l.plain(apdu.SWOK, "00A4040000")
	iu, err := scp.ParseInitUpdate(l.plain(apdu.SWOK, "8050000008 0011223344556677 00"))
	if err != nil || iu.Seq != maxSeq-1 {
		t.Fatalf("counter %X, %v", iu.Seq, err)
	}
	if _, err := scp.OpenHost(testKeys(0x41), unhex("0011223344556677"), iu); !errors.Is(err, scp.ErrCryptogram) {
		t.Errorf("the card cryptogram fits other keys: %v", err)
	}
	l.plain(apdu.SWOK, "8050000008 0011223344556677 00")
	l.plain(apdu.SWConditions, "8050000008 0011223344556677 00")
}

// TestRefusedInsideChannel sends what a strict chip refuses. Nothing may be written, and the channel goes on.
func TestRefusedInsideChannel(t *testing.T) {
	t.Parallel()
	s := testSubscriber()
	long := bytes.Repeat([]byte{0x55}, 200)
	for name, c := range map[string]struct {
		aid  string
		make func(l *line) []byte
		want apdu.SW
	}{
		"perso of unknown": {aidISD, func(*line) []byte { return forPerso(testISDP) }, apdu.SWRefDataNotFound},
		"perso form":       {aidISD, func(*line) []byte { return command("80E62000", unhex("0000")) }, apdu.SWWrongData},
		"install P1":       {aidISD, func(*line) []byte { return command("80E64000", unhex("0000")) }, apdu.SWWrongP1P2},
		"store P1":         {aidISD, func(*line) []byte { return command("80E28000", unhex("0000")) }, apdu.SWWrongP1P2},
		"first block 01":   {aidISD, func(*line) []byte { return command("80E20801", long) }, apdu.SWWrongP1P2},
		"not a DGI":        {aidISD, func(*line) []byte { return command("80E28800", unhex("0070FF")) }, apdu.SWWrongData},
		"unknown DGI":      {aidISD, func(*line) []byte { return blocks(dgi(0x0071, nil))[0] }, apdu.SWWrongData},
		"unknown object":   {aidISD, func(*line) []byte { return blocks(objects(tagEID, make([]byte, eidBytes)))[0] }, apdu.SWWrongData},
		"short stamp":      {aidISD, func(*line) []byte { return blocks(objects(tagStamp, make([]byte, 31)))[0] }, apdu.SWWrongData},
		"short EID":        {aidECASD, func(*line) []byte { return blocks(objects(tagEID, make([]byte, 15)))[0] }, apdu.SWWrongData},
		"early certificate": {aidECASD, func(*line) []byte { return blocks(objects(tagCertificate, certificate(make([]byte, 65))))[0] },
			apdu.SWConditions},
		"request form":     {aidISD, func(*line) []byte { return command("80E29100", unhex("5D01E0")) }, apdu.SWWrongData},
		"request tag":      {aidISD, func(*line) []byte { return command("80E29100", unhex("5C01DF")) }, apdu.SWWrongData},
		"request P2":       {aidISD, func(*line) []byte { return command("80E29101", unhex("5C01E0")) }, apdu.SWWrongP1P2},
		"generate form":    {aidECASD, func(*line) []byte { return command("80460000", unhex("9C0100")) }, apdu.SWWrongData},
		"early end":        {aidECASD, func(*line) []byte { return command("80F0400F", []byte(aidECASD)) }, apdu.SWConditions},
		"state of nobody":  {aidISD, func(*line) []byte { return command("80F0400F", []byte(testISDP)) }, apdu.SWRefDataNotFound},
		"skipped state":    {aidISD, func(*line) []byte { return command("80F0800F", nil) }, apdu.SWConditions},
		"status scope":     {aidISD, func(*line) []byte { return command("80F20102", unhex("4F00")) }, apdu.SWWrongP1P2},
		"status of nobody": {aidISD, func(*line) []byte { return command("80F24002", unhex("4F02A001")) }, apdu.SWRefDataNotFound},
		"delete unknown":   {aidISD, func(*line) []byte { return command("80E40000", tlv.Encode(tagAID, []byte(testISDP))) }, apdu.SWRefDataNotFound},
		"delete ISD-R":     {aidISD, func(*line) []byte { return command("80E40080", tlv.Encode(tagAID, []byte(aidISDR))) }, apdu.SWConditions},
		"key without template": {aidISDR, func(l *line) []byte { return blocks(dgi(dgiKeyValue, l.dek(s.ota.ENC)))[0] },
			apdu.SWWrongData},
		"template alone": {aidISDR, func(l *line) []byte { return blocks(dgi(dgiKeyTemplate, keyTemplate("18", s.ota.ENC)))[0] }, apdu.SWWrongData},
		"wrong usage": {aidISDR, func(l *line) []byte {
			return blocks(slices.Concat(dgi(dgiKeyTemplate, keyTemplate("14", s.ota.ENC)), dgi(dgiKeyValue, l.dek(s.ota.ENC))))[0]
		}, apdu.SWWrongData},
		"wrong check value": {aidISDR, func(l *line) []byte {
			return blocks(slices.Concat(dgi(dgiKeyTemplate, keyTemplate("18", s.ota.ENC)), dgi(dgiKeyValue, l.dek(s.ota.MAC))))[0]
		}, apdu.SWSecurity},
		"put key into gap":   {aidISD, func(l *line) []byte { return l.putKeyCommand(0x31, 0x30, s.isd) }, apdu.SWRefDataNotFound},
		"put key version":    {aidISD, func(l *line) []byte { return l.putKeyCommand(0, 0x20, s.isd) }, apdu.SWWrongData},
		"put key P2":         {aidISD, func(l *line) []byte { b := l.putKeyCommand(0, 0x30, s.isd); b[3] = 0x01; return b }, apdu.SWWrongP1P2},
		"put key check":      {aidISD, func(l *line) []byte { b := l.putKeyCommand(0, 0x30, s.isd); b[len(b)-2] ^= 1; return b }, apdu.SWSecurity},
		"put key in pieces":  {aidISD, func(l *line) []byte { b := l.putKeyCommand(0, 0x30, s.isd); return command("80D80081", b[5:29]) }, apdu.SWWrongData},
		"select inside":      {aidISD, func(*line) []byte { return unhex("00A4040000") }, apdu.SWUnknownCLA},
		"update inside":      {aidISD, func(*line) []byte { return scp.InitUpdateCommand(0, make([]byte, 8)).Bytes() }, apdu.SWConditions},
		"profile elsewhere":  {aidISD, func(*line) []byte { return createProfile(aidSGP02 + "\x00\x00\x0F\x00") }, apdu.SWWrongData},
		"profile from where": {aidISD, func(*line) []byte { b := createProfile(testISDP); b[20] ^= 1; return b }, apdu.SWRefDataNotFound},
	} {
		nvm := &Memory{}
		l := newLine(t, newChip(t, nvm))
		l.open(testKeys(0x40), 0xFF, scp.LevelAll)
		if _, sw, _ := l.secure(forPerso(c.aid)); !sw.OK() {
			t.Fatal(sw)
		}
		written := nvm.Len()
		if _, sw, _ := l.secure(c.make(l)); sw != c.want {
			t.Errorf("%s: %v, expected %v", name, sw, c.want)
		}
		if nvm.Len() != written {
			t.Errorf("%s: something was written", name)
		}
		if _, sw, _ := l.secure(forPerso(aidISD)); !sw.OK() {
			t.Errorf("%s: the channel is over: %v", name, sw)
		}
	}
}

func keyTemplate(usage string, key []byte) []byte {
	return slices.Concat(unhex("9501"+usage+"800188 810110 820101 830101 8403"), kcv(key))
}

func createProfile(aid string) []byte {
	return command("80E60C00", []byte("\x10"+aidLoadFile+"\x10"+aidModule+"\x10"+aid+"\x03"+privilegesISDP+"\x06"+profileParams+"\x00"))
}

func TestProfileRefusals(t *testing.T) {
	t.Parallel()
	s := testSubscriber()
	nvm := &Memory{}
	l := newLine(t, newChip(t, nvm))
	l.open(testKeys(0x40), 0xFF, scp.LevelAll)
	for i := range maxProfiles {
		l.in(apdu.SWOK, hex.EncodeToString(createProfile(aidSGP02+"\x00\x00"+string([]byte{byte(0x10 + i)})+"\x00")))
	}
	l.in(apdu.SWNoSpace, hex.EncodeToString(createProfile(aidSGP02+"\x00\x00\x20\x00")))
	l.in(apdu.SWConditions, hex.EncodeToString(createProfile(testISDP)))
	l.secure(forPerso(testISDP))
	written := nvm.Len()
	swapped := slices.Clone(s.pins1)
	swapped[0] = 'A'
	for name, c := range map[string]struct {
		value []byte
		want  apdu.SW
	}{
		"short file":      {dgi(uint16(fileIMSI), make([]byte, 8)), apdu.SWWrongData},
		"unknown file":    {dgi(0x6F38, make([]byte, 8)), apdu.SWWrongData},
		"algorithm":       {dgi(dgiAKA, []byte{2}, l.dek(s.ki), kcv(s.ki), l.dek(s.opc), kcv(s.opc)), apdu.SWWrongData},
		"TUAK lengths":    {dgi(dgiAKA, unhex("02 20 08 10 10 01"), l.dek(s.ki), kcv(s.ki), l.dek(s.opc), kcv(s.opc)), apdu.SWWrongData},
		"TUAK sizes":      {dgi(dgiAKA, unhex("02 10 09 10 10 01"), l.dek(s.ki), kcv(s.ki), l.dek(slices.Concat(s.opc, s.ki)), kcv(slices.Concat(s.opc, s.ki))), apdu.SWWrongData},
		"Ki check":        {dgi(dgiAKA, []byte{1}, l.dek(s.ki), kcv(s.opc), l.dek(s.opc), kcv(s.opc)), apdu.SWSecurity},
		"OPc check":       {dgi(dgiAKA, []byte{1}, l.dek(s.ki), kcv(s.ki), l.dek(s.opc), kcv(s.ki)), apdu.SWSecurity},
		"PIN is no PIN":   {dgi(dgiPIN, []byte{refPIN1}, l.dek(swapped), unhex("33AA")), apdu.SWWrongData},
		"PIN in clear":    {dgi(dgiPIN, []byte{refPIN1}, s.pins1, unhex("33AA")), apdu.SWWrongData},
		"PIN reference":   {dgi(dgiPIN, []byte{2}, l.dek(s.pins1), unhex("33AA")), apdu.SWWrongData},
		"tries above all": {dgi(dgiPIN, []byte{refPIN1}, l.dek(s.pins1), unhex("34AA")), apdu.SWWrongData},
		"no tries":        {dgi(dgiPIN, []byte{refPIN1}, l.dek(s.pins1), unhex("33A0")), apdu.SWWrongData},
		"ADM in clear":    {dgi(dgiADM, s.adm), apdu.SWWrongData},
	} {
		if _, sw, _ := l.secure(blocks(c.value)[0]); sw != c.want {
			t.Errorf("%s: %v, expected %v", name, sw, c.want)
		}
	}
	if nvm.Len() != written {
		t.Error("something was written")
	}
	l.in(apdu.SWOK, hex.EncodeToString(command("80E40000", tlv.Encode(tagAID, []byte(testISDP)))))
	l.in(apdu.SWConditions, "80E29100 04 5C02DF21 00") // its domain is gone
}

func TestBlocks(t *testing.T) {
	t.Parallel()
	nvm := &Memory{}
	l := newLine(t, newChip(t, nvm))
	l.open(testKeys(0x40), 0xFF, scp.LevelAll)
	l.secure(forPerso(aidISDR))
	parts := blocks(dgi(dgiAddressing, bytes.Repeat([]byte{7}, 600)))
	send := func(want apdu.SW, part []byte) { t.Helper(); l.in(want, hex.EncodeToString(part)) }
	written := nvm.Len()
	send(apdu.SWOK, parts[0])
	send(apdu.SWWrongP1P2, parts[2]) // one left out: the sequence is dropped
	send(apdu.SWWrongP1P2, parts[1])
	send(apdu.SWOK, parts[0])
	send(apdu.SWOK, command("80F28002", unhex("4F00"))) // something else in between
	send(apdu.SWWrongP1P2, parts[1])
	for n := byte(0); n < 17; n++ {
		send(apdu.SWOK, command("80E208"+hex.EncodeToString([]byte{n}), make([]byte, 239)))
	}
	send(apdu.SWNoSpace, command("80E20811", make([]byte, 239)))
	if nvm.Len() != written {
		t.Error("an unfinished sequence was written")
	}
	for _, part := range parts {
		send(apdu.SWOK, part)
	}
	if nvm.Len() != written+1 {
		t.Errorf("a sequence was written in %d records", nvm.Len()-written)
	}
}

func TestLevelsAndKeySets(t *testing.T) {
	t.Parallel()
	c := newChip(t, &Memory{})
	l := newLine(t, c)
	l.open(testKeys(0x40), 0xFF, scp.LevelCMACRMAC)
	l.in(apdu.SWOK, "80F28002 02 4F00 00")
	l.in(apdu.SWSecurity, "80E29100 03 5C01E0 00") // personalization wants everything encrypted
	l.open(testKeys(0x40), 0xFF, scp.LevelAll)
	next := byte(0x70)
	for kvn := byte(0x30); kvn < 0x30+maxKeySets; kvn++ {
		l.in(apdu.SWOK, hex.EncodeToString(l.putKeyCommand(0, kvn, testKeys(next))))
	}
	l.in(apdu.SWConditions, hex.EncodeToString(l.putKeyCommand(0, 0x31, testKeys(next))))
	l.in(apdu.SWNoSpace, hex.EncodeToString(l.putKeyCommand(0, 0x3F, testKeys(next))))
	l.plain(apdu.SWOK, "00A4040000")
	l.plain(apdu.SWRefDataNotFound, "8050FF0008 0011223344556677 00") // the maker's keys are gone
	l.open(testKeys(next), 0x31, scp.LevelAll)
	l.open(testKeys(next), 0x31, scp.LevelAll)
	if c.seq(domISD, 0x31) != 2 || c.seq(domISD, 0x30) != 0 {
		t.Errorf("counters %d and %d", c.seq(domISD, 0x31), c.seq(domISD, 0x30))
	}
	l.in(apdu.SWOK, hex.EncodeToString(l.putKeyCommand(0x31, 0x31, testKeys(0x20)))) // replaced: counts from zero
	if c.seq(domISD, 0x31) != 0 || !l.open(testKeys(0x20), 0x31, scp.LevelAll) || c.seq(domISD, 0x31) != 1 {
		t.Errorf("counter %d after replacement", c.seq(domISD, 0x31))
	}
}

func TestLifeCycle(t *testing.T) {
	t.Parallel()
	c, _ := finished(t)
	s := testSubscriber()
	l := newLine(t, c)
	l.open(s.isd, 0x30, scp.LevelAll)
	l.in(apdu.SWConditions, "80F0800700") // no way back
	l.in(apdu.SWOK, "80F0800F00")         // already there
	l.secure(forPerso(aidECASD))
	l.in(apdu.SWConditions, hex.EncodeToString(command("80460000", tlv.Encode(tagChallenge, make([]byte, challengeBytes)))))
	l.in(apdu.SWConditions, hex.EncodeToString(blocks(objects(tagEID, make([]byte, eidBytes)))[0]))
	l.in(apdu.SWOK, hex.EncodeToString(blocks(objects(tagEID, bytes.Repeat([]byte{0x89}, eidBytes)))[0])) // the same is no change
	l.in(apdu.SWWrongData, hex.EncodeToString(blocks(objects(tagCertificate, certificate(make([]byte, 65))))[0]))
	for _, state := range []string{"0F", "3F", "1F"} { // personalized, enabled, disabled
		l.in(apdu.SWOK, "80F040"+state+"10"+hex.EncodeToString([]byte(testISDP))+"00")
	}
	l.in(apdu.SWConditions, "80F0400F10"+hex.EncodeToString([]byte(testISDP))+"00")
	l.plain(apdu.SWFileNotFound, "00A4040410"+hex.EncodeToString([]byte(aidUSIM))+"00") // the only profile is disabled
	l.open(s.isd, 0x30, scp.LevelAll)
	l.in(apdu.SWOK, "80F0807F00")
	l.in(apdu.SWConditions, "80E29100 03 5C01E0 00")
	l.in(apdu.SWOK, "80F0800F00")
	l.in(apdu.SWOK, "80F080FF00")
	l.in(apdu.SWConditions, "80F0800F00")
	l.plain(apdu.SWOK, "00A4040000")
	l.plain(apdu.SWConditions, "8050000008 0011223344556677 00")
	l.plain(apdu.SWOK, "80CA9F7F00")
}

// failing is a memory that stops taking records.
type failing struct {
	Memory
	room int
}

func (f *failing) Append(record []byte) error {
	if f.room == 0 {
		return errors.New("worn out")
	}
	f.room--
	return f.Memory.Append(record)
}

func TestMemoryFailure(t *testing.T) {
	t.Parallel()
	s := testSubscriber()
	for room := range 10 {
		nvm := &failing{room: room}
		l := newLine(t, newChip(t, nvm))
		l.plain(apdu.SWOK, "00A4040000")
		if room == 0 {
			l.plain(apdu.SWMemoryProblem, "8050000008 0011223344556677 00")
			continue
		}
		l.open(testKeys(0x40), 0xFF, scp.LevelAll)
		for _, step := range l.writeSteps(s) {
			before := snapshot(l.chip)
			_, sw, _ := l.secure(step)
			if sw == apdu.SWMemoryProblem && !bytes.Equal(before, snapshot(l.chip)) {
				t.Fatalf("%X changed the chip without a record", step)
			}
		}
		if nvm.Len() != room || nvm.room != 0 {
			t.Fatalf("%d records of %d", nvm.Len(), room)
		}
		if again := newChip(t, &nvm.Memory); !bytes.Equal(snapshot(again), snapshot(l.chip)) {
			t.Error("the journal says something else than the chip")
		}
	}
}
