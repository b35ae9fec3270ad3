package cardsim

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"testing"
	"time"

	"github.com/persoline/persoline/perso/aka"
	"github.com/persoline/persoline/perso/apdu"
	"github.com/persoline/persoline/perso/scp"
	"github.com/persoline/persoline/perso/tlv"
)

// finished is a chip with everything on it, and its memory.
func finished(t testing.TB) (*Chip, *Memory) {
	t.Helper()
	nvm := &Memory{}
	c := newChip(t, nvm)
	l := newLine(t, c)
	if !l.open(testKeys(0x40), 0xFF, scp.LevelAll) || !l.personalize(testSubscriber()) {
		t.Fatal("lost power without a fault")
	}
	return c, nvm
}

func reopen(t testing.TB, nvm NVM, faults ...Fault) *Chip {
	t.Helper()
	return newChip(t, nvm, faults...)
}

func TestPersonalize(t *testing.T) {
	t.Parallel()
	_, nvm := finished(t)
	l := newLine(t, reopen(t, nvm)) // everything must have come through the journal
	checkFinished(t, l)
}

// checkFinished asks a chip, through all its doors, whether it holds what personalize writes.
func checkFinished(t *testing.T, l *line) {
	t.Helper()
	s := testSubscriber()
	id := bytes.Repeat([]byte{0x89}, 16)
	if !l.open(s.isd, 0x30, scp.LevelAll) {
		t.Fatal("lost power")
	}
	wantRequest(t, l, aidISD, "E0 DF20", "E0 12 C00401308810 C00402308810 C00403308810 DF20 20"+hex.EncodeToString(bytes.Repeat([]byte{0x5A}, 32)))
	wantRequest(t, l, aidISDR, "E0 42 45", "E0 12 C00401018810 C00402018810 C00403018810 42 04 89898989 45 10"+hex.EncodeToString(id))
	l.in(apdu.SWWrongData, "80E29100 04 5C02DF07 00") // the 300 bytes of addressing do not fit an answer
	wantRequest(t, l, aidECASD, "5A", "5A10"+hex.EncodeToString(id))
	point := l.in(apdu.SWOK, "80E29100 04 5C02DF30 00")[3:]
	cert := l.in(apdu.SWOK, "80E29100 04 5C027F21 00")
	if !bytes.Equal(cert, tlv.Encode(tagCertificate, certificate(point))) {
		t.Errorf("certificate %X", cert)
	}
	var files string
	for i, f := range profileFiles() {
		files += hex.EncodeToString(tlv.Encode(uint32(tagFirstEF+i), bytes.Repeat([]byte{byte(f.size)}, f.size)))
	}
	wantRequest(t, l, testISDP, "DF21 DF22 DF23 DF24 DF25", files)
	mac := scp.CMAC(s.ki, s.pins1, s.pins2, s.adm)
	wantRequest(t, l, testISDP, "DF26 DF27", "DF26 07 01"+hex.EncodeToString(slices.Concat(kcv(s.ki), kcv(s.opc)))+"DF27 08"+hex.EncodeToString(mac[:8]))
	status := l.in(apdu.SWOK, "80F24002 02 4F00 00")
	for _, want := range []string{aidECASD + "\x9F\x70\x01\x0F", aidISDR + "\x9F\x70\x01\x0F", testISDP + "\x9F\x70\x01\x07"} {
		if !bytes.Contains(status, []byte(want)) {
			t.Errorf("%X is not in %X", want, status)
		}
	}
	if isd := l.in(apdu.SWOK, "80F28002 02 4F00 00"); !bytes.Contains(isd, unhex("9F70010F")) {
		t.Errorf("ISD %X", isd)
	}
}

