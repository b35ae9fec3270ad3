package site

import (
	"os"
	"slices"
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
	s := &Site{Dir: t.TempDir(), Config: Config{Lines: []Line{{Name: "line-1", Heads: 4}, {Name: "line-2", Heads: 3, Transport: TransportPCSC}}}}
	for _, l := range s.Config.Lines {
		if err := os.Mkdir(s.FarmDirOf(l.Name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	var farms []string
	for _, p := range s.Processes() {
		if p.Args[0] == "chip" {
			farms = append(farms, p.Name+": "+strings.Join(p.Args[:len(p.Args)-2], " "))
		}
	}
	if want := []string{"farm: chip farm --line line-1", "farm-line-2: chip farm --vpcd 3 --line line-2"}; !slices.Equal(farms, want) {
		t.Errorf("farms %q, want %q", farms, want)
	}
	line, heads := s.FarmReaders()
	if line != "line-2" || heads != 3 || s.PCSCD() != s.Dir+"/readers/pcscd.comm" {
		t.Errorf("%d readers of %q, pcscd at %q", heads, line, s.PCSCD())
	}
}
