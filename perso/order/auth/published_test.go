package auth

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/persoline/persoline/perso/aka"
	"github.com/persoline/persoline/perso/reftest"
)

// The published sets of TUAK, by the spelling that an order would have: TOPc of TOP, the token, and what the chip answers.
func TestPublishedTUAK(t *testing.T) {
	t.Parallel()
	var r struct {
		Sets []struct {
			Iterations                   int `json:"keccak_iterations"`
			MAC                          int `json:"maclen_bits"`
			RES                          int `json:"reslen_bits"`
			CK                           int `json:"cklen_bits"`
			IK                           int `json:"iklen_bits"`
			K, Rand, SQN, AMF, TOP, TOPc reftest.Hex
			F1, F2, F3, F4, F5           reftest.Hex
		} `json:"tuak_sets"`
	}
	reftest.Vectors(t, "tuak.json", &r)
	if len(r.Sets) != 6 {
		t.Fatalf("%d sets", len(r.Sets))
	}
	whole := 0
	for i, s := range r.Sets {
		spelling := fmt.Sprintf("tuak k=%d", 8*len(s.K))
		for _, p := range []struct {
			name        string
			bits, usual int
		}{{"res", s.RES, 64}, {"ck", s.CK, 128}, {"ik", s.IK, 128}, {"iterations", s.Iterations, 1}} {
			if p.bits != p.usual {
				spelling += fmt.Sprintf(" %s=%d", p.name, p.bits)
			}
		}
		a := mustParse(t, spelling)
		if topc, err := a.Bind(s.K, s.TOP); err != nil || !bytes.Equal(topc, s.TOPc) {
			t.Errorf("set %d, %s: TOPc is %x, %v", i+1, spelling, topc, err)
		}
		if s.MAC != 64 { // which AUTN has no room for
			continue
		}
		whole++
		n, err := a.Network(s.K, s.TOPc)
		if err != nil {
			t.Fatal(err)
		}
		autn, err := n.AUTN(aka.Rand(s.Rand), aka.SQN(s.SQN), aka.AMF(s.AMF))
		hidden := make([]byte, len(s.SQN))
		for j := range hidden {
			hidden[j] = s.SQN[j] ^ s.F5[j]
		}
		if want := strings.Join([]string{hex.EncodeToString(hidden), hex.EncodeToString(s.AMF), hex.EncodeToString(s.F1)}, ""); err != nil || hex.EncodeToString(autn[:]) != want {
			t.Errorf("set %d: AUTN is %x, %v, want %s", i+1, autn, err, want)
		}
		told, _, err := ParseParameters(a.Parameters())
		if err != nil {
			t.Fatal(err)
		}
		chip, err := told.Card(s.K, s.TOPc)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := chip.Authenticate(aka.Rand(s.Rand), autn, always{})
		if err != nil || !bytes.Equal(answer.Keys.RES, s.F2) || !bytes.Equal(answer.Keys.CK, s.F3) || !bytes.Equal(answer.Keys.IK, s.F4) {
			t.Errorf("set %d: the chip's answer is another, %v", i+1, err)
		}
	}
	if whole != 2 {
		t.Errorf("%d sets have a MAC of 64 bits", whole)
	}
}

// always takes every sequence number.
type always struct{}

func (always) Accept(aka.SQN) bool { return true }
func (always) Highest() aka.SQN    { return aka.SQN{} }
