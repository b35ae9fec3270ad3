package cardsim

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/persoline/persoline/perso/aka"
	"github.com/persoline/persoline/perso/apdu"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/saip"
	"github.com/persoline/persoline/perso/scp"
	"github.com/persoline/persoline/perso/tlv"
)

// profileKeys are the key set under which a package comes.
func profileKeys() scp.StaticKeys { return testKeys(0x20) }

const profileKVN = 0x30

// profilePackage is the shipped bootstrap profile with a card's values.
func profilePackage(t testing.TB) []byte {
	t.Helper()
	b, err := os.ReadFile("../../deploy/profiles/bootstrap.der")
	if err != nil {
		t.Fatal(err)
	}
	return withValues(t, b)
}

func withValues(t testing.TB, b []byte) []byte {
	t.Helper()
	p, err := saip.Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	tpl, err := saip.Compile(p)
	if err != nil {
		t.Fatal(err)
	}
	v := make(saip.Values, len(tpl.Slots()))
	for i, s := range tpl.Slots() {
		switch {
		case strings.Contains(s.Name, "puk"):
			v[i] = []byte("12345678")
		case strings.HasSuffix(s.Name, "pin.0A"):
			v[i] = []byte("\x01\x02\x03\x04\x05\x06\x07\x08")
		case strings.Contains(s.Name, "pin"):
			v[i] = []byte("1234\xFF\xFF\xFF\xFF")
		default:
			v[i] = bytes.Repeat([]byte{0x11 + byte(i)}, s.Length)
		}
	}
	iccid, err1 := id.ParseICCID("8988211000000430010")
	imsi, err2 := id.ParseIMSI("001010800000208", 2)
	if err := errors.Join(err1, err2, tpl.Identify(v, iccid, imsi)); err != nil {
		t.Fatal(err)
	}
	out, err := tpl.Render(nil, v)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// empty is a chip with an ISD-P that has a key set of its own, and the channel of its ISD.
func empty(t testing.TB, nvm NVM, faults ...Fault) *line {
	t.Helper()
	return emptied(t, newChip(t, nvm, faults...))
}

func emptied(t testing.TB, c *Chip) *line {
	t.Helper()
	l := newLine(t, c)
	if !l.open(testKeys(0x40), 0xFF, scp.LevelAll) {
		t.Fatal("lost power")
	}
	create := command("80E60C00", slices.Concat([]byte{16}, []byte(aidLoadFile), []byte{16}, []byte(aidModule), []byte{16}, []byte(testISDP),
		[]byte("\x03"+privilegesISDP+"\x06"+profileParams+"\x00")))
	keys := profileKeys()
	var groups []byte
	for i, key := range [][]byte{keys.ENC, keys.MAC, keys.DEK} {
		template := slices.Concat([]byte{0x95, 1, []byte{0x38, 0x34, 0xC8}[i]}, unhex("800188 810110 8201"), []byte{byte(i + 1)}, []byte{0x83, 1, profileKVN, 0x84, 3}, kcv(key))
		groups = slices.Concat(groups, dgi(dgiKeyTemplate, template), dgi(dgiKeyValue, l.dek(key)))
	}
	for _, step := range slices.Concat([][]byte{create, forPerso(testISDP)}, blocks(groups)) {
		if _, sw, _ := l.secure(step); !sw.OK() {
			t.Fatalf("%X: %v", step, sw)
		}
	}
	return l
}

// tlvBlocks cuts one object into STORE DATA commands.
func tlvBlocks(one []byte) (all [][]byte) {
	const most = scp.MaxDataS16Level33 // fits with either MAC
	for n := byte(0); ; n++ {
		if len(one) <= most {
			return append(all, command("80E291"+hex.EncodeToString([]byte{n}), one))
		}
		all, one = append(all, command("80E211"+hex.EncodeToString([]byte{n}), one[:most])), one[most:]
	}
}

// put sends one object of SCP03t; ok is false when the chip lost power.
func (l *line) put(one []byte) (answer []byte, sw apdu.SW, ok bool) {
	l.t.Helper()
	for _, block := range tlvBlocks(one) {
		if answer, sw, ok = l.secure(block); !ok || !sw.OK() {
			return nil, sw, ok
		}
	}
	return answer, sw, true
}

// openTLV opens SCP03t to the ISD-P that was chosen.
func (l *line) openTLV() (*scp.Host, bool) {
	l.t.Helper()
	challenge := unhex("8899AABBCCDDEEFF0011223344556677")[:l.chip.p.Options.macBytes()]
	answer, sw, ok := l.put(scp.InitUpdateTLV(profileKVN, 1, challenge))
	if !ok {
		return nil, false
	}
	iu, err := scp.ParseInitUpdateTLV(answer)
	if err != nil {
		l.t.Fatalf("%X %v: %v", answer, sw, err)
	}
	host, err := scp.OpenHost(profileKeys(), challenge, iu)
	if err != nil {
		l.t.Fatal(err)
	}
	auth, err := host.ExternalAuthenticateTLV()
	if err != nil {
		l.t.Fatal(err)
	}
	if answer, sw, ok = l.put(auth); !ok {
		return nil, false
	}
	if err := scp.AuthenticatedTLV(answer); err != nil {
		l.t.Fatalf("%X %v: %v", answer, sw, err)
	}
	return host, true
}

// load sends a whole package in segments and gives the chip's report; ok is false when the chip lost power.
func (l *line) load(pkg []byte, segment int) (report []byte, ok bool) {
	l.t.Helper()
	host, ok := l.openTLV()
	if !ok {
		return nil, false
	}
	for len(pkg) > 0 && len(report) == 0 {
		n := min(segment, len(pkg))
		sent, mark, err := host.WrapTLV(pkg[:n])
		if err != nil {
			l.t.Fatal(err)
		}
		answer, sw, ok := l.put(sent)
		if !ok {
			return nil, false
		}
		if report, err = host.UnwrapTLV(mark, answer); err != nil {
			l.t.Fatalf("%X %v: %v", answer, sw, err)
		}
		pkg = pkg[n:]
	}
	return report, true
}

const reportOK = "30 07 A0 05 30 03 80 01 00"

func TestLoadProfile(t *testing.T) {
	t.Parallel()
	pkg := profilePackage(t)
	for _, segment := range []int{scp.MaxTLVData, 1, 16, 700} {
		if segment == 1 && testing.Short() {
			continue
		}
		nvm := &Memory{}
		l := empty(t, nvm)
		records := nvm.Len()
		report, _ := l.load(pkg, segment)
		if !bytes.Equal(report, unhex(reportOK)) {
			t.Fatalf("segments of %d: report %X", segment, report)
		}
		if nvm.Len() != records+2 { // the counter, and the profile
			t.Errorf("segments of %d: %d records", segment, nvm.Len()-records)
		}
		digest := sha256.Sum256(pkg)
		wantRequest(t, l, testISDP, "DF28", "DF2820"+hex.EncodeToString(digest[:]))
		checkLoaded(t, newLine(t, reopen(t, nvm)), pkg)
		if segment == scp.MaxTLVData {
			t.Logf("%d bytes of package are one record of %d bytes and %d pages", len(pkg), len(nvm.records[len(nvm.records)-1]), l.cost.Pages)
		}
	}
}

// checkLoaded asks the chip for each file that the package says, under the codes of the package.
func checkLoaded(t *testing.T, l *line, pkg []byte) {
	t.Helper()
	p, err := saip.Decode(bytes.Clone(pkg))
	if err != nil {
		t.Fatal(err)
	}
	want, _ := p.Expand()
	l.plain(apdu.SWOK, "0020000A080102030405060708")
	read := 0
	for _, f := range want.Files {
		if f.Kind.Directory() || f.Kind == saip.BERTLV || f.Access == nil {
			continue
		}
		selectFile(t, l, want, f)
		read++
		if f.RecordSize == 0 {
			for at := 0; at < len(f.Content); at += 256 {
				part := f.Content[at:min(at+256, len(f.Content))]
				if got := l.plain(apdu.SWOK, hex.EncodeToString([]byte{0x00, 0xB0, byte(at >> 8), byte(at), byte(len(part))})); !bytes.Equal(got, part) {
					t.Errorf("%s at %d: %X, expected %X", f.Path, at, got, part)
				}
			}
			continue
		}
		for n := 1; n*f.RecordSize <= len(f.Content); n++ {
			if got := l.plain(apdu.SWOK, hex.EncodeToString([]byte{0x00, 0xB2, byte(n), 0x04, byte(f.RecordSize)})); !bytes.Equal(got, f.Record(n)) {
				t.Errorf("%s record %d: %X, expected %X", f.Path, n, got, f.Record(n))
			}
		}
	}
	if read < 40 {
		t.Errorf("only %d files were read", read)
	}
}

// selectFile goes to a file as a terminal does: by AID into the application, then by path.
func selectFile(t *testing.T, l *line, chip *saip.Chip, f *saip.File) {
	t.Helper()
	l.plain(apdu.SWOK, "00A4000C023F00")
	path := f.Path
	var below []string
	for d := chip.File(path.Parent()); d != nil && d.Kind != saip.MF; d = chip.File(d.Path.Parent()) {
		if d.Kind == saip.ADF {
			l.plain(apdu.SWOK, "00A4040C"+hex.EncodeToString([]byte{byte(len(d.AID))})+hex.EncodeToString(d.AID))
			break
		}
		below = append([]string{hex.EncodeToString([]byte{byte(d.FID >> 8), byte(d.FID)})}, below...)
	}
	for _, id := range append(below, hex.EncodeToString([]byte{byte(f.FID >> 8), byte(f.FID)})) {
		l.plain(apdu.SWOK, "00A4000C02"+id)
	}
}

func TestLoadedProfileWorks(t *testing.T) {
	t.Parallel()
	nvm := &Memory{}
	pkg := profilePackage(t)
	l := empty(t, nvm)
	if report, _ := l.load(pkg, 500); !bytes.Equal(report, unhex(reportOK)) {
		t.Fatalf("report %X", report)
	}
	p, err := saip.Decode(bytes.Clone(pkg))
	if err != nil {
		t.Fatal(err)
	}
	want, _ := p.Expand()
	l = newLine(t, l.chip)
	usim := want.Applications()[0]
	l.plain(apdu.SWOK, "00A40404"+hex.EncodeToString([]byte{byte(len(usim.AID))})+hex.EncodeToString(usim.AID)+"00")
	l.plain(apdu.SWReferenceUnusable, "002000010831323334FFFFFFFF") // PIN1 is disabled
	l.plain(apdu.SWTriesLeft|3, "00200081")
	l.plain(apdu.SWTriesLeft|2, "002000810830303030FFFFFFFF")
	l.plain(apdu.SWOK, "002000810831323334FFFFFFFF")
	isim := want.Applications()[1]
	l.plain(apdu.SWOK, "00A4040C"+hex.EncodeToString([]byte{byte(len(isim.AID))})+hex.EncodeToString(isim.AID))
	l.plain(apdu.SWTriesLeft|3, "00200081") // PIN2 of another application
	l.plain(apdu.SWTriesLeft|9, "002C00811030303030303030303434343434FFFFFF"[:10]+"3030303030303030"+"34343434FFFFFFFF")
	l.plain(apdu.SWTriesLeft|9, "002C0081") // the PUK's tries are one count for all that it unblocks
	l.plain(apdu.SWOK, "00A4040C"+hex.EncodeToString([]byte{byte(len(usim.AID))})+hex.EncodeToString(usim.AID))
	l.plain(apdu.SWTriesLeft|9, "002C0081")
	l.plain(apdu.SWOK, "002C0081103132333435363738"+"34343434FFFFFFFF")
	l.plain(apdu.SWOK, "002000810834343434FFFFFFFF")

	for _, a := range want.AKAs {
		app := want.File(a.Context)
		l.plain(apdu.SWOK, "00A4040C"+hex.EncodeToString([]byte{byte(len(app.AID))})+hex.EncodeToString(app.AID))
		k, opc := revealed(a.K), revealed(a.OPc)
		m, err := aka.New(k, opc)
		if err != nil {
			t.Fatal(err)
		}
		rand := aka.Rand{1, 2, 3}
		autn := m.BuildAUTN(rand, aka.SQNOf(0x20), aka.AMF{0x80})
		challenge := hex.EncodeToString(command("00880081", append(append(append([]byte{16}, rand[:]...), 16), autn[:]...)))
		keys := m.F2345(rand)
		if got := l.plain(apdu.SWOK, challenge); got[0] != 0xDB || !bytes.Equal(got[2:10], keys.RES[:]) {
			t.Errorf("%s: answer %X", a.Context, got)
		}
		if got := l.plain(apdu.SWOK, challenge); got[0] != 0xDC {
			t.Errorf("%s: the same again is answered %X", a.Context, got)
		}
	}
}

// Whatever is wrong with a package, the chip says where, and has nothing of it; the same package made right loads then.
func TestLoadRefuses(t *testing.T) {
	t.Parallel()
	good := profilePackage(t)
	p, err := saip.Decode(bytes.Clone(good))
	if err != nil {
		t.Fatal(err)
	}
	at := func(kind string) *saip.Element {
		i := slices.IndexFunc(p.Elements(), func(e *saip.Element) bool { return e.Kind == kind })
		return p.Elements()[i]
	}
	without := func(e *saip.Element) []byte { return slices.Concat(good[:e.Offset], good[e.Offset+e.Length:]) }
	changed := func(find, replace string) []byte {
		return bytes.Replace(bytes.Clone(good), unhex(find), unhex(replace), 1)
	}
	for name, c := range map[string]struct {
		pkg    []byte
		status byte
		pe     int
	}{
		"no PUKs":           {without(at(saip.PEPUKCodes)), peBadParameter, -1},
		"no header":         {without(at(saip.PEHeader)), peBadFormat, -1},
		"unknown algorithm": {changed("8001018101"+"02", "8001048101"+"02"), peBadFormat, at(saip.PEAKA).ID},
		"unknown options":   {changed("8001018101"+"02", "8001018101"+"07"), peNoFeature, at(saip.PEAKA).ID},
		"unknown template":  {changed("0667810F010204", "0667810F01024F"), peNoTemplate, -1},
		"cut element":       {append(bytes.Clone(good[:at(saip.PEUSIM).Offset+1]), bytes.Repeat([]byte{0x84}, 40)...), peBadFormat, -1},
		"garbage":           {bytes.Repeat([]byte{0xFF}, 50), peBadFormat, -1},
		"behind the end":    {append(bytes.Clone(good), 0), peBadFormat, -1},
		"too much":          {append([]byte{0xA0, 0x83, 0x0F, 0xFF, 0xFF}, make([]byte, maxProfileBytes)...), peNoMemory, -1},
	} {
		nvm := &Memory{}
		l := empty(t, nvm)
		before := snapshot(l.chip)
		report, _ := l.load(c.pkg, scp.MaxTLVData)
		status, found, err := tlv.FindPath(report, 0x30, 0xA0, 0x30, 0x80)
		if err != nil || !found || !bytes.Equal(status, []byte{c.status}) {
			t.Errorf("%s: report %X, expected status %d", name, report, c.status)
		}
		if _, aborted, _ := tlv.FindPath(report, 0x30, 0x81); !aborted {
			t.Errorf("%s: report %X does not say that it was aborted", name, report)
		}
		if pe, _, _ := tlv.FindPath(report, 0x30, 0xA0, 0x30, 0x81); c.pe > 0 && !bytes.Equal(pe, integer(c.pe)) {
			t.Errorf("%s: report %X, expected element %d", name, report, c.pe)
		}
		var counted changes
		putSeq(&counted, domISDP, profileKVN, 0)
		l.chip.mem.apply(counted[0])
		if !bytes.Equal(before, snapshot(l.chip)) {
			t.Errorf("%s: something is left of it", name)
		}
		if report, _ := l.load(good, scp.MaxTLVData); !bytes.Equal(report, unhex(reportOK)) {
			t.Errorf("%s: the good one afterwards: %X", name, report)
		}
	}
}

// A load whose power is lost at any command, before it or after, leaves all of the profile or nothing.
func TestTornLoad(t *testing.T) {
	t.Parallel()
	pkg := profilePackage(t)
	l := empty(t, &Memory{})
	first := l.sent
	l.load(pkg, 2000/2)
	commands := l.sent - first
	for _, kind := range []FaultKind{FaultTearBefore, FaultTearAfter} {
		for n := 1; n <= commands; n++ {
			if testing.Short() && n > 4 && n < commands-2 {
				continue
			}
			nvm := &Memory{}
			l := empty(t, nvm, Fault{Kind: kind, Contact: 1, APDU: uint32(first + n)})
			if _, ok := l.load(pkg, 2000/2); ok {
				t.Fatalf("%s at %d of %d: the power was not lost", kind, n, commands)
			}
			c := reopen(t, nvm)
			whole := kind == FaultTearAfter && n == commands
			if c.hasFiles(domISDP) != whole {
				t.Errorf("%s at %d of %d: profile there: %v", kind, n, commands, !whole)
			}
			if !whole && len(c.mem.span(cellOf(domISDP, kindSQN, 0), cellOf(domISDP+1, 0, 0))) != 0 {
				t.Errorf("%s at %d of %d: something is left", kind, n, commands)
			}
		}
	}
}

// What goes wrong inside the session ends it; nothing is loaded twice, and nothing into a profile that has files or is in use.
func TestLoadSession(t *testing.T) {
	t.Parallel()
	pkg := profilePackage(t)
	refuse := func(l *line, one string, answer string, want apdu.SW) {
		t.Helper()
		got, sw, _ := l.put(unhex(one))
		if sw != want || !bytes.Equal(got, unhex(answer)) {
			t.Errorf("%s: %X %v, expected %s %v", one, got, sw, answer, want)
		}
	}
	l := empty(t, &Memory{})
	refuse(l, "8603010203", "", apdu.SWConditions)                // no session
	refuse(l, "840A 31018899AABBCCDDEEFF", "9F440103", apdu.SWOK) // no such key set
	refuse(l, "8409 30018899AABBCCDDEE", "9F440101", apdu.SWOK)   // short challenge
	refuse(l, "840A 30028899AABBCCDDEEFF", "9F440101", apdu.SWOK) // not the first key
	refuse(l, "8703010203", "", apdu.SWConditions)                // no object of a session
	refuse(l, "840A 3001", "", apdu.SWWrongData)                  // not whole
	host, _ := l.openTLV()
	refuse(l, "8610 00112233445566778899AABBCCDDEEFF", "9F460102", apdu.SWOK) // wrong MAC
	sent, _, err := host.WrapTLV(pkg[:100])
	if err != nil {
		t.Fatal(err)
	}
	refuse(l, hex.EncodeToString(sent), "", apdu.SWConditions) // the session is over
	host, _ = l.openTLV()
	l.in(apdu.SWOK, "80F28002024F0000") // another command ends it as well
	if sent, _, err = host.WrapTLV(pkg[:100]); err != nil {
		t.Fatal(err)
	}
	l.secure(forPerso(testISDP))
	refuse(l, hex.EncodeToString(sent), "", apdu.SWConditions)
	if report, _ := l.load(pkg, scp.MaxTLVData); !bytes.Equal(report, unhex(reportOK)) {
		t.Fatalf("report %X", report)
	}
	refuse(l, "840A 30018899AABBCCDDEEFF", "", apdu.SWConditions) // it has files
	for _, group := range [][]byte{dgi(dgiADM, l.dek(testSubscriber().adm)), dgi(uint16(fileICCID), make([]byte, 10))} {
		if _, sw, _ := l.secure(blocks(group)[0]); sw != apdu.SWConditions {
			t.Errorf("a data grouping behind the package: %v", sw)
		}
	}
	l.in(apdu.SWOK, "80F0400F10"+hex.EncodeToString([]byte(testISDP)))

	l = empty(t, &Memory{})
	for _, state := range []string{"0F", "3F"} {
		l.in(apdu.SWOK, "80F040"+state+"10"+hex.EncodeToString([]byte(testISDP)))
	}
	l.secure(forPerso(testISDP))
	refuse(l, "840A 30018899AABBCCDDEEFF", "", apdu.SWConditions) // it is in use
	l.secure(forPerso(aidISDR))
	refuse(l, "840A 30018899AABBCCDDEEFF", "", apdu.SWWrongData) // no profile
}

// Published packages load, with the test algorithm that they have, into a chip with Java Card; those of version 1 into no other.
func TestLoadPublished(t *testing.T) {
	t.Parallel()
	root := os.Getenv("PERSO_REFERENCE_DATA")
	if root == "" {
		t.Skip("SKIP: PERSO_REFERENCE_DATA is not set: no published packages to load")
	}
	paths, err := filepath.Glob(filepath.Join(root, "data", "ts48_upp", "*.der"))
	if err != nil || len(paths) == 0 {
		t.Fatal(paths, err)
	}
	for _, path := range paths {
		pkg, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		want := unhex(reportOK)
		if strings.HasPrefix(filepath.Base(path), "TS48v1") {
			want = unhex("301B A005 3003 80010A 8100 8210" + hex.EncodeToString([]byte("service javacard")))
		}
		if report, _ := empty(t, &Memory{}).load(pkg, scp.MaxTLVData); !bytes.Equal(report, want) {
			t.Errorf("%s without Java Card: report %X, expected %X", filepath.Base(path), report, want)
		}
		nvm := &Memory{}
		l := emptied(t, javaChip(t, nvm))
		if report, _ := l.load(pkg, scp.MaxTLVData); !bytes.Equal(report, unhex(reportOK)) {
			t.Errorf("%s: report %X", filepath.Base(path), report)
		}
		t.Logf("%s: %d bytes, record of %d", filepath.Base(path), len(pkg), len(nvm.records[len(nvm.records)-1]))
		l = newLine(t, reopen(t, nvm))
		l.plain(apdu.SWOK, "00A40004022FE200")
		l.plain(apdu.SWOK, "00B000000A")
	}
}
