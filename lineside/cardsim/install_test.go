package cardsim

import (
	"bytes"
	"encoding/hex"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/persoline/persoline/perso/aka"
	"github.com/persoline/persoline/perso/apdu"
	"github.com/persoline/persoline/perso/order/auth"
	"github.com/persoline/persoline/perso/saip"
	"github.com/persoline/persoline/perso/scp"
	"github.com/persoline/persoline/perso/secret"
)

// prepared is the shipped profile for a lot, with a card's values.
func prepared(t testing.TB, lot saip.Lot) []byte {
	t.Helper()
	b, err := os.ReadFile("../../deploy/profiles/bootstrap.der")
	if err != nil {
		t.Fatal(err)
	}
	p, err := saip.Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	if p, err = saip.Prepare(p, lot); err != nil {
		t.Fatal(err)
	}
	return withValues(t, p.Bytes())
}

// ownConstants are c1 to c5 of a Milenage of one's own: c1 of even, the others of odd parity.
func ownConstants() []byte {
	c := make([]byte, 80)
	for i := range 5 {
		c[16*i+15] = []byte{0, 1, 4, 8, 16}[i]
	}
	c[14] = 3
	return c
}

// A loaded chip authenticates by the algorithm of its package, with the constants and lengths that the package says.
func TestLoadedAlgorithms(t *testing.T) {
	t.Parallel()
	xoring := ownConstants()
	for name, c := range map[string]struct {
		lot  saip.Lot
		want string // auth.Algorithm
		gsm  bool
	}{
		"milenage":           {saip.Lot{Algorithm: saip.Milenage}, "milenage", true},
		"milenage constants": {saip.Lot{Algorithm: saip.Milenage, Rotation: []byte{0x40, 0, 0x20, 0x40, 0x58}, Xoring: xoring}, "milenage r=4000204058 c=" + hex.EncodeToString(xoring), true},
		"tuak":               {saip.Lot{Algorithm: saip.TUAK, Options: []byte{0}}, "tuak k=128", true},
		"tuak, long":         {saip.Lot{Algorithm: saip.TUAK, KeyBytes: 32, Keccak: 3, Options: []byte{0x23}}, "tuak k=256 res=128 ck=256 iterations=3", false},
	} {
		pkg := prepared(t, c.lot)
		nvm := &Memory{}
		l := empty(t, nvm)
		if report, _ := l.load(pkg, scp.MaxTLVData); !bytes.Equal(report, unhex(reportOK)) {
			t.Errorf("%s: report %X", name, report)
			continue
		}
		p, err := saip.Decode(pkg)
		if err != nil {
			t.Fatal(err)
		}
		chip, _ := p.Expand()
		a, app := chip.AKAs[0], chip.Applications()[0]
		algorithm, err := auth.Parse(c.want)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		network, err := algorithm.Network(revealed(a.K), revealed(a.OPc))
		if err != nil {
			t.Fatal(err)
		}
		rand := aka.Rand{9, 8, 7}
		autn, err := network.AUTN(rand, aka.SQNOf(0x20), aka.AMF{0x80})
		if err != nil {
			t.Fatal(err)
		}
		card, err := algorithm.Card(revealed(a.K), revealed(a.OPc))
		if err != nil {
			t.Fatal(err)
		}
		want, err := card.Authenticate(rand, autn, aka.NewSQNArray(aka.DefaultSQNPolicy()))
		if err != nil {
			t.Fatal(err)
		}
		l = newLine(t, reopen(t, nvm))
		l.plain(apdu.SWOK, "00A4040C"+hex.EncodeToString([]byte{byte(len(app.AID))})+hex.EncodeToString(app.AID))
		got := l.plain(apdu.SWOK, hex.EncodeToString(command("00880081", slices.Concat([]byte{16}, rand[:], []byte{16}, autn[:]))))
		if !bytes.HasPrefix(got, slices.Concat([]byte{0xDB, byte(len(want.Keys.RES))}, want.Keys.RES)) {
			t.Errorf("%s: answer %X, expected RES %X", name, got, want.Keys.RES)
		}
		gsm := hex.EncodeToString(command("00880080", append([]byte{16}, rand[:]...)))
		if !c.gsm {
			l.plain(apdu.SWGSMContext, gsm)
			continue
		}
		sres, err := want.Keys.SRES()
		if err != nil {
			t.Fatal(err)
		}
		if got := l.plain(apdu.SWOK, gsm); !bytes.Equal(got, slices.Concat([]byte{4}, sres[:], []byte{8}, want.Kc)) {
			t.Errorf("%s: GSM answer %X", name, got)
		}
	}
}

