package saip

import (
	"encoding/hex"
	"slices"
	"testing"
)

func TestExpandPublished(t *testing.T) {
	t.Parallel()
	for name, file := range published(t) {
		chip, faults := mustDecode(t, file).Expand()
		for _, f := range faults.Refusing() {
			t.Errorf("%s: %v", name, f)
		}
		if len(chip.Files) < 230 || len(chip.PINs) != 7 || len(chip.PUKs) != 2 || len(chip.AKAs) != 2 || len(chip.Domains) != 1 || len(chip.RFMs) != 4 || len(chip.Applications()) != 3 {
			t.Errorf("%s: %d files, %d PINs, %d PUKs, %d AKAs, %d domains, %d RFMs", name, len(chip.Files), len(chip.PINs), len(chip.PUKs), len(chip.AKAs), len(chip.Domains), len(chip.RFMs))
		}
	}
}

func TestExpandNewest(t *testing.T) {
	t.Parallel()
	chip, _ := mustDecode(t, published(t)[newest]).Expand()
	for _, want := range []struct {
		path       Path
		kind       FileKind
		size, unit int
		sfi        byte
		arr        ARR
		begins     string
		access     string
		link       Path
	}{
		{"3F00/2F05", Transparent, 6, 0, 0x05, ARR{0x2F06, 4}, "656effffffff", "8001019000800102", ""},
		{"3F00/2FE2", Transparent, 10, 0, 0x02, ARR{0x2F06, 3}, "98001032547698103214", "8001019000800118", ""},
		{"3F00/2F00", LinearFixed, 132, 33, 0x1E, ARR{0x2F06, 2}, "61144f0ca0000000871002ff49ff058950045553494d", "8001019000", ""},
		{"3F00/7FD0/6F07", Transparent, 9, 0, 0x07, ARR{0x6F06, 10}, "080910101032540636", "800101a4068301019501", ""},
		{"3F00/7FD0/6F46", Transparent, 17, 0, 0, ARR{0x6F06, 7}, "0147534d411154455354ffffffffffffff", "8001019000", ""},
		{"3F00/7FD0/6FAD", Transparent, 4, 0, 0x03, ARR{0x6F06, 7}, "80000002", "8001019000", ""},
		{"3F00/7FD0/6F08", Transparent, 33, 0, 0x08, ARR{0x6F06, 2}, "07ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff", "", ""},
		{"3F00/7FD0/6FE3", Transparent, 18, 0, 0x1E, ARR{0x6F06, 2}, "ffffffffffffffffffffffff000000000001", "", ""},
		{"3F00/7FD0/6F3C", LinearFixed, 1760, 176, 0, ARR{0x6F06, 2}, "00ff", "", ""},
		{"3F00/7FD0/6F4F", LinearFixed, 75, 15, 0x16, ARR{0x6F06, 2}, "ffff", "", ""}, // five records by the template
		{"3F00/7FD0/6F82", Cyclic, 30, 3, 0, ARR{0x6F06, 11}, "000000", "", ""},
		{"3F00/7FD0/5F3B/4F20", Transparent, 9, 0, 0x01, ARR{0x6F06, 2}, "ffffffffffffffff07", "", ""},
		{"3F00/7FD0/5FC0/4F07", Transparent, 118, 0, 0x07, ARR{0x6F06, 4}, "a0020000ffff", "", ""},
		{"3F00/7FB0/6F03", Transparent, 32, 0, 0x05, ARR{0x6F06, 1}, "800d746573742e336770702e636f6dffff", "", ""},
		{"3F00/7F10/5F3A/4F14", LinearFixed, 400, 40, 8, ARR{0x2F06, 7}, "ffff", "", ""},                     // made by a GFM
		{"3F00/7F10/6F3C", LinearFixed, 1760, 176, 0, ARR{0x2F06, 11}, "00ff", "", "3F00/7FD0/6F3C"},         // a link
		{"3F00/7FC0/6F7C", Cyclic, 210, 42, 0, ARR{0x6F06, 6}, "ffff", "", "3F00/7FD0/6F80"},                 // a link out of an application
		{"3F00/7FD0/7F66/5F40/4F41", Transparent, 32, 0, 0, ARR{0x6F06, 8}, "06", "", "3F00/7F66/5F40/4F41"}, // a link that begins at the MF
		{"3F00/7FB0/6FFE", BERTLV, 1024, 0, 0, ARR{0x6F06, 4}, "", "", ""},
	} {
		f := chip.File(want.path)
		if f == nil {
			t.Errorf("%s is not there", want.path)
			continue
		}
		if f.Kind != want.kind || f.Size != want.size || f.RecordSize != want.unit || f.SFI != want.sfi || f.ARR != want.arr || f.Link != want.link {
			t.Errorf("%s: %s, %d bytes, records of %d, SFI %02X, rule %v, link %q", f.Path, f.Kind, f.Size, f.RecordSize, f.SFI, f.ARR, f.Link)
		}
		if begins := hex.EncodeToString(f.Content); len(begins) < len(want.begins) || begins[:len(want.begins)] != want.begins {
			t.Errorf("%s: holds %s, want %s", f.Path, begins, want.begins)
		}
		if access := hex.EncodeToString(f.Access); len(access) < len(want.access) || access[:len(want.access)] != want.access {
			t.Errorf("%s: access by %s, want %s", f.Path, access, want.access)
		}
	}
	if f := chip.File("3F00/7FD0/6F4F"); f.HighUpdate || !chip.File("3F00/7FD0/6F08").HighUpdate {
		t.Error("the marks of files that are written often are wrong")
	}
}

