package script_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/persoline/persoline/perso/apdu"
	"github.com/persoline/persoline/perso/reftest"
	"github.com/persoline/persoline/perso/scp"
	"github.com/persoline/persoline/perso/script"
)

// loadScript stores a profile package of 12 KB, of which less than 0.4 KB differ from card to card, as in a TS.48 profile.
const loadScript = `.SCRIPT load 1
.CHANNEL SCP03 LEVEL=33
.PHASE identify
80CA9F7F 00 (9000) => chip
.PHASE open
.PHASE write
.SECTION profile REDO=safe
80E62000 <0000 <{AID.ISDP}> 000000> 00 (9000)
.STORE MODE=ber <@a.der {ICCID} @b.der {IMSI} {ACC} @b.der {secret:KI} {secret:OPC} @b.der {secret:PINSET1} {secret:PINSET2} {secret:ADMSET} \
                 @b.der {secret:OTA.KIC} {secret:OTA.KID} {secret:OTA.KIK} @a.der> (9000)
.PHASE verify
80E62000 <0000 <{AID.ISDP}> 000000> 00 (9000)
80E29100 <5C <42>> 00 [42 <01>] (9000)`

const profileBytes = 12 << 10

func loadOf(t testing.TB) *script.Script {
	t.Helper()
	part := bytes.Repeat([]byte("profile element "), profileBytes/16/6)
	folder := fstest.MapFS{"t.script": {Data: []byte(loadScript)}, "a.der": {Data: part}, "b.der": {Data: part}}
	s, err := script.CompileFile(folder, "t.script", script.StandardCatalogue(40, 200))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// numbered gives each variable bytes of its own, without keeping any.
type numbered struct{ vars script.Catalogue }

func (b numbered) Bind(dst []byte, _ script.Form, name string) ([]byte, error) {
	for range b.vars[name].Len {
		dst = append(dst, name[0]^name[len(name)-1])
	}
	return dst, nil
}

func channel(t testing.TB) (*scp.Host, *scp.Card) {
	t.Helper()
	key := func(b byte) []byte { return bytes.Repeat([]byte{b}, 16) }
	keys, challenge := scp.StaticKeys{ENC: key(1), MAC: key(2), DEK: key(3)}, make([]byte, 8)
	card, iu, err := scp.OpenCard(scp.CardConfig{Keys: keys, KVN: 0x30, I: scp.OptPseudo | scp.OptRMAC | scp.OptRENC, AID: key(4), Seq: 1}, challenge)
	if err != nil {
		t.Fatal(err)
	}
	host, err := scp.OpenHost(keys, challenge, iu)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := host.ExternalAuthenticate(scp.LevelAll)
	if err != nil {
		t.Fatal(err)
	}
	cmd, err := apdu.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	if err := card.ExternalAuthenticate(cmd); err != nil {
		t.Fatal(err)
	}
	return host, card
}

// TestLoadArrives wraps the load, unwraps it as a chip does, and compares it with the package and the card's values.
func TestLoadArrives(t *testing.T) {
	t.Parallel()
	s, vars := loadOf(t), numbered{script.StandardCatalogue(40, 200)}
	host, card := channel(t)
	commands, err := s.Render(1, []bool{false, false}, vars)
	if err != nil {
		t.Fatal(err)
	}
	var got []byte
	for _, c := range commands {
		raw, _, err := host.Wrap(c.APDU)
		if err != nil {
			t.Fatal(err)
		}
		cmd, err := apdu.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		plain, err := card.Unwrap(cmd)
		if err != nil {
			t.Fatal(err)
		}
		if plain.INS == 0xE2 && plain.P1&0x01 == 0 {
			got = append(got, plain.Data...)
		}
	}
	part := bytes.Repeat([]byte("profile element "), profileBytes/16/6)
	value := func(names ...string) (all []byte) {
		for _, name := range names {
			all, _ = vars.Bind(all, "", name)
		}
		return all
	}
	want := slices.Concat(part, value("ICCID"), part, value("IMSI", "ACC"), part, value("KI", "OPC"), part, value("PINSET1", "PINSET2", "ADMSET"),
		part, value("OTA.KIC", "OTA.KID", "OTA.KIK"), part)
	if !bytes.Equal(got, want) {
		t.Errorf("%d bytes arrived, want %d", len(got), len(want))
	}
}

// TestPublishedProfile sends a published TS.48 profile with a card's values at the places where it has them: all other bytes
// arrive as they are.
func TestPublishedProfile(t *testing.T) {
	t.Parallel()
	want := reftest.Read(t, "data", "ts48_upp", "TS48v5_SAIP2.3_BERTLV_SUCI.der")
	before, _, _ := strings.Cut(loadScript, ".STORE")
	_, behind, _ := strings.Cut(loadScript, "@a.der> (9000)\n")
	line := ".STORE MODE=ber <@p.der[0+252] {ICCID} @p.der[262+2363] {IMSI} @p.der[2634+3709] {secret:KI} @p.der[6359+2] {secret:OPC} @p.der[6377+]> (9000)\n"
	vars := numbered{script.StandardCatalogue(40, 200)}
	s, err := script.CompileFile(fstest.MapFS{"t.script": {Data: []byte(before + line + behind)}, "p.der": {Data: want}}, "t.script", vars.vars)
	if err != nil {
		t.Fatal(err)
	}
	commands, err := s.Render(1, []bool{false, false}, vars)
	if err != nil {
		t.Fatal(err)
	}
	var got []byte
	for _, c := range commands {
		if c.APDU.INS == 0xE2 && c.APDU.P1&0x01 == 0 {
			got = append(got, c.APDU.Data...)
		}
	}
	for name, at := range map[string]int{"ICCID": 252, "IMSI": 2625, "KI": 6343, "OPC": 6361} {
		value, _ := vars.Bind(nil, "", name)
		copy(want[at:], value)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%d bytes arrived otherwise than they were sent, want %d", len(got), len(want))
	}
}

// BenchmarkLoad is what a card of a 12 KB profile costs: filling the script, and wrapping it at level 33. It counts time of the
// processor, its own collector included, so that neighbours on the machine do not count. x-floor is that time over the one of
// the same bytes through AES-CBC twice, once for the encryption and once for the MAC, in one call each.
func BenchmarkLoad(b *testing.B) {
	s, vars := loadOf(b), numbered{script.StandardCatalogue(40, 200)}
	host, _ := channel(b)
	start, skip := host.Mark(), make([]bool, 2)
	floor := aesFloor(b)
	card := func(b *testing.B, wrap bool) {
		b.ReportAllocs()
		began := cpu(b)
		for b.Loop() {
			commands, err := s.Render(1, skip, vars)
			if err != nil {
				b.Fatal(err)
			}
			if err := host.Resume(scp.LevelAll, start); err != nil {
				b.Fatal(err)
			}
			for i := range commands {
				if !wrap {
					break
				}
				if _, _, err := host.Wrap(commands[i].APDU); err != nil {
					b.Fatal(err)
				}
			}
			script.Wipe(commands)
		}
		each := (cpu(b) - began) / time.Duration(b.N)
		b.ReportMetric(float64(time.Second)/float64(each), "cards/core-s")
		b.ReportMetric(float64(each)/float64(floor), "x-floor")
	}
	b.Run("render", func(b *testing.B) { card(b, false) })
	b.Run("render and wrap", func(b *testing.B) { card(b, true) })
}

// aesFloor is the time of one card's bytes through AES-CBC twice.
func aesFloor(b *testing.B) time.Duration {
	block, err := aes.NewCipher(make([]byte, 16))
	if err != nil {
		b.Fatal(err)
	}
	const rounds = 2000
	buffer, iv := make([]byte, profileBytes), make([]byte, aes.BlockSize)
	began := cpu(b)
	for range 2 * rounds {
		cipher.NewCBCEncrypter(block, iv).CryptBlocks(buffer, buffer)
	}
	return (cpu(b) - began) / rounds
}

// cpu is the time of the processor that this process took, all its threads together (getrusage(2)).
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
