package cardsim

import (
	"bytes"
	"encoding/hex"
	"slices"
	"testing"

	"github.com/persoline/persoline/perso/aka"
	"github.com/persoline/persoline/perso/apdu"
	"github.com/persoline/persoline/perso/order/auth"
	"github.com/persoline/persoline/perso/scp"
)

// A chip authenticates as it was told last, also after power off: with TUAK, with constants of the operator's own, and with
// Milenage again, of which it keeps no parameters.
func TestAlgorithms(t *testing.T) {
	t.Parallel()
	_, nvm := finished(t)
	for n, spelling := range []string{"tuak k=256 res=128 ck=256 iterations=3", "milenage key=opc", "tuak k=128",
		"milenage r=4001204060 c=000000000000000000000000000000000000000000000000000000000000000100000000000000000000000000000002" +
			"0000000000000000000000000000000400000000000000000000000000000008", "milenage"} {
		a, err := auth.Parse(spelling)
		if err != nil {
			t.Fatal(err)
		}
		k, opc := bytes.Repeat([]byte{byte(0x40 + n)}, a.KBytes()), bytes.Repeat([]byte{byte(0x50 + n)}, a.OPBytes())
		l := newLine(t, reopen(t, nvm))
		if !l.open(testSubscriber().isd, 0x30, scp.LevelAll) {
			t.Fatal("lost power")
		}
		for _, c := range append([][]byte{forPerso(testISDP)}, blocks(dgi(dgiAKA, a.Parameters(), l.dek(k), kcv(k), l.dek(opc), kcv(opc)))...) {
			if _, sw, _ := l.secure(c); !sw.OK() {
				t.Fatalf("%s: %X is answered %v", spelling, c, sw)
			}
		}
		checks := slices.Concat(a.Parameters(), kcv(k), kcv(opc))
		wantRequest(t, l, testISDP, "DF26", "DF26"+hex.EncodeToString([]byte{byte(len(checks))})+hex.EncodeToString(checks))

		network, err := a.Network(k, opc)
		if err != nil {
			t.Fatal(err)
		}
		rand := aka.Rand{1, 2, 3}
		autn, err := network.AUTN(rand, aka.SQNOf(0x20), aka.AMF{0x80})
		if err != nil {
			t.Fatal(err)
		}
		same, err := a.Card(k, opc)
		if err != nil {
			t.Fatal(err)
		}
		want, err := same.Authenticate(rand, autn, aka.NewSQNArray(aka.DefaultSQNPolicy()))
		if err != nil {
			t.Fatal(err)
		}
		answer := []byte{0xDB}
		for _, part := range [][]byte{want.Keys.RES, want.Keys.CK, want.Keys.IK, want.Kc} {
			if part != nil { // keys of 256 bits have no Kc
				answer = slices.Concat(answer, []byte{byte(len(part))}, part)
			}
		}
		l = newLine(t, reopen(t, nvm))
		l.plain(apdu.SWOK, "00A4040C10"+hex.EncodeToString([]byte(aidUSIM)))
		challenge := hex.EncodeToString(command("00880081", slices.Concat([]byte{16}, rand[:], []byte{16}, autn[:])))
		if got := l.plain(apdu.SWOK, challenge); !bytes.Equal(got, answer) {
			t.Errorf("%s: the chip answers %X, expected %X", spelling, got, answer)
		}
		if got := l.plain(apdu.SWOK, challenge); got[0] != 0xDC {
			t.Errorf("%s: the same again is answered %X", spelling, got)
		}
	}
}
