package keygen

import (
	"testing"

	"github.com/persoline/persoline/perso/id"
)

// I1 holds across the profiles of a chip: a number of one lot's operational profile is no other lot's, in either of its own.
func TestSharedAcrossProfiles(t *testing.T) {
	t.Parallel()
	iccids := func(s string) id.ICCIDRange {
		c, err := id.ParseICCID(s)
		if err != nil {
			t.Fatal(err)
		}
		r, err := id.NewICCIDRange(c, 10)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	imsis := func(s string) id.IMSIRange {
		m, err := id.ParseIMSI(s, 2)
		if err != nil {
			t.Fatal(err)
		}
		r, err := id.NewIMSIRange(m, 10)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	a, b := iccids("8988001010000000006"), iccids("8988003010000000004")
	m, n := imsis("001010100000000"), imsis("999401000000000")
	two := Issued{ICCIDs: a, IMSIs: m, OperationalICCIDs: b, OperationalIMSIs: n}
	for name, c := range map[string]struct {
		other Issued
		want  string
	}{
		"ICCIDs of the bootstrap profile":   {Issued{ICCIDs: a}, "ICCIDs"},
		"ICCIDs of the operational one":     {Issued{ICCIDs: b}, "ICCIDs"},
		"both operational":                  {Issued{OperationalICCIDs: b}, "ICCIDs"},
		"its operational, our bootstrap":    {Issued{OperationalIMSIs: m}, "IMSIs"},
		"IMSIs of the operational one":      {Issued{IMSIs: n}, "IMSIs"},
		"nothing, and empty ranges are not": {Issued{}, ""},
	} {
		if got := two.shared(c.other); got != c.want {
			t.Errorf("%s: %q", name, got)
		}
		if got := c.other.shared(two); got != c.want {
			t.Errorf("%s, the other way: %q", name, got)
		}
	}
}