func wantRequest(t *testing.T, l *line, aid, tags, want string) {
	t.Helper()
	if _, sw, _ := l.secure(forPerso(aid)); !sw.OK() {
		t.Fatalf("%X: %v", aid, sw)
	}
	got, sw, _ := l.secure(command("80E29100", tlv.Encode(tagTagList, unhex(tags))))
	if !sw.OK() || !bytes.Equal(got, unhex(want)) {
		t.Errorf("%s of %X: %X %v, expected %s", tags, aid, got, sw, want)
	}
}

func TestIdentify(t *testing.T) {
	t.Parallel()
	c := newChip(t, &Memory{})
	l := newLine(t, c)
	l.plain(apdu.SWUnknownINS, "80CA9F7F00") // nothing is selected that knows it
	l.plain(apdu.SWOK, "00A4040000")         // the default application is the ISD
	cplc := l.plain(apdu.SWOK, "80CA9F7F00")
	id := c.p.ChipID()
	if len(cplc) != 3+CPLCBytes || !bytes.Equal(id[:], unhex("01020304 1112 0D0E0F10")) {
		t.Errorf("CPLC %X, id %X", cplc, id)
	}
	if iu := l.plain(apdu.SWOK, "8050000008 0011223344556677 00"); !bytes.Equal(iu[:13], append(id[:], 0xFF, 0x03, 0x70)) || !bytes.Equal(iu[29:], unhex("000001")) {
		t.Errorf("initialize update %X", iu)
	}
	l.plain(apdu.SWOK, "00A4040000")
	if info := l.plain(apdu.SWOK, "80CA00E000"); !bytes.Equal(info, unhex("E012 C00401FF8810 C00402FF8810 C00403FF8810")) {
		t.Errorf("key information %X", info)
	}
	if value, found, err := tlv.FindPath(l.plain(apdu.SWOK, "80CA006600"), 0x66, 0x73, 0x64); err != nil || !found || !bytes.HasSuffix(value, unhex("0370")) {
		t.Errorf("card data %X, %v", value, err)
	}
	l.plain(apdu.SWRefDataNotFound, "80CADF2000")
	l.plain(apdu.SWWrongLe|0x2D, "80CA9F7F10")
}

func TestPlainReadsOfAFinishedChip(t *testing.T) {
	t.Parallel()
	c, _ := finished(t)
	l := newLine(t, c)
	aid := func(s string) string { return "10" + hex.EncodeToString([]byte(s)) }
	l.plain(apdu.SWOK, "00A40400"+aid(aidECASD)+"00")
	if eid := l.plain(apdu.SWOK, "80CA005A00"); !bytes.Equal(eid, append(unhex("5A10"), bytes.Repeat([]byte{0x89}, 16)...)) {
		t.Errorf("EID %X", eid)
	}
	l.plain(apdu.SWOK, "80CA7F2100")
	l.plain(apdu.SWRefDataNotFound, "80CADF3000")
	l.plain(apdu.SWOK, "00A4000C023F00")
	l.plain(apdu.SWOK, "00A4000C022FE2")
	if iccid := l.plain(apdu.SWOK, "00B000000A"); !bytes.Equal(iccid, bytes.Repeat([]byte{10}, 10)) {
		t.Errorf("EF.ICCID %X", iccid)
	}
	l.plain(apdu.SWOutsideEF, "00B0000A00")
	l.plain(apdu.SWWrongLe|0x08, "00B000020A")
	if iccid := l.plain(apdu.SWOK, "00B0820002"); len(iccid) != 2 {
		t.Errorf("EF.ICCID by SFI %X", iccid)
	}
	l.plain(apdu.SWFileNotFound, "00A40000026F0700") // under the USIM, not under the MF
	if fcp := l.plain(apdu.SWOK, "00A40804047FFF6F0700"); !bytes.Equal(fcp, unhex("620F 82024121 83026F07 8A0105 80020009 ")) {
		t.Errorf("FCP %X", fcp)
	}
	if imsi := l.plain(apdu.SWOK, "00B0000000"); len(imsi) != 9 {
		t.Errorf("EF.IMSI %X", imsi)
	}
	l.plain(apdu.SWOK, "00A40404"+aid(aidUSIM)+"00")
	if ad := l.plain(apdu.SWOK, "00B0830000"); len(ad) != 4 {
		t.Errorf("EF.AD by SFI %X", ad)
	}
	l.plain(apdu.SWFileNotFound, "00A40404"+aid(aidISDR[:15]+"\x07")+"00")
}

