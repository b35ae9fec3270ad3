package script

import (
	"errors"
	"slices"
	"testing"

	"github.com/persoline/persoline/perso/tlv"
)

// blank is what act 0 reads from a chip from the factory.
func blank(b *fakeBinder) map[string][]byte {
	return map[string][]byte{
		"p.isd":  append(tlv.Encode(0x9F7F, make([]byte, 42)), tlv.Encode(0xE0, []byte{0xC0, 4, 1, 0xFF, 0x88, 0x10})...),
		"p.card": tlv.Encode(0xE3, tlv.Encode(0x4F, b.value(Public, "AID.ISD")), tlv.Encode(0x9F70, []byte{0x01})),
		"p.apps": nil, "p.eca": nil, "p.cert": nil, "p.isdr": nil, "p.isdp": nil,
	}
}

func skipped(t *testing.T, s *Script, act int, captures map[string][]byte, ecka bool, b Binder) []string {
	t.Helper()
	skip, err := s.Skip(act, captures, map[string]bool{"ecka": ecka, "stamp": true}, b)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for i, sec := range s.Acts[act] {
		if skip[i] {
			names = append(names, sec.Name)
		}
	}
	return names
}

func TestSkipBlankChip(t *testing.T) {
	t.Parallel()
	s, b := product(t), productBinder()
	for act := range s.Acts {
		if got := skipped(t, s, act, blank(b), true, b); got != nil {
			t.Errorf("act %d of a blank chip skips %v", act, got)
		}
	}
	if slices.ContainsFunc(b.asked, func(v string) bool { return v != "public:AID.ISD" }) {
		t.Errorf("deciding about a blank chip bound %v", b.asked)
	}
}

// TestSkipHalfWritten: a chip that lost contact in act 2 is continued, and one with another claim's stamp is written anew.
func TestSkipHalfWritten(t *testing.T) {
	t.Parallel()
	s, b := product(t), productBinder()
	entry := func(kid, kvn byte) []byte { return []byte{0xC0, 4, kid, kvn, 0x88, 0x10} }
	keys := func(kvn byte) []byte { return tlv.Encode(0xE0, entry(1, kvn), entry(2, kvn), entry(3, kvn)) }
	captures := blank(b)
	captures["p.isd"] = slices.Concat(keys(0x30), tlv.Encode(0xDF20, b.value(Public, "STAMP")))
	captures["p.isdr"] = keys(0x01)
	captures["p.isdp"] = tlv.Encode(0xDF26, b.value(Public, "AKA"), b.value(KCV, "KI"), b.value(KCV, "OPC"))
	captures["p.card"] = tlv.Encode(0xE3, tlv.Encode(0x4F, b.value(Public, "AID.ISD")), tlv.Encode(0x9F70, []byte{0x07}))
	captures["p.apps"] = tlv.Encode(0xE3, tlv.Encode(0x4F, b.value(Public, "AID.ECASD")), tlv.Encode(0x9F70, []byte{0x0F}))
	captures["p.cert"] = tlv.Encode(0x7F21, b.value(Public, "CERT"))

	if got, want := skipped(t, s, 1, captures, false, b), []string{"isdr-keys", "profile-aka", "ecasd-key", "isd-keys"}; !slices.Equal(got, want) {
		t.Errorf("act 1 skips %v, want %v", got, want)
	}
	if got, want := skipped(t, s, 2, captures, false, b), []string{"ecasd-cert", "ecasd-life", "isd-initialized"}; !slices.Equal(got, want) {
		t.Errorf("act 2 skips %v, want %v", got, want)
	}
	captures["p.card"][len(captures["p.card"])-1] = 0x0F
	captures["p.cert"][40] ^= 1
	if got, want := skipped(t, s, 2, captures, false, b), []string{"ecasd-life", "isd-initialized", "isd-secured"}; !slices.Equal(got, want) {
		t.Errorf("act 2 of a secured chip with another certificate skips %v, want %v", got, want)
	}
	captures["p.isd"][len(captures["p.isd"])-1] ^= 1
	if got, want := skipped(t, s, 1, captures, true, b), []string{"profile-aka", "isd-keys"}; !slices.Equal(got, want) {
		t.Errorf("act 1 under a foreign stamp skips %v, want %v", got, want)
	}
}

func TestSkipUndecided(t *testing.T) {
	t.Parallel()
	s, b := product(t), productBinder()
	captures := blank(b)
	if _, err := s.Skip(1, captures, nil, b); !errors.Is(err, ErrUndecided) {
		t.Errorf("no decision of the vault: %v", err)
	}
	delete(captures, "p.isdp")
	if _, err := s.Skip(1, captures, map[string]bool{"ecka": true}, b); !errors.Is(err, ErrUndecided) {
		t.Errorf("no answer of a probe: %v", err)
	}
	if _, err := s.Skip(9, captures, nil, b); !errors.Is(err, ErrAct) {
		t.Errorf("act 9: %v", err)
	}
	b.err = errors.New("token gone")
	captures["p.cert"] = tlv.Encode(0x7F21, b.value(Public, "CERT"))
	if _, err := s.Skip(2, captures, nil, b); !errors.Is(err, b.err) {
		t.Errorf("binder error: %v", err)
	}
}

func TestPatternIn(t *testing.T) {
	t.Parallel()
	b := newFakeBinder(smallCatalogue())
	pub := b.value(Public, "PUB")
	for _, c := range []struct {
		pattern string
		data    []byte
		want    bool
		asked   int
	}{
		{"AABB", []byte{0xAA, 0xAA, 0xBB}, true, 0},
		{"AABB", []byte{0xAA, 0xB0}, false, 0},
		{"AABB", []byte{0x0A, 0xAB, 0xB0}, false, 0}, // bytes, not nibbles
		{"AX XB", []byte{0xA1, 0x2B}, true, 0},
		{"AX", []byte{0x1A}, false, 0},
		{"01 {PUB} 02", slices.Concat([]byte{1, 0, 0, 2, 1}, pub, []byte{2}), true, 2},
		{"01 {PUB} 02", slices.Concat([]byte{1}, pub, []byte{3}), false, 0},
		{"{PUB}", nil, false, 0},
	} {
		b.asked = nil
		s := mustCompile(t, with(8, ".SECTION one REDO=safe DONE=p.a["+c.pattern+"]"), smallCatalogue())
		got, err := s.Acts[1][0].Done[0][0].Pattern.in(c.data, b)
		if err != nil || got != c.want || len(b.asked) != c.asked {
			t.Errorf("%s in %X: %v %v after %v; want %v", c.pattern, c.data, got, err, b.asked, c.want)
		}
	}
}