// The parameters of an element become the chip's: limits, first sequence numbers, and what the chip does not have.
func TestSubscriptionOf(t *testing.T) {
	t.Parallel()
	first := make([][]byte, aka.SQNEntries)
	for i := range first {
		first[i] = []byte{0, 0, 0, 0, 0, byte(i)}
	}
	a := saip.AKA{Algorithm: saip.TestAlgorithm, K: secretOf(16), SQNOptions: checkJump | checkAge, SQNDelta: []byte{0, 0, 0x10, 0, 0, 0}, SQNAgeLimit: []byte{0, 0, 0, 0, 1, 0}, SQN: first}
	s, ok := subscriptionOf(a)
	if !ok || s.policy != (aka.SQNPolicy{Delta: 1 << 28, AgeLimit: 256}) {
		t.Fatalf("%+v, %v", s.policy, ok)
	}
	array, err := aka.LoadSQNArray(s.policy, s.first)
	if err != nil || array.Highest() != aka.SQNOf(31<<5|31) {
		t.Errorf("highest %X, %v", array.Highest(), err)
	}
	var kept changes
	kept.put(cellOf(domISDP, kindAKA, 7), s.bytes()...)
	c := newChip(t, &Memory{})
	c.mem.apply(kept[0])
	back, ok := c.akaOf(domISDP, 7)
	if !ok || back.policy != s.policy || !bytes.Equal(back.first, s.first) || !bytes.Equal(back.k, s.k) || len(back.opc) != 0 {
		t.Errorf("read back otherwise: %v %+v", ok, back.policy)
	}
	for name, spoil := range map[string]func(a *saip.AKA){
		"unknown algorithm": func(a *saip.AKA) { a.Algorithm = 9 },
		"milenage's RES":    func(a *saip.AKA) { a.Algorithm, a.OPc, a.Options = saip.Milenage, secretOf(16), 1 },
		"tuak's RES":        func(a *saip.AKA) { a.Algorithm, a.OPc, a.Options, a.Keccak = saip.TUAK, secretOf(32), 5, 1 },
		"no key":            func(a *saip.AKA) { a.K = secretOf(0) },
		"half the numbers":  func(a *saip.AKA) { a.SQN = a.SQN[:16] },
	} {
		bad := a
		spoil(&bad)
		if _, ok := subscriptionOf(bad); ok {
			t.Errorf("%s was taken", name)
		}
	}
}

// A directory that shares the codes of another has one count of tries with it, and an application that names another has its
// keys and its sequence numbers.
func TestShared(t *testing.T) {
	t.Parallel()
	nvm := &Memory{}
	l := empty(t, nvm)
	if report, _ := l.load(profilePackage(t), scp.MaxTLVData); !bytes.Equal(report, unhex(reportOK)) {
		t.Fatalf("report %X", report)
	}
	p, err := saip.Decode(profilePackage(t))
	if err != nil {
		t.Fatal(err)
	}
	chip, _ := p.Expand()
	number := map[saip.Path]int{}
	for n, f := range chip.Files {
		number[f.Path] = n
	}
	usim, isim := chip.Applications()[0], chip.Applications()[1]
	u, i := number[usim.Path], number[isim.Path]
	local, _ := codeNumber(i, refPIN2)
	var all changes
	all.drop(cellOf(domISDP, kindCode, local))
	all.put(cellOf(domISDP, kindShare, uint16(i)), byte(u>>8), byte(u))
	all.put(cellOf(domISDP, kindAKA, uint16(i)), akaShared, byte(u>>8), byte(u))
	if err := nvm.Append(encodeRecord(all)); err != nil {
		t.Fatal(err)
	}
	l = newLine(t, reopen(t, nvm))
	enter := func(f *saip.File) {
		l.plain(apdu.SWOK, "00A4040C"+hex.EncodeToString([]byte{byte(len(f.AID))})+hex.EncodeToString(f.AID))
	}
	enter(isim)
	l.plain(apdu.SWTriesLeft|2, "002000810830303030FFFFFFFF")
	enter(usim)
	l.plain(apdu.SWTriesLeft|2, "00200081")
	a := chip.AKAs[0]
	m, err := aka.New(revealed(a.K), revealed(a.OPc))
	if err != nil {
		t.Fatal(err)
	}
	rand := aka.Rand{1}
	autn := m.BuildAUTN(rand, aka.SQNOf(0x20), aka.AMF{0x80})
	challenge := hex.EncodeToString(command("00880081", slices.Concat([]byte{16}, rand[:], []byte{16}, autn[:])))
	if got := l.plain(apdu.SWOK, challenge); got[0] != 0xDB {
		t.Errorf("answer %X", got)
	}
	enter(isim)
	if got := l.plain(apdu.SWOK, challenge); got[0] != 0xDC {
		t.Errorf("the same through the other application: %X", got)
	}
}

// The keys of the package's security domains, and its remote file management, are kept.
func TestLoadedDomains(t *testing.T) {
	t.Parallel()
	c, _ := loaded(t)
	p, err := saip.Decode(profilePackage(t))
	if err != nil {
		t.Fatal(err)
	}
	chip, _ := p.Expand()
	if len(chip.Domains) == 0 || len(chip.RFMs) == 0 {
		t.Fatal("the package has none")
	}
	for n, sd := range chip.Domains {
		kept, _ := c.mem.get(cellOf(domISDP, kindSD, uint16(n)))
		for _, k := range sd.Keys {
			if !bytes.Contains(kept, append([]byte{byte(k.Value.Len())}, revealed(k.Value)...)) || !bytes.Contains(kept, []byte{k.KVN, k.KID, k.Type}) {
				t.Errorf("key %02X of version %02X is not kept", k.KID, k.KVN)
			}
		}
	}
	for n, r := range chip.RFMs {
		if kept, _ := c.mem.get(cellOf(domISDP, kindRFM, uint16(n))); !bytes.Contains(kept, r.AID) {
			t.Errorf("instance %X is not kept", r.AID)
		}
	}
}

func TestReport(t *testing.T) {
	t.Parallel()
	r := report{{status: 6, pe: 300, offset: 70000, text: strings.Repeat("x", 500)}, {status: 1}, {status: 1}, {status: 1}, {status: 2}}
	want := "305F A01D 300C 800106 8102012C 83030111703003800101 3003800101 3003800101 8100 823C" + strings.Repeat("78", maxReportText)
	if got := r.bytes(); !bytes.Equal(got, unhex(want)) { // four of the five
		t.Errorf("%X, expected %s", got, want)
	}
	if got := integer(0x80); !bytes.Equal(got, []byte{0, 0x80}) {
		t.Errorf("128 is %X", got)
	}
}

func secretOf(n int) secret.Bytes { return secret.New(bytes.Repeat([]byte{7}, n)) }
