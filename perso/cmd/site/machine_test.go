package site

import (
	"strings"
	"testing"
)

func TestLines(t *testing.T) {
	t.Parallel()
	two := []string{"a", "b"}
	for name, c := range map[string]struct {
		lines []Line
		wrong string // part of the error; empty for none
	}{
		"farm":                {[]Line{{Name: "line-1", Heads: 200}}, ""},
		"farm, said so":       {[]Line{{Name: "line-1", Heads: 2, Transport: TransportFarm}}, ""},
		"farm with readers":   {[]Line{{Name: "line-1", Heads: 2, Readers: two}}, "readers are named"},
		"the farm's readers":  {[]Line{{Name: "line-1", Heads: 15, Transport: TransportPCSC}}, ""},
		"too many of them":    {[]Line{{Name: "line-1", Heads: 16, Transport: TransportPCSC}}, "15 at most"},
		"two lines want them": {[]Line{{Name: "line-1", Heads: 2, Transport: TransportPCSC}, {Name: "line-2", Heads: 2, Transport: TransportPCSC}}, "2 lines"},
		"named readers":       {[]Line{{Name: "line-1", Heads: 2, Transport: TransportPCSC, Readers: two}}, ""},
		"a reader too few":    {[]Line{{Name: "line-1", Heads: 3, Transport: TransportPCSC, Readers: two}}, "2 readers"},
		"modems":              {[]Line{{Name: "line-1", Heads: 2, Transport: TransportAT, Readers: two, ATRCommand: "AT+ATR?"}}, ""},
		"modems without ATR":  {[]Line{{Name: "line-1", Heads: 2, Transport: TransportAT, Readers: two}}, "atr_command"},
		"modems without port": {[]Line{{Name: "line-1", Heads: 2, Transport: TransportAT, ATRCommand: "AT+ATR?"}}, "0 readers"},
		"pigeons":             {[]Line{{Name: "line-1", Heads: 2, Transport: "pigeon"}}, "pigeon"},
	} {
		err := checkLines(c.lines)
		if (err == nil) != (c.wrong == "") || err != nil && !strings.Contains(err.Error(), c.wrong) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestFarmOfReaders(t *testing.T) {
	t.Parallel()
	s := &Site{Dir: "/site", Config: Config{Lines: []Line{{Name: "line-1", Heads: 4}, {Name: "line-2", Heads: 3, Transport: TransportPCSC}}}}
	var farm string
	for _, p := range s.Processes(true) {
		if p.Name == ZoneFarm {
			farm = strings.Join(p.Args, " ")
		}
	}
	if s.FarmReaders() != 3 || !strings.HasPrefix(farm, "chip farm --vpcd 3 ") || s.PCSCD() != "/site/readers/pcscd.comm" {
		t.Errorf("%d readers, farm %q, pcscd at %q", s.FarmReaders(), farm, s.PCSCD())
	}
}
