package script

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/persoline/persoline/perso/apdu"
)

func TestEncodeDecode(t *testing.T) {
	t.Parallel()
	s := product(t)
	b := s.Encode()
	back, err := Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(back.Encode(), b) || back.Hash() != s.Hash() || listing(back) != listing(s) {
		t.Error("decoding changed the script")
	}
}

// TestDecodeKeepsTheRules: who writes the compiled form by hand gains nothing.
func TestDecodeKeepsTheRules(t *testing.T) {
	t.Parallel()
	step := func(s *Script, label string) *Step {
		var found *Step
		s.walk(func(_ int, _ *Section, st *Step) {
			if st.Label == label {
				found = st
			}
		})
		return found
	}
	for name, spoil := range map[string]func(*Script){
		"key in plain":          func(s *Script) { step(s, "isd-keys#1").Secure = false },
		"raw key, low level":    func(s *Script) { s.Channels[0].Level = 0x03; step(s, "profile-aka#2").Body[1].Var.Form = Secret },
		"unknown form":          func(s *Script) { step(s, "stamp#2").Body[1].Var.Form = "clear" },
		"slice beyond variable": func(s *Script) { step(s, "stamp#2").Body[1].Var.To = 33 },
		"negative slice":        func(s *Script) { step(s, "stamp#2").Body[1].Var.From = -1 },
		"wildcard sent":         func(s *Script) { g := &step(s, "stamp#2").Body[0]; g.Care = bytes.Clone(g.Bytes) },
		"mask shorter":          func(s *Script) { g := &(*step(s, "auth").Data)[1]; g.Care = g.Care[1:] },
		"Le 0":                  func(s *Script) { step(s, "stamp#2").Le = 0 },
		"unknown phase":         func(s *Script) { s.Acts[1][0].Phase = "later" },
		"unknown redo":          func(s *Script) { s.Acts[1][0].Redo = "often" },
		"unknown purpose":       func(s *Script) { step(s, "cplc").Purpose = "fun" },
		"second SCP02 at 33":    func(s *Script) { s.Channels = append(s.Channels, Channel{Act: 1, Protocol: SCP02, Level: 0x33}) },
		"no channel":            func(s *Script) { s.Channels = nil },
		"channel of no act":     func(s *Script) { s.Channels[0].Act = 1 },
		"unknown kind":          func(s *Script) { step(s, "stamp#2").Kind = "wait" },
		"power with data":       func(s *Script) { step(s, "isd-keys#1").Kind = KindPower },
		"offset of a variable":  func(s *Script) { step(s, "stamp#2").Body[1].Var.At = 1 },
		"answer of a secret":    func(s *Script) { v := step(s, "profile-aka#2").Body[1].Var; v.Form, v.Name = Answer, "nobody" },
		"no acts":               func(s *Script) { s.Acts = nil },
		"verify removed":        func(s *Script) { act := s.Acts[2]; s.Acts[2] = act[:len(act)-2] },
		"step without label":    func(s *Script) { step(s, "stamp#1").Label = "" },
	} {
		s := product(t)
		if name == "wildcard sent" {
			clear(s.Acts[1][0].Steps[1].Body[0].Care)
		}
		spoil(s)
		if _, err := Decode(s.Encode()); !errors.Is(err, ErrEncoding) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDecodeRefusals(t *testing.T) {
	t.Parallel()
	good, version := product(t).Encode(), byte(product(t).Version)
	at := bytes.Index(good, []byte("m2m-200s"))
	for name, b := range map[string][]byte{
		"empty":           {},
		"truncated":       good[:len(good)-1],
		"surplus":         append(bytes.Clone(good), 0),
		"format":          bytes.Replace(good, []byte(format), []byte("persoline-script/9"), 1),
		"longer integer":  bytes.Replace(good, append([]byte("m2m-200s"), version), append([]byte("m2m-200s"), 0x18, version), 1),
		"null for a list": bytes.Replace(good, []byte{0x9F, 0x7F, 0x80}, []byte{0x9F, 0x7F, 0xF6}, 1),
		"long text form":  append(append(bytes.Clone(good[:at-1]), 0x78, 0x08), good[at:]...),
		"too long":        make([]byte, MaxEncodedBytes+1),
	} {
		if _, err := Decode(b); !errors.Is(err, ErrEncoding) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// everything is small with all that it does not have: another channel, a power cycle, blocks, an answer in a command.
func everything() string {
	src := with(10, "80E28800 <0070 <42 <01> {p.a[0+2]}>> 00 (9000)\n80E60200 <<{AID}> 00 00 00 00> 00 (9000)\n.LOAD BLOCK=100 <AA*200 {dek:KEY}> (9000)")
	return strings.Replace(src, ".PHASE verify", ".POWER [3B XX]\n.CHANNEL SCP02 KVN=20 LEVEL=13\n.PHASE verify", 1)
}

// FuzzDecode: no bytes panic, and what decodes is canonical, renders, decides and checks without panic.
func FuzzDecode(f *testing.F) {
	f.Add(product(f).Encode())
	f.Add(mustCompile(f, small, smallCatalogue()).Encode())
	f.Add(mustCompile(f, everything(), smallCatalogue()).Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := Decode(b)
		if err != nil {
			return
		}
		if !bytes.Equal(s.Encode(), b) {
			t.Fatal("second spelling accepted")
		}
		binder := sizedBinder{s}
		for act := range s.Acts {
			commands, err := s.Render(act, none(s, act), binder)
			if err != nil && !errors.Is(err, ErrVariable) {
				t.Fatal(err)
			}
			var w Window
			for _, c := range commands {
				w = append(w, Play{APDU: c.APDU.Bytes(), SW: c.Step.SW.String()})
			}
			if err := w.Check(); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.IdentifyWindow().Check(); err != nil {
			t.Fatal(err)
		}
	})
}

// sizedBinder gives zeros in the length that the script itself declares.
type sizedBinder struct{ script *Script }

func (b sizedBinder) Bind(dst []byte, form Form, name string) ([]byte, error) {
	n := 0
	if form == Answer {
		n = apdu.MaxLe
	}
	b.script.walk(func(_ int, _ *Section, st *Step) {
		for _, g := range st.Body {
			if g.Var != nil && g.Var.Form == form && g.Var.Name == name && form != Answer {
				n = g.Var.Size
			}
		}
	})
	return append(dst, make([]byte, n)...), nil
}
