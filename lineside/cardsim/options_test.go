package cardsim

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"testing"

	"github.com/persoline/persoline/perso/apdu"
	"github.com/persoline/persoline/perso/product"
	"github.com/persoline/persoline/perso/scp"
	"github.com/persoline/persoline/perso/scp/scp02"
	"github.com/persoline/persoline/perso/scp/tdes"
	"github.com/persoline/persoline/perso/tlv"
)

func chipWith(t testing.TB, nvm NVM, o Options) *Chip {
	t.Helper()
	p := testPersonality()
	p.Options = o
	c, err := New(p, nvm, &counter{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// A chip of each kind of SCP03 tells what it is, opens a session, writes, answers as much as fits, and loads a profile.
func TestChannelOptions(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		o       Options
		i       byte
		records int // of opening a session
		most    int // bytes of an answer
	}{
		"S8, pseudo-random":  {Options{}, 0x70, 1, 239},
		"S16, pseudo-random": {Options{S16: true}, 0x71, 1, 239},
		"S8, random":         {Options{Random: true}, 0x60, 0, 239},
		"S16, random":        {Options{S16: true, Random: true}, 0x61, 0, 239},
	} {
		nvm := &Memory{}
		chip := chipWith(t, nvm, c.o)
		l := newLine(t, chip)
		l.plain(apdu.SWOK, "00A4040000")
		data := l.plain(apdu.SWOK, "80CA006600")
		if protocol, _, _ := tlv.FindPath(data, 0x66, 0x73, 0x64); !bytes.HasSuffix(protocol, []byte{3, c.i}) {
			t.Errorf("%s: card data %X", name, data)
		}
		wrong := "8050000010 00112233445566778899AABBCCDDEEFF 00"
		if c.o.S16 {
			wrong = "8050000008 0011223344556677 00"
		}
		l.plain(apdu.SWWrongLength, wrong)
		if !l.open(testKeys(0x40), 0xFF, scp.LevelAll) || nvm.Len() != c.records {
			t.Errorf("%s: %d records", name, nvm.Len())
		}
		l.in(apdu.SWOK, hex.EncodeToString(blocks(objects(tagStamp, bytes.Repeat([]byte{1}, stampBytes)))[0]))
		l = emptied(t, chip)
		if report, _ := l.load(profilePackage(t), scp.MaxTLVData); !bytes.Equal(report, unhex(reportOK)) {
			t.Errorf("%s: report %X", name, report)
		}
		if got := c.o.room(scp.LevelAll); got != c.most {
			t.Errorf("%s: room for %d bytes", name, got)
		}
		if want := map[bool]int{false: 248, true: 240}[c.o.S16]; c.o.room(scp.LevelCMACRMAC) != want || c.o.room(scp.LevelCMACCENC) != 256 {
			t.Errorf("%s: room for %d bytes at 11", name, c.o.room(scp.LevelCMACRMAC))
		}
	}
}

// Two sessions of a chip with random challenges have different ones, and those of a torn chip are random as well.
func TestRandomChallenge(t *testing.T) {
	t.Parallel()
	l := newLine(t, chipWith(t, &Memory{}, Options{Random: true}))
	challenge := func() []byte {
		l.plain(apdu.SWOK, "00A4040000")
		iu, err := scp.ParseInitUpdate(l.plain(apdu.SWOK, "8050000008 0011223344556677 00"))
		if err != nil || iu.HasSeq {
			t.Fatal(iu, err)
		}
		return iu.CardChallenge
	}
	if a, b := challenge(), challenge(); bytes.Equal(a, b) {
		t.Errorf("%X twice", a)
	}
}

func TestLevels(t *testing.T) {
	t.Parallel()
	stamp := hex.EncodeToString(blocks(objects(tagStamp, bytes.Repeat([]byte{1}, stampBytes)))[0])
	for _, c := range []struct {
		o             Options
		level         scp.Level
		opens, writes bool
	}{
		{Options{}, scp.LevelAll, true, true},
		{Options{}, scp.LevelCMACCENCRMAC, true, false},
		{Options{Levels: LevelsOf(scp.LevelCMAC, scp.LevelCMACCENC)}, scp.LevelAll, false, false},
		{Options{Levels: LevelsOf(scp.LevelCMAC, scp.LevelCMACCENC)}, scp.LevelCMAC, true, false},
		{Options{Levels: LevelsOf(scp.LevelCMAC, scp.LevelCMACCENC)}, scp.LevelCMACCENC, true, true},
		{Options{Write: LevelsOf(scp.LevelCMAC)}, scp.LevelCMAC, true, true},
		{Options{Write: LevelsOf(scp.LevelCMAC)}, scp.LevelNone, true, false},
		{Options{Write: LevelsOf(scp.LevelCMACRMAC)}, scp.LevelCMACCENC, true, false},
		{Options{Write: LevelsOf(scp.LevelCMACRMAC)}, scp.LevelCMACCENCRMAC, true, true},
	} {
		l := newLine(t, chipWith(t, &Memory{}, c.o))
		challenge := unhex("0011223344556677")
		l.plain(apdu.SWOK, "00A4040000")
		iu, err := scp.ParseInitUpdate(bytes.Clone(l.plain(apdu.SWOK, hex.EncodeToString(scp.InitUpdateCommand(0, challenge).Bytes()))))
		if err != nil {
			t.Fatal(err)
		}
		if l.host, err = scp.OpenHost(testKeys(0x40), challenge, iu); err != nil {
			t.Fatal(err)
		}
		auth, err := l.host.ExternalAuthenticate(c.level)
		if err != nil {
			t.Fatal(err)
		}
		_, sw, _ := apdu.SWOf(l.send(auth))
		if want := map[bool]apdu.SW{true: apdu.SWOK, false: apdu.SWWrongP1P2}[c.opens]; sw != want {
			t.Errorf("%+v at %v: %v", c.o, c.level, sw)
		}
		if !c.opens {
			continue
		}
		want := apdu.SWSecurity
		if c.writes {
			want = apdu.SWOK
		}
		if _, sw, _ := l.secure(unhex(stamp)); sw != want {
			t.Errorf("%+v at %v: STORE DATA is %v, expected %v", c.o, c.level, sw, want)
		}
	}
}

// line02 is a test's way to a chip that speaks SCP02.
type line02 struct {
	*line
	host *scp02.Host
}

func (l *line02) open02(keys scp.StaticKeys, kvn byte) {
	l.t.Helper()
	challenge := [8]byte{1, 2, 3}
	l.plain(apdu.SWOK, "00A4040000")
	iu, err := scp02.ParseInitUpdate(l.plain(apdu.SWOK, hex.EncodeToString(scp02.InitUpdateCommand(kvn, challenge).Bytes())))
	if err != nil {
		l.t.Fatal(err)
	}
	if l.host, err = scp02.OpenHost(scp02.StaticKeys{ENC: keys.ENC, MAC: keys.MAC, DEK: keys.DEK}, challenge, iu); err != nil {
		l.t.Fatal(err)
	}
	auth, err := l.host.ExternalAuthenticate(scp02.LevelCMACCENC)
	if err != nil {
		l.t.Fatal(err)
	}
	l.wants(apdu.SWOK, l.send(auth), "EXTERNAL AUTHENTICATE")
}

func (l *line02) in02(want apdu.SW, cmd []byte) []byte {
	l.t.Helper()
	parsed, err := apdu.Parse(cmd)
	if err != nil {
		l.t.Fatal(err)
	}
	wrapped, err := l.host.Wrap(parsed)
	if err != nil {
		l.t.Fatal(err)
	}
	return l.wants(want, l.send(wrapped), hex.EncodeToString(cmd))
}

// desKeys are three keys without equal halves.
func desKeys(first byte) scp.StaticKeys {
	key := func(first byte) []byte {
		b := make([]byte, 16)
		for i := range b {
			b[i] = first + byte(i)*2
		}
		return b
	}
	return scp.StaticKeys{ENC: key(first), MAC: key(first + 0x30), DEK: key(first + 0x60)}
}

// A chip with Triple DES keys speaks SCP02: it takes keys of its own, and data under the session's DEK.
func TestSCP02(t *testing.T) {
	t.Parallel()
	p := testPersonality()
	p.Options, p.Keys = Options{SCP02: true}, desKeys(0x10)
	c, err := New(p, &Memory{}, &counter{})
	if err != nil {
		t.Fatal(err)
	}
	l := &line02{line: newLine(t, c)}
	l.plain(apdu.SWOK, "00A4040000")
	if data := l.plain(apdu.SWOK, "80CA006600"); !bytes.HasSuffix(data, unhex("040255")) {
		t.Errorf("card data %X", data)
	}
	l.open02(p.Keys, 0)
	own := desKeys(0x21)
	put, err := l.host.PutKeyCommand(0, 0x20, [][]byte{own.ENC, own.MAC, own.DEK})
	if err != nil {
		t.Fatal(err)
	}
	bad := put
	bad.Data = bytes.Clone(put.Data)
	bad.Data[len(bad.Data)-1] ^= 1
	l.in02(apdu.SWSecurity, bad.Bytes())
	answer := l.in02(apdu.SWOK, put.Bytes())
	k, err := tdes.New(own.ENC)
	if err != nil {
		t.Fatal(err)
	}
	if check := k.KCV(); len(answer) != 10 || answer[0] != 0x20 || !bytes.Equal(answer[1:4], check[:]) {
		t.Errorf("PUT KEY answers %X", answer)
	}
	l.in02(apdu.SWOK, blocks(objects(tagStamp, bytes.Repeat([]byte{1}, stampBytes)))[0])
	if l.open02(own, 0x20); c.seq(domISD, 0x20) != 1 {
		t.Errorf("counter %d", c.seq(domISD, 0x20))
	}
	l.in02(apdu.SWOK, forPerso(aidECASD))
	l.plain(apdu.SWSecurity, "80F28002024F0000") // without MAC
}

func TestOptionsRefuse(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]Options{
		"SCP02 with S16":      {SCP02: true, S16: true},
		"SCP02 with random":   {SCP02: true, Random: true},
		"SCP02 at 33":         {SCP02: true, Levels: LevelsOf(scp.LevelAll)},
		"write above":         {Levels: LevelsOf(scp.LevelCMAC), Write: LevelsOf(scp.LevelAll)},
		"two levels to write": {Write: LevelsOf(scp.LevelCMAC, scp.LevelAll)},
		"nothing but 00":      {Levels: LevelsOf(scp.LevelNone)},
		"more channels":       {Channels: 4},
		"fewer channels":      {Channels: -1},
	} {
		p := testPersonality()
		if p.Options = o; o.Validate() == nil {
			t.Errorf("%s was taken", name)
		}
		if _, err := New(p, &Memory{}, &counter{}); err == nil {
			t.Errorf("a chip of %s was made", name)
		}
	}
	same := testPersonality()
	same.Options.SCP02 = true // its test keys have equal halves
	if _, err := New(same, &Memory{}, &counter{}); err == nil {
		t.Error("a chip with weak keys was made")
	}
}

func TestOptionsOfAProduct(t *testing.T) {
	t.Parallel()
	const m2m, sim = product.EUICCM2M, product.Basic
	for _, c := range []struct {
		family   product.Family
		protocol string
		i        byte
		want     Options
		ok       bool
	}{
		{m2m, "03", 0x70, Options{}, true}, {m2m, "03", 0x71, Options{S16: true}, true}, {m2m, "03", 0x60, Options{Random: true}, true},
		{m2m, "03", 0x10, Options{}, false}, {m2m, "03", 0xF0, Options{}, false}, {m2m, "02", 0x55, Options{SCP02: true}, true},
		{sim, "03", 0x70, Options{SIM: true}, true}, {sim, "02", 0x55, Options{SIM: true, SCP02: true}, true},
		{sim, "none", 0, Options{SIM: true, NoDomain: true}, true}, {m2m, "none", 0, Options{}, false},
	} {
		if got, err := OptionsOf(product.Product{Family: c.family, Factory: product.Factory{SCP: c.protocol, I: c.i}}); (err == nil) != c.ok || c.ok && got != c.want {
			t.Errorf("SCP%s, i = %02X: %+v, %v", c.protocol, c.i, got, err)
		}
	}
	java := product.Product{Family: m2m, Factory: product.Factory{SCP: "03", I: 0x70}, Profile: product.Profile{Services: []product.Service{product.ServiceJavaCard}}}
	if got, err := OptionsOf(java); err != nil || got != (Options{JavaCard: true}) {
		t.Errorf("with Java Card: %+v, %v", got, err)
	}
	if err := (Options{SIM: true, JavaCard: true}).Validate(); err == nil {
		t.Error("a SIM with Java Card was built")
	}
}

func TestOptionsText(t *testing.T) {
	t.Parallel()
	in := Options{S16: true, Levels: LevelsOf(scp.LevelCMAC, scp.LevelAll), Write: LevelsOf(scp.LevelAll), Channels: 3}
	text, err := json.Marshal(in)
	if err != nil || string(text) != `{"s16":true,"levels":"01,33","write":"33","channels":3}` {
		t.Fatalf("%s, %v", text, err)
	}
	var out Options
	if err := json.Unmarshal(text, &out); err != nil || out != in {
		t.Errorf("%+v, %v", out, err)
	}
	if err := json.Unmarshal([]byte(`{"levels":"01,07"}`), &out); err == nil {
		t.Error("level 07 was read")
	}
	if text, err = json.Marshal(Options{}); err != nil || string(text) != "{}" {
		t.Errorf("%s, %v", text, err)
	}
}
