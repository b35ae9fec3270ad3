package audit

import (
	"maps"
	"slices"
	"testing"

	"github.com/persoline/persoline/perso/entry"
)

// TestEveryKindIsRead: the auditor reads every kind that a log may have, and no other.
func TestEveryKindIsRead(t *testing.T) {
	t.Parallel()
	if got, want := slices.Sorted(maps.Keys(parsers)), slices.Sorted(slices.Values(entry.Kinds())); !slices.Equal(got, want) {
		t.Errorf("read %v, there are %v", got, want)
	}
}