func TestExpandCodes(t *testing.T) {
	t.Parallel()
	chip, _ := mustDecode(t, published(t)[newest]).Expand()
	contexts := []Path{"3F00", "3F00", "3F00", "3F00/7F10", "3F00/7FD0", "3F00/7FC0", "3F00/7FB0"}
	for i, k := range chip.PINs {
		if k.Context != contexts[i] {
			t.Errorf("PIN %d belongs to %s", i, k.Context)
		}
	}
	pin := chip.PINs[0]
	if pin.Ref != 1 || pin.PUK != 1 || pin.Attributes != PINChangeable|PINDisableable || pin.Try != (Try{3, 3}) || chip.PINs[1].Try != (Try{10, 10}) || chip.PUKs[0].Try != (Try{10, 10}) {
		t.Errorf("PIN1 is %+v", pin)
	}
	if err := pin.Value.Reveal(func(b []byte) error {
		if string(b) != "0000\xFF\xFF\xFF\xFF" {
			t.Errorf("PIN1 is %x", b)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	a := chip.AKAs[0]
	if a.Context != "3F00/7FD0" || a.Algorithm != TestAlgorithm || a.K.Len() != 16 || a.SQNOptions != 2 || !slices.Equal(a.Rotation, defaultRotation) || a.Keccak != 1 || a.SQN != nil {
		t.Errorf("the USIM's parameters are %+v", a)
	}
	sd := chip.Domains[0]
	if hexOf(sd.AID) != "A000000151000000" || len(sd.Keys) != 6 || sd.Keys[5].KVN != 2 || sd.Keys[5].KID != 3 || sd.Keys[5].Type != 0x88 || sd.Keys[0].Type != 0x80 {
		t.Errorf("the security domain is %+v", sd)
	}
	if r := chip.RFMs[1]; hexOf(r.ADF) != "A0000000871002FF49FF0589" || hexOf(r.TARs[0]) != "B00140" || r.Security != 2 {
		t.Errorf("the second RFM is %+v", r)
	}
}

// TestTestPackageVariant holds the second way of TS.48 to say where PINs belong: a GFM that only chooses the directory.
func TestTestPackageVariant(t *testing.T) {
	t.Parallel()
	chip, _ := mustDecode(t, published(t)["TS48v1_B.der"]).Expand()
	if got := chip.PINs[3].Context; got != "3F00/7F10" {
		t.Errorf("the fourth PIN belongs to %s", got)
	}
}