func TestProofOfPossession(t *testing.T) {
	t.Parallel()
	l := newLine(t, newChip(t, &Memory{}))
	l.open(testKeys(0x40), 0, scp.LevelAll)
	challenge := bytes.Repeat([]byte{0xC4}, challengeBytes)
	generate := hex.EncodeToString(command("80460000", tlv.Encode(tagChallenge, challenge)))
	l.in(apdu.SWConditions, generate) // the ISD has no such key
	l.secure(forPerso(aidECASD))
	first, second := l.in(apdu.SWOK, generate), l.in(apdu.SWOK, generate)
	point, _, err := tlv.FindPath(second, tagPublicKey, tagPoint)
	if err != nil || bytes.Equal(first, second) {
		t.Fatalf("a second pair must replace the first: %X (%v)", second, err)
	}
	signature, _, _ := tlv.FindPath(second, tagSignature)
	der, err := tlv.RawToECDSASig(signature)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256(slices.Concat([]byte("PERSO-POP"), challenge, point))
	if !ecdsa.VerifyASN1(key, digest[:], der) {
		t.Error("the proof of possession does not verify")
	}
	if l.cost.ECC != 4 {
		t.Errorf("%d point multiplications", l.cost.ECC)
	}
}

// givenPair is the key pair of a small number, which is easily told apart.
func givenPair(t testing.TB, n byte) (scalar, point []byte) {
	t.Helper()
	scalar = append(make([]byte, scalarBytes-1), n)
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), scalar)
	if err != nil {
		t.Fatal(err)
	}
	if point, err = key.PublicKey.Bytes(); err != nil {
		t.Fatal(err)
	}
	return scalar, point
}

// store sends the last block of data groupings that fit one.
func (l *line) store(want apdu.SW, data []byte) {
	l.t.Helper()
	all := blocks(data)
	l.in(want, hex.EncodeToString(all[len(all)-1]))
}

func (l *line) givePair(want apdu.SW, n byte) {
	l.t.Helper()
	scalar, point := givenPair(l.t, n)
	l.store(want, dgi(dgiPair, []byte{curveP256}, l.dek(scalar), point))
}

// prove has the chip sign with the pair that it has, and checks that it is the pair of a number; 0 is none.
func (l *line) prove(n byte) {
	l.t.Helper()
	challenge := bytes.Repeat([]byte{0xC4}, challengeBytes)
	command := hex.EncodeToString(command("80468100", tlv.Encode(tagChallenge, challenge)))
	if n == 0 {
		l.in(apdu.SWConditions, command)
		return
	}
	_, point := givenPair(l.t, n)
	answer := l.in(apdu.SWOK, command)
	if l.cost.ECC == 0 {
		l.t.Error("it cost no point multiplication")
	}
	if again := l.in(apdu.SWOK, command); !bytes.Equal(again, answer) {
		l.t.Error("proving changed something")
	}
	shown, _, err := tlv.FindPath(answer, tagPublicKey, tagPoint)
	if err != nil || !bytes.Equal(shown, point) {
		l.t.Errorf("public key %X, %v", shown, err)
	}
	signature, _, _ := tlv.FindPath(answer, tagSignature)
	der, err := tlv.RawToECDSASig(signature)
	if err != nil {
		l.t.Fatal(err)
	}
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	if err != nil {
		l.t.Fatal(err)
	}
	digest := sha256.Sum256(slices.Concat([]byte("PERSO-POP"), challenge, point))
	if !ecdsa.VerifyASN1(key, digest[:], der) {
		l.t.Error("the proof of possession does not verify")
	}
}

