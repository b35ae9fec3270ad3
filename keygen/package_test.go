package keygen_test

import (
	"bytes"
	"crypto/sha256"
	"reflect"
	"strings"
	"testing"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/order/auth"
	"github.com/persoline/persoline/perso/saip"
	"github.com/persoline/persoline/perso/statement"
)

// What the chip was loaded with is the released package with this unit's numbers, and differs from another card's in every secret.
func TestLoadsThePackageOfTheCard(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.openLot()
	var loaded [][]byte
	for unit := range byte(2) {
		c := newCard(t, testKMC, unit+1)
		u := r.claimUnit(c, perso.Unit(unit), perso.EIDIndex(unit))
		if got := u.session(); !got.Good {
			t.Fatalf("%+v %+v", got, got.Failed)
		}
		p, err := saip.Decode(bytes.Clone(c.pkg))
		if err != nil {
			t.Fatal(err)
		}
		iccid, err := r.release.ICCIDs.At(uint64(unit))
		if err != nil {
			t.Fatal(err)
		}
		ef := iccid.EFBytes()
		if chip, _ := p.Expand(); !bytes.Equal(chip.Named("mf/ef-iccid").Content, ef[:]) {
			t.Errorf("unit %d has another ICCID", unit)
		}
		template, err := saip.Compile(p)
		if err != nil {
			t.Fatal(err)
		}
		released, err := saip.Decode(bytes.Clone(r.packages[0]))
		if err != nil {
			t.Fatal(err)
		}
		if of, err := saip.Compile(released); err != nil || of.Hash() != template.Hash() {
			t.Errorf("unit %d: what is not of a card was changed, %v", unit, err)
		}
		loaded = append(loaded, c.pkg)
	}
	p, err := saip.Decode(bytes.Clone(loaded[0]))
	if err != nil {
		t.Fatal(err)
	}
	points, err := p.Points()
	if err != nil {
		t.Fatal(err)
	}
	for _, pt := range points {
		a, b := loaded[0][pt.Offset:pt.Offset+pt.Length], loaded[1][pt.Offset:pt.Offset+pt.Length]
		if pt.Secret && (bytes.Equal(a, b) || len(bytes.Trim(a, "\x00")) == 0) {
			t.Errorf("%s is the same on two cards, or empty", pt.Name)
		}
	}
}

// A chip that says no is no good unit, whatever it proves later; one that says yes in other words is.
func TestReportOfTheChip(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		report []byte
		good   bool
	}{
		"installed":      {nil, true},
		"refused":        {unhexed("3009A0053003800106 8100"), false},
		"in other words": {unhexed("300BA005300380010082026F6B"), true},
		"no report":      {[]byte{1, 2, 3}, false},
	} {
		r := newRig(t)
		r.openLot()
		card := newCard(t, testKMC, 1)
		card.report = c.report
		u := r.claimUnit(card, 0, 0)
		if got := u.session(); got.Good != c.good {
			t.Errorf("%s: %+v %+v", name, got.Good, got.Failed)
		}
	}
}

func unhexed(s string) (b []byte) {
	for i := 0; i < len(s); i += 2 {
		for s[i] == ' ' {
			i++
		}
		b = append(b, hexDigit(s[i])<<4|hexDigit(s[i+1]))
	}
	return b
}

func hexDigit(c byte) byte { return byte(strings.IndexByte("0123456789ABCDEF", c)) }

// The vault takes the packages that officers released, and makes no lot that it could not prove.
func TestRefusesPackages(t *testing.T) {
	t.Parallel()
	release := func(change func(*rig, *statement.Release)) func(*rig) bus.OpenLotRequest {
		return func(r *rig) bus.OpenLotRequest {
			r.ownPackages = true
			rel := r.release
			r.named(&rel)
			change(r, &rel)
			r.signed = r.sign(rel, "ann", "bob")
			return r.openRequest()
		}
	}
	for want, request := range map[string]func(*rig) bus.OpenLotRequest{
		"0 profile packages came": func(r *rig) bus.OpenLotRequest { q := r.openRequest(); q.Packages = nil; return q },
		"not the one released": func(r *rig) bus.OpenLotRequest {
			q := r.openRequest()
			q.Packages = [][]byte{append(bytes.Clone(r.packages[0]), 0)}
			return q
		},
		"which was not released": release(func(r *rig, rel *statement.Release) { rel.Packages[0].Variable = "OTHER" }),
		"byte":                   release(func(r *rig, rel *statement.Release) { r.putPackage(rel, r.packages[0][:100]) }),
		"does not authenticate by": release(func(r *rig, rel *statement.Release) {
			r.putPackage(rel, r.shippedPackage(mustAlgorithm(t, "tuak k=128")))
		}),
		"identities of the profile speak of":         release(func(r *rig, rel *statement.Release) { rel.IMSIs = otherNetwork(t) }),
		"AID.USIM is not that of the package's USIM": release(func(_ *rig, rel *statement.Release) { setConstant(rel, "AID.USIM", aidISDP) }),
		"PROFILE.POL1 is not what the package says":  release(func(_ *rig, rel *statement.Release) { setConstant(rel, "PROFILE.POL1", []byte{1}) }),
		"was compiled for another length of package": release(func(r *rig, rel *statement.Release) { r.putPackage(rel, r.longer()) }),
	} {
		r := newRig(t)
		if _, err := r.vault.OpenLot(ctx, request(r)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

func mustAlgorithm(t *testing.T, s string) auth.Algorithm {
	a, err := auth.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func otherNetwork(t *testing.T) id.IMSIRange {
	imsi, err := id.ParseIMSI("001010000000001", 2)
	if err != nil {
		t.Fatal(err)
	}
	all, err := id.NewIMSIRange(imsi, 3)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func setConstant(rel *statement.Release, name string, value []byte) {
	for i := range rel.Constants {
		if rel.Constants[i].Name == name {
			rel.Constants[i].Value = value
		}
	}
}

// putPackage releases other bytes in the place of the rig's package.
func (r *rig) putPackage(rel *statement.Release, b []byte) {
	r.packages = [][]byte{b}
	rel.Packages[0].Hash = sha256.Sum256(b)
}

// longer is the rig's package with a longer profile type.
func (r *rig) longer() []byte {
	p, err := saip.Decode(bytes.Clone(r.packages[0]))
	if err == nil {
		p, err = saip.Prepare(p, saip.Lot{ProfileType: strings.Repeat("long", 10)})
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return p.Bytes()
}

// The answers to the package are kept by the vault's own word: the act that is asked again is answered alike.
func TestPackageActAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.openLot()
	u := r.claimUnit(newCard(t, testKMC, 1), 0, 0)
	item, _ := u.toAct(2)
	first := u.serve(item)
	r.reopenVault()
	r.openLot()
	if again := u.serve(item); len(first.Window) < 15 || !reflect.DeepEqual(first, again) {
		t.Errorf("%d commands, and another answer when asked again", len(first.Window))
	}
}
