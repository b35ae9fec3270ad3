package sealing

import (
	"bytes"
	"errors"
	mrand "math/rand/v2"
	"testing"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/id"
)

func binding(t testing.TB) Binding {
	t.Helper()
	chip, err := id.ParseChipID("4f45020002d746d8a49b")
	if err != nil {
		t.Fatal(err)
	}
	return Binding{Lot: "L1", Unit: 7, Gen: 1, Chip: chip, Present: perso.Presentation{Line: "line-1", Head: 2, Number: 3}, Session: perso.Session{4}, N: 1, Script: [32]byte{5}}
}

// What was sealed opens with the presentation's key, for what it was sealed for, and in no other way.
func TestOpensForOneThingOnly(t *testing.T) {
	t.Parallel()
	random := mrand.NewChaCha8([32]byte{1})
	key, err := NewKey(random)
	if err != nil {
		t.Fatal(err)
	}
	other, err := NewKey(random)
	if err != nil || other.Public() == key.Public() {
		t.Fatal("two presentations have one key", err)
	}
	opening, err := ParseOpening(Opening{Challenge: [8]byte{9}, Public: key.Public()}.Bytes())
	if err != nil || opening.Challenge != [8]byte{9} {
		t.Fatal(opening, err)
	}
	window := bus.Window{{APDU: []byte{0x00, 0x20, 0x00, 0x0A, 0x01, 0x31}, SW: "9000|6984"}, {APDU: []byte{0x00, 0x44, 0, 0}, SW: "9000"}}
	b := binding(t)
	sealed, err := Seal(opening, b, window)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(sealed, window[0].APDU) {
		t.Error("the command stands in what was sealed")
	}
	got, err := key.Open(b, sealed)
	if err != nil || len(got) != 2 || !bytes.Equal(got[0].APDU, window[0].APDU) || got[1].SW != "9000" {
		t.Fatalf("%v %v", got, err)
	}
	Wipe(got)
	if !bytes.Equal(got[0].APDU, make([]byte, 6)) {
		t.Error("a wiped window still has its command")
	}
	if _, err := other.Open(b, sealed); !errors.Is(err, ErrSealed) {
		t.Errorf("another presentation's key: %v", err)
	}
	for name, change := range map[string]func(*Binding){
		"lot": func(b *Binding) { b.Lot = "L2" }, "unit": func(b *Binding) { b.Unit++ }, "generation": func(b *Binding) { b.Gen++ },
		"chip": func(b *Binding) { b.Chip, _ = id.ParseChipID("4f45020002d746d8a49c") }, "place": func(b *Binding) { b.Present.Head++ },
		"presentation": func(b *Binding) { b.Present.Number++ }, "line": func(b *Binding) { b.Present.Line = "line-2" },
		"session": func(b *Binding) { b.Session[0]++ }, "act": func(b *Binding) { b.N++ }, "script": func(b *Binding) { b.Script[0]++ },
	} {
		wrong := b
		change(&wrong)
		if _, err := key.Open(wrong, sealed); !errors.Is(err, ErrSealed) {
			t.Errorf("another %s: %v", name, err)
		}
	}
	for i := range sealed {
		bent := bytes.Clone(sealed)
		bent[i] ^= 1
		if _, err := key.Open(b, bent); err == nil {
			t.Fatalf("byte %d was changed, and it opens", i)
		}
	}
	key.Wipe()
	if _, err := key.Open(b, sealed); !errors.Is(err, ErrSealed) || !key.IsZero() {
		t.Errorf("with a wiped key: %v", err)
	}
}

func FuzzParseOpening(f *testing.F) {
	f.Add(Opening{Public: [32]byte{9}}.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := ParseOpening(b)
		if err == nil && !bytes.Equal(o.Bytes(), b) {
			t.Fatal("two spellings")
		}
	})
}