// TestGivenKeyPairRefused: the chip takes no pair that does not belong together.
func TestGivenKeyPairRefused(t *testing.T) {
	t.Parallel()
	l := newLine(t, newChip(t, &Memory{}))
	l.open(testKeys(0x40), 0, scp.LevelAll)
	l.secure(forPerso(aidECASD))
	scalar, point := givenPair(t, 3)
	_, other := givenPair(t, 4)
	off := bytes.Clone(point)
	off[pointBytes-1] ^= 1
	for name, c := range map[string]struct {
		curve           byte
		private, public []byte
		want            apdu.SW
	}{
		"another curve":   {3, l.dek(scalar), point, apdu.SWWrongData},
		"off the curve":   {0, l.dek(scalar), off, apdu.SWWrongData},
		"compressed":      {0, l.dek(scalar), append([]byte{2}, point[1:]...), apdu.SWWrongData},
		"another's key":   {0, l.dek(scalar), other, apdu.SWSecurity},
		"zero":            {0, l.dek(make([]byte, scalarBytes)), point, apdu.SWSecurity},
		"order":           {0, l.dek(elliptic.P256().Params().N.Bytes()), point, apdu.SWSecurity},
		"in the clear":    {0, scalar, point, apdu.SWSecurity},
		"short":           {0, l.dek(scalar)[:16], point, apdu.SWWrongData},
		"no public key":   {0, l.dek(scalar), nil, apdu.SWWrongData},
		"one byte behind": {0, l.dek(scalar), append(bytes.Clone(point), 0), apdu.SWWrongData},
	} {
		t.Log(name)
		l.store(c.want, dgi(dgiPair, []byte{c.curve}, c.private, c.public))
		l.prove(0)
	}
}

// TestGivenKeyPair: the chip signs with the pair that it was given last, which alone can have a certificate, and keeps it
// once it is personalized.
func TestGivenKeyPair(t *testing.T) {
	t.Parallel()
	l := newLine(t, newChip(t, &Memory{}))
	l.open(testKeys(0x40), 0, scp.LevelAll)
	l.secure(forPerso(aidECASD))
	l.prove(0)
	l.givePair(apdu.SWOK, 3)
	l.prove(3)
	certificateFor := func(n byte) []byte { _, point := givenPair(t, n); return certificate(point) }
	read := hex.EncodeToString(command("80E29100", tlv.Encode(tagTagList, unhex("7F21"))))
	l.store(apdu.SWWrongData, objects(tagCertificate, certificateFor(4)))
	l.store(apdu.SWOK, objects(tagCertificate, certificateFor(3)))
	if len(l.in(apdu.SWOK, read)) == 0 {
		t.Error("the certificate is not there")
	}
	l.givePair(apdu.SWOK, 5)
	if left := l.in(apdu.SWOK, read); len(left) > 0 {
		t.Errorf("a new pair leaves the certificate of the old one: %X", left)
	}
	l.store(apdu.SWOK, objects(tagEID, bytes.Repeat([]byte{0x89}, eidBytes), tagCertificate, certificateFor(5)))
	l.in(apdu.SWOK, "80F0400F10"+hex.EncodeToString([]byte(aidECASD))+"00")
	l.givePair(apdu.SWConditions, 3)
	l.prove(5)
}

