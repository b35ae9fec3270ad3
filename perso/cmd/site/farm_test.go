package site

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/persoline/persoline/lineside/chipfarm"
	"github.com/persoline/persoline/perso"
)

// newChipSite is a site of two lines that has what chips are made of, and nothing else.
func newChipSite(t *testing.T) *Site {
	t.Helper()
	products, err := filepath.Abs(filepath.Join("..", "..", "..", "deploy", "products"))
	if err != nil {
		t.Fatal(err)
	}
	s := &Site{Dir: t.TempDir(), Config: Config{Version: configVersion, Env: perso.EnvTest, Site: "S1", Lines: NumberedLines(2, 1, "")}}
	key := s.PartnerKey("kmc-m2m-200s")
	err = errors.Join(os.Mkdir(s.path("catalogue"), 0o700), os.Symlink(products, s.Catalogue("products")),
		os.MkdirAll(filepath.Dir(key), 0o700), os.WriteFile(key, []byte(strings.Repeat("0A", 16)), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestFarmsOfTwoLines: without a word about reel and seed, each line gets chips of its own.
func TestFarmsOfTwoLines(t *testing.T) {
	t.Parallel()
	s := newChipSite(t)
	chips := map[string]bool{}
	for _, line := range []perso.Name{"", "line-2"} {
		reel, seed, err := s.NextReel(line)
		if err != nil {
			t.Fatal(err)
		}
		files, err := s.MakeFarm(FarmPlan{Product: "m2m-200s-mff2", Line: line, Reel: reel, Seed: seed, Chips: 5})
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			_, list, _ := strings.Cut(string(text), `"chips"`)
			for _, id := range strings.Fields(strings.Trim(list, ": [\n]},")) {
				chips[strings.Trim(id, `",`)] = true
			}
		}
	}
	if len(chips) != 10 {
		t.Errorf("two farms of 5 chips have %d ids: %v", len(chips), chips)
	}
	if _, _, err := s.NextReel("line-3"); err == nil {
		t.Error("a line that is not there has a reel")
	}
}

// TestRefusedFarm: what is refused because of one goods-in list leaves neither the farm nor another list.
func TestRefusedFarm(t *testing.T) {
	t.Parallel()
	s := newChipSite(t)
	taken := s.path("goods-in-R-2-2.json") // the second list of a reel that is too large for one
	if err := os.WriteFile(taken, []byte("another's"), 0o600); err != nil {
		t.Fatal(err)
	}
	plan := FarmPlan{Product: "m2m-200s-mff2", Line: "line-2", Reel: "R-2", Seed: 2, Chips: chipfarm.MaxReelChips + 1}
	if _, err := s.MakeFarm(plan); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a list that is there already: %v", err)
	}
	for _, path := range []string{s.FarmDirOf("line-2"), s.path("goods-in-R-2-1.json")} {
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is left behind: %v", filepath.Base(path), err)
		}
	}
	if text, err := os.ReadFile(taken); err != nil || string(text) != "another's" {
		t.Errorf("the list that was there is %q, %v", text, err)
	}
	if err := os.Remove(taken); err != nil {
		t.Fatal(err)
	}
	if _, err := s.MakeFarm(plan); err != nil {
		t.Errorf("once nothing is in the way: %v", err)
	}
	if _, err := s.MakeFarm(plan); err == nil {
		t.Error("a line gets a second farm")
	}
	if _, err := os.Stat(s.FarmDirOf("line-2")); err != nil {
		t.Errorf("refusing a second farm took the first: %v", err)
	}
}
