package sitetest

import (
	"flag"
	"testing"
)

// TestBound: more parallel tests than factories are brought down, fewer stay.
func TestBound(t *testing.T) {
	const name = "test.parallel"
	before := flag.Lookup(name).Value.String()
	defer func() { _ = flag.Set(name, before) }()
	for asked, want := range map[string]string{"16": "2", "2": "2", "1": "1"} {
		if err := flag.Set(name, asked); err != nil {
			t.Fatal(err)
		}
		if err := Bound(); err != nil {
			t.Fatal(err)
		}
		if got := flag.Lookup(name).Value.String(); got != want {
			t.Errorf("of %s, %s are left; want %s", asked, got, want)
		}
	}
}