func TestAuthenticate(t *testing.T) {
	t.Parallel()
	c, nvm := finished(t)
	s := testSubscriber()
	network, err := aka.New(s.ki, s.opc)
	if err != nil {
		t.Fatal(err)
	}
	rand := aka.Rand{1, 2, 3}
	auth := func(autn aka.AUTN) string {
		return hex.EncodeToString(command("00880081", slices.Concat([]byte{16}, rand[:], []byte{16}, autn[:])))
	}
	l := newLine(t, c)
	l.plain(apdu.SWConditions, auth(aka.AUTN{})) // not in the USIM
	usim := "00A4040C10" + hex.EncodeToString([]byte(aidUSIM))
	l.plain(apdu.SWOK, usim)
	l.plain(apdu.SWAuthMAC, auth(aka.AUTN{}))
	answer := l.plain(apdu.SWOK, auth(network.BuildAUTN(rand, aka.SQN{}, aka.AMF{})))
	if len(answer) != 16 || answer[0] != 0xDC {
		t.Fatalf("SQN 0 was answered with %X", answer)
	}
	if sqn, err := network.VerifyAUTS(rand, aka.AUTS(answer[2:])); err != nil || sqn != (aka.SQN{}) {
		t.Errorf("AUTS says %X, %v", sqn, err)
	}
	v := network.BuildVector(rand, aka.SQNOf(0x20), aka.AMF{})
	answer = l.plain(apdu.SWOK, auth(v.AUTN))
	kc := v.Keys.Kc()
	want := slices.Concat(unhex("DB08"), v.Keys.RES[:], unhex("10"), v.Keys.CK[:], unhex("10"), v.Keys.IK[:], unhex("08"), kc[:])
	if !bytes.Equal(answer, want) {
		t.Errorf("answer %X, expected %X", answer, want)
	}
	l = newLine(t, reopen(t, nvm))
	l.plain(apdu.SWOK, usim)
	if again := l.plain(apdu.SWOK, auth(v.AUTN)); again[0] != 0xDC {
		t.Errorf("the same SQN after power off: %X", again)
	}
}

func TestPINs(t *testing.T) {
	t.Parallel()
	c, nvm := finished(t)
	l := newLine(t, c)
	pin, wrong, fresh := "31323334FFFFFFFF", "30303030FFFFFFFF", "39393939FFFFFFFF"
	verify := "0020000108"
	l.plain(0x63C3, "00200001")
	l.plain(apdu.SWReferenceUnusable, verify+pin) // disabled
	l.plain(0x63C2, "0028000108"+wrong)
	l.plain(apdu.SWOK, "0028000108"+pin)
	l = newLine(t, reopen(t, nvm))
	l.plain(apdu.SWOK, "00A4040C10"+hex.EncodeToString([]byte(aidUSIM)))
	l.plain(apdu.SWSecurity, "00B0870000")
	l.plain(0x63C2, verify+wrong)
	l.plain(0x63C1, verify+wrong)
	l.plain(0x63C0, verify+wrong)
	l.plain(apdu.SWBlocked, verify+pin)
	l.plain(apdu.SWWrongData, "002C000110 3132333435363738"+"31FFFFFFFFFFFFFF")
	l.plain(0x63C9, "002C000110 3132333435363700"+fresh)
	l.plain(apdu.SWOK, "002C000110 3132333435363738"+fresh)
	l.plain(apdu.SWOK, "00B0870000") // unblocked is verified
	l.plain(0x63C3, "00200001")
	l.plain(apdu.SWOK, "0024000110"+fresh+pin)
	l.plain(apdu.SWOK, "0026000108"+pin)
	l.plain(apdu.SWConditions, "0026000108"+pin)
	l.plain(0x63CA, "0020000A")
	l.plain(apdu.SWOK, "0020000A080102030405060708")
	l.plain(apdu.SWRefDataNotFound, "0020000B")
	l.plain(0x63C2, "00200081 08"+wrong)
	l.plain(apdu.SWOK, "00200081 08 35363738FFFFFFFF")
}

