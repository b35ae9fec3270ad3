package chipfarm

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/persoline/persoline/lineside/cardsim"
	"github.com/persoline/persoline/perso/scp"
)

// simSpec is a reel of SIMs without a security domain.
func simSpec(chips uint32) Spec {
	s := testSpec(chips)
	s.Product, s.OS, s.ATR, s.KMC, s.KVN = "basic-100s-2ff", "UICC-OS 1.4", "3B9F95801F878031E073FE21136753494D313030XXXX", "kmc-basic-100s", 0
	s.Options = cardsim.Options{SIM: true, NoDomain: true}
	return s
}

// TestSIMFarm: a farm makes SIMs with transport codes of their own, which say who they are without any selection, and keep what was
// written when the farm begins again.
func TestSIMFarm(t *testing.T) {
	t.Parallel()
	f := serve(t, simSpec(2))
	c := f.client()
	codes := map[string]bool{}
	for head := range uint16(2) {
		mustContact(t, c, head)
		cplc, err := c.Transmit(t.Context(), head, unhex("80CA9F7F00"))
		if err != nil || len(cplc) != 3+cardsim.CPLCBytes+2 {
			t.Fatalf("CPLC %X, %v", cplc, err)
		}
		p := cardsim.Personality{CPLC: [cardsim.CPLCBytes]byte(cplc[3:])}
		keys, err := scp.DiversifyKDF3(masterKey(), p.ChipID())
		if err != nil {
			t.Fatal(err)
		}
		code := keys.TransportCode()
		codes[string(code[:])] = true
		for _, command := range []string{fmt.Sprintf("0020000E08%X", code), "00E00000126210820278218302" + "3F008A01018B032F0601", "00DADF2020" + fmt.Sprintf("%064X", head+1)} {
			if resp, err := c.Transmit(t.Context(), head, unhex(command)); err != nil || !bytes.Equal(resp, unhex("9000")) {
				t.Fatalf("head %d: %s is answered %X, %v", head, command, resp, err)
			}
		}
	}
	if len(codes) != 2 {
		t.Error("two chips have one transport code")
	}
	f.stop()
	f.start()
	c = f.client()
	mustContact(t, c, 1)
	if resp, err := c.Transmit(t.Context(), 1, unhex("80CADF2000")); err != nil || !bytes.Equal(resp, unhex("DF2020"+fmt.Sprintf("%064X", 2)+"9000")) {
		t.Errorf("after the farm began again: %X, %v", resp, err)
	}
}

// TestT1Slot: a chip that offers T=1 first is spoken to in whole commands: its reader makes the blocks.
func TestT1Slot(t *testing.T) {
	t.Parallel()
	spec := testSpec(1)
	spec.ATR = "3BD696FF8131FE458031E073FE21XX"
	f, s := newFarm(t, spec)
	d := drivers(t, f, 1)[0]
	mustLoad(t, s, 0)
	d.send(bodyOn)
	d.ask(bodyATR, f.maker.atr)
	d.ask(selectISDBlock+"00", unhex("6F108408A000000151000000A5049F6501FF9000"))
	d.ask(selectISDBlock, unhex("9000"))
	d.ask("80CA9F7F05", unhex("6C2D"))
}
