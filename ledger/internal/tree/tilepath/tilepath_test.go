package tilepath

import (
	"fmt"
	"slices"
	"testing"
)

func TestPath(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]Tile{
		"tile/0/x001/x234/067":           {Level: 0, N: 1_234_067, Width: 256},
		"tile/0/x001/067.p/3":            {Level: 0, N: 1_067, Width: 3},
		"tile/entries/000.p/255":         {Level: Entries, N: 0, Width: 255},
		"tile/entries/x001/000":          {Level: Entries, N: 1_000, Width: 256},
		"tile/63/999":                    {Level: 63, N: 999, Width: 256},
		"tile/1/x036/x028/x797/x018/963": {Level: 1, N: 36_028_797_018_963, Width: 256},
	} {
		if got := want.Path(); got != path {
			t.Errorf("%+v is %q, want %q", want, got, path)
		}
		if got, err := Parse(path); err != nil || got != want {
			t.Errorf("%q is %+v, %v", path, got, err)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for _, path := range []string{
		"", "tile", "tile/0", "tile/0/", "tile/0/1", "tile/0/0001", "tile/0/x000/001", "tile/0/001/067", "tile/0/x001067",
		"tile/0/000.p/0", "tile/0/000.p/256", "tile/0/000.p/03", "tile/0/000.p/", "tile/00/000", "tile/-1/000", "tile/64/000",
		"/tile/0/000", "tile/0/000/", "tile/8/0/000", "tile/0/x999/x999/x999/x999/x999/x999/999", "0/000", "tile/+1/000", "tile/0/-01",
	} {
		if got, err := Parse(path); err == nil {
			t.Errorf("%q was read as %+v", path, got)
		}
	}
}

// TestCover uses the example of the tlog-tiles specification.
func TestCover(t *testing.T) {
	t.Parallel()
	got := map[string]int{}
	for _, tile := range Cover(70_000) {
		kind := "full"
		if tile.Width < Width {
			kind = fmt.Sprintf("partial %d", tile.Width)
		}
		got[fmt.Sprintf("%d %s", tile.Level, kind)]++
	}
	want := map[string]int{"-1 full": 273, "-1 partial 112": 1, "0 full": 273, "0 partial 112": 1, "1 full": 1, "1 partial 17": 1, "2 partial 1": 1}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if n := len(Cover(0)); n != 0 {
		t.Errorf("empty log has %d tiles", n)
	}
	if got := Cover(1); !slices.Equal(got, []Tile{{Entries, 0, 1}, {0, 0, 1}}) {
		t.Errorf("log of one entry: %+v", got)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"tile/0/x001/x234/067", "tile/entries/000.p/255", "tile/7/999.p/1", "tile/0/x001/067.p/3", "tile/x/000"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, path string) {
		tile, err := Parse(path)
		if err == nil && (tile.Path() != path || tile.check() != nil) {
			t.Errorf("%q was read as %+v", path, tile)
		}
	})
}
