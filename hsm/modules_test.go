package hsm_test

import (
	"slices"
	"testing"

	"github.com/persoline/persoline/hsm"
	"github.com/persoline/persoline/hsm/hsmtest"
	"github.com/persoline/persoline/hsm/nss"
)

// The capability matrix: what each module has and keeps. A test asserts every
// cell, also what is not there.
var matrix = []struct {
	name  string
	lend  func(testing.TB) *hsm.Token
	fresh func(testing.TB) hsm.Config // of an empty token of the test's own
	eddsa bool
	gaps  []hsm.Gap
	lacks []hsm.Class // for want of a curve
	// open is what the module lets a logged-in client do with a key against
	// policy.go, by the kind of key.
	open map[string][]string
	// crashes: C_SignInit with an HMAC key after C_Logout kills the process
	// (softoken 3.87). Nothing in the product logs out; a session whose login
	// was lost otherwise is asked for it before use.
	crashes bool
}{
	{name: "SoftHSM", lend: hsmtest.SoftHSM, fresh: freshSoftHSM, eddsa: true},
	{name: "NSS", crashes: true, lend: hsmtest.NSS, fresh: freshNSS, gaps: nss.Gaps(), lacks: []hsm.Class{hsm.ClassEUMBrainpool}, open: map[string][]string{
		"mac":  {"CMAC", "HMAC-SHA-512", "copying it"},
		"ecb":  {"CBC", "copying it"},
		"3des": {"copying it"}, "receive": {"copying it"},
		"seal": {"CBC", "ECB decryption", "copying it"},
		"rsa":  {"RSA of any block", "RSA with SHA-256", "copying it"},
		"pair": {"CMAC", "ECDSA with SHA-256", "HMAC-SHA-512", "copying it"}, // an EC scalar as a MAC key, too,
	}},
}

// under is a module under test, with its row of the matrix.
type under struct {
	tok   *hsm.Token
	eddsa bool
	gaps  []hsm.Gap
	lacks []hsm.Class
	open  map[string][]string

	crashes bool
}

// classes are those that the module can have.
func (u under) classes() []hsm.Class {
	return slices.DeleteFunc(hsm.Classes(), func(c hsm.Class) bool { return slices.Contains(u.lacks, c) })
}

// onEachModule is not parallel: a process has a module once.
func onEachModule(t *testing.T, test func(*testing.T, under)) {
	for _, m := range matrix {
		t.Run(m.name, func(t *testing.T) {
			test(t, under{tok: m.lend(t), eddsa: m.eddsa, gaps: m.gaps, lacks: m.lacks, open: m.open, crashes: m.crashes})
		})
	}
}

func freshSoftHSM(t testing.TB) hsm.Config {
	t.Helper()
	module := hsmtest.RequireSoftHSM(t)
	if err := hsmtest.NewSoftHSM(hsmtest.TempDir(t)); err != nil {
		t.Fatal(err)
	}
	return hsmtest.TestConfig(module)
}

func freshNSS(t testing.TB) hsm.Config {
	t.Helper()
	hsmtest.RequireNSS(t)
	cfg, err := hsmtest.NewNSS(hsmtest.TempDir(t))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}
