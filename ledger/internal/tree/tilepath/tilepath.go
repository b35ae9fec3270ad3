// Package tilepath names the files of a log in C2SP tlog-tiles form, of height 8: "tile/<level>/<n>[.p/<width>]" for
// hashes and "tile/entries/<n>[.p/<width>]" for entries, n in groups of three digits ("x001/067").
//
// It is separate from tree because the offline auditor, who reads these files, uses no database. Any package may use it.
package tilepath

import (
	"fmt"
	"strconv"
	"strings"
)

// Width is the number of hashes, or entries, in a full tile (tlog-tiles: height 8).
const Width = 256

// MaxLevel is the highest level that tlog-tiles allows; ours end at 7, since sizes are int64.
const MaxLevel = 63

// Entries is the Level of a tile of entries.
const Entries = -1

// groupBase: three digits per path element keep folders below about a thousand names.
const groupBase = 1000

// Tile names one tile: Width from 1 to 256, less than 256 only at the right edge of a published size.
type Tile struct {
	Level int // 0 for leaf hashes, Entries for entries
	N     int64
	Width int
}

// Path is the tile's file name relative to the log's prefix.
func (t Tile) Path() string {
	level := "entries"
	if t.Level != Entries {
		level = strconv.Itoa(t.Level)
	}
	n := fmt.Sprintf("%03d", t.N%groupBase)
	for rest := t.N / groupBase; rest > 0; rest /= groupBase {
		n = fmt.Sprintf("x%03d/%s", rest%groupBase, n)
	}
	if t.Width == Width {
		return "tile/" + level + "/" + n
	}
	return "tile/" + level + "/" + n + ".p/" + strconv.Itoa(t.Width)
}

// Parse reads a path in its only spelling.
func Parse(path string) (Tile, error) {
	t := Tile{Width: Width}
	level, rest, ok := strings.Cut(strings.TrimPrefix(path, "tile/"), "/")
	if rest, w, partial := strings.Cut(rest, ".p/"); ok {
		if partial {
			t.Width, _ = strconv.Atoi(w)
		}
		t.Level, _ = strconv.Atoi(level)
		if level == "entries" {
			t.Level = Entries
		}
		digits := strings.ReplaceAll(strings.ReplaceAll(rest, "/", ""), "x", "")
		t.N, _ = strconv.ParseInt(digits, 10, 64)
	}
	// Whatever was misread above spells another path.
	if err := t.check(); err != nil || t.Path() != path {
		return Tile{}, fmt.Errorf("parsing tile path %q: it is not in tlog-tiles form", path)
	}
	return t, nil
}

func (t Tile) check() error {
	if t.Level < Entries || t.Level > MaxLevel || t.N < 0 || t.Width < 1 || t.Width > Width {
		return fmt.Errorf("tile level %d, number %d, width %d is out of range", t.Level, t.N, t.Width)
	}
	return nil
}

// Cover lists the tiles that hold a log of size entries: full ones first, then the partial one, level by level from the
// entries up.
func Cover(size int64) []Tile {
	tiles := coverLevel(nil, Entries, size)
	for level, count := 0, size; count > 0; level, count = level+1, count/Width {
		tiles = coverLevel(tiles, level, count)
	}
	return tiles
}

func coverLevel(tiles []Tile, level int, count int64) []Tile {
	for n := range count / Width {
		tiles = append(tiles, Tile{Level: level, N: n, Width: Width})
	}
	if w := count % Width; w > 0 {
		tiles = append(tiles, Tile{Level: level, N: count / Width, Width: int(w)})
	}
	return tiles
}
