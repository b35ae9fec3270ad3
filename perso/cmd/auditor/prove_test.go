package auditor

import (
	"strings"
	"testing"

	"github.com/persoline/persoline/perso/cmd/console"
	"github.com/persoline/persoline/perso/statement"
)

// TestWordlessByHash: words that are not there are named by the hash by which people find them, in hex once.
func TestWordlessByHash(t *testing.T) {
	t.Parallel()
	var w strings.Builder
	proved{Wordless: []wordless{{Seq: 7, Kind: statement.KindRelease, Hash: console.Digest{0x83, 0xab}, Deleted: true}}}.writeWordless(&w)
	want := "without the words of 83ab" + strings.Repeat("00", 30) + ": release, log entry 7: officers had them deleted after delivery\n"
	if w.String() != want {
		t.Errorf("%q, want %q", w.String(), want)
	}
}