func TestTiming(t *testing.T) {
	t.Parallel()
	atr := testPersonality().ATR
	timing := Timing{ClockHz: 5_000_000}
	// TA1 96: F 512, D 32, so 1 etu is 3.2 µs and a character 38.4 µs.
	if got := timing.Exchange(atr, Cost{In: 5, Out: 258}); got != (5+1+258)*38400+2*16*3200 {
		t.Errorf("reading 256 bytes takes %v", got)
	}
	// T=1 at the same speed: information fields of 254 bytes, no guard time. 258 bytes back are two blocks and one R-block between.
	fast := unhex("3BD6 96 FF 81 31 FE 45 8031E073FE21 00")
	for _, b := range fast[1 : len(fast)-1] {
		fast[len(fast)-1] ^= b
	}
	if got := timing.Exchange(fast, Cost{In: 5, Out: 258}); got != ((5+4+258+2*4+4)*11+4*22)*3200 {
		t.Errorf("by T=1 reading 256 bytes takes %v", got)
	}
	slow := unhex("3B5096 05")
	if got := timing.Exchange(slow, Cost{In: 5, Out: 2}); got != (8*(12+5)+32)*3200 {
		t.Errorf("with five etu of guard time %v", got)
	}
	if got := timing.Exchange(nil, Cost{In: 4, Out: 2}); got != (7*12+32)*372*200 {
		t.Errorf("at the first speed %v", got)
	}
	if got := timing.Reset(atr); got < 30*time.Millisecond || got > 50*time.Millisecond {
		t.Errorf("reset takes %v", got)
	}
	full := DefaultTiming()
	if got := full.Exchange(atr, Cost{Pages: 3, ECC: 2}) - full.Exchange(atr, Cost{}); got != 126*time.Millisecond {
		t.Errorf("three pages and two multiplications take %v", got)
	}
}

// TestTimingFormula holds the model to the arithmetic for a script over T=0: (5 + 1 + Lc + Le + 2) characters of 12 etu and two turns of
// 16 for a command, and 8 characters for a GET RESPONSE; an etu is F / (D f).
func TestTimingFormula(t *testing.T) {
	t.Parallel()
	for ta1, speed := range map[byte][2]int{0x11: {372, 1}, 0x18: {372, 12}, 0x94: {512, 8}, 0x95: {512, 16}, 0x96: {512, 32}, 0x97: {512, 64}} {
		for _, hz := range []uint32{4_000_000, 5_000_000} {
			timing, reset := Timing{ClockHz: hz}, []byte{0x3B, 0x10, ta1}
			for _, c := range []struct{ lc, le int }{{0, 0}, {0, 16}, {0, 256}, {8, 0}, {255, 0}, {34, 53}, {239, 239}} {
				cost := Cost{In: 4, Out: 2 + c.le} // case 1 has no P3 here, but travels with one
				chars := 5 + 1 + c.lc + c.le + 2
				switch {
				case c.lc > 0 && c.le > 0:
					cost.In, chars = 5+c.lc+1, chars+8
				case c.lc > 0:
					cost.In = 5 + c.lc
				case c.le > 0:
					cost.In = 5
				default:
					chars--
				}
				want := float64(chars*12+2*16) * float64(speed[0]) / float64(speed[1]) / float64(hz)
				if got := timing.Exchange(reset, cost).Seconds(); got < want*0.999 || got > want*1.001 {
					t.Errorf("TA1 %02X at %d Hz, Lc %d, Le %d: %.6f s, by the formula %.6f s", ta1, hz, c.lc, c.le, got, want)
				}
			}
		}
	}
}

// BenchmarkScript is the chip's own share of one personalization: the host's commands were recorded before.
func BenchmarkScript(b *testing.B) {
	record := newLine(b, newChip(b, &Memory{}))
	record.keep = &[][]byte{}
	record.open(testKeys(0x40), 0xFF, scp.LevelAll)
	record.personalize(testSubscriber())
	b.ReportAllocs()
	for b.Loop() {
		c := newChip(b, &Memory{})
		c.PowerOn()
		for _, apdu := range *record.keep {
			if resp, _ := c.Process(apdu); !bytes.HasSuffix(resp, []byte{0x90, 0x00}) {
				b.Fatalf("%X: %X", apdu, resp)
			}
		}
	}
	b.ReportMetric(float64(len(*record.keep)), "APDUs/op")
}
