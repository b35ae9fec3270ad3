package keygen

import (
	"strings"
	"testing"

	"github.com/persoline/persoline/keygen/transport"
	"github.com/persoline/persoline/perso/saip"
)

// What a key is follows from its type and length; whatever is no key with a check value is told as bytes.
func TestPlaceKind(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		use    saip.Use
		length int
		want   string
		check  transport.Check
	}{
		{saip.Use{Kind: saip.UseKey, Type: 0x88}, 16, "aes-128", transport.CheckAES},
		{saip.Use{Kind: saip.UseKey, Type: 0x88}, 32, "aes-256", transport.CheckAES},
		{saip.Use{Kind: saip.UseKey, Type: 0x80}, 16, "3des-2key", transport.CheckTDES},
		{saip.Use{Kind: saip.UseKey, Type: 0x82}, 24, "3des-3key", transport.CheckTDES},
		{saip.Use{Kind: saip.UseKey, Type: 0x80}, 8, "bytes-8", transport.CheckNone},
		{saip.Use{Kind: saip.UseKey, Type: 0x85}, 16, "bytes-16", transport.CheckNone},
		{saip.Use{Kind: saip.UseCDMA}, 8, "bytes-8", transport.CheckNone},
	} {
		if kind, check := placeKind(c.use, c.length); kind != c.want || check != c.check {
			t.Errorf("%+v of %d bytes is %s with check %d, want %s, %d", c.use, c.length, kind, check, c.want, c.check)
		}
	}
}

// Each secret of a card leaves once: with the usual columns, or as one of the package's.
func TestOnlyPlaced(t *testing.T) {
	t.Parallel()
	for kind, want := range map[saip.UseKind]bool{
		saip.UseNumber: false, saip.UseKi: false, saip.UseOPc: false, saip.UsePIN1: false, saip.UsePIN2: false, saip.UsePUK1: false, saip.UsePUK2: false,
		saip.UseADM1: false, saip.UseADM2: true, saip.UseADM3: true, saip.UseADM4: true, saip.UseKey: true, saip.UseCDMA: true,
	} {
		if got := onlyPlaced(saip.Use{Kind: kind}); got != want {
			t.Errorf("%s: %v", kind, got)
		}
	}
	if p := (placed{name: "sd.01.0a"}); p.column() != strings.ToUpper(p.name) {
		t.Error(p.column())
	}
}
