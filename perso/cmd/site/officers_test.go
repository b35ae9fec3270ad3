package site

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/cmd/cli/keyfile"
	"github.com/persoline/persoline/perso/statement"
)

// TestOfficersOfATestSite: a test site's register can authorize what its lots may need, each word with a key that lies in its folder, and
// quality and order desk sign for no more than their own.
func TestOfficersOfATestSite(t *testing.T) {
	t.Parallel()
	s := &Site{Dir: t.TempDir()}
	if err := os.Mkdir(filepath.Join(s.Dir, "officers"), 0o700); err != nil {
		t.Fatal(err)
	}
	keys, err := s.makeOfficers()
	if err != nil {
		t.Fatal(err)
	}
	reg := registerOf(t, keys)
	head := statement.Header{Env: reg.Env, Site: reg.Site, At: registerBegan, Nonce: [32]byte{2}}
	policy := func() ([]byte, error) { return statement.Policy{Header: head, FirstArticle: 2}.Encode() }
	article := func() ([]byte, error) {
		return statement.FirstArticle{Header: head, Lot: "L1", Good: 2, Finding: "as ordered"}.Encode()
	}
	samples := func() ([]byte, error) {
		return statement.Samples{Header: head, Lot: "L1", Examined: 2, Finding: "as ordered"}.Encode()
	}
	taken := func() ([]byte, error) {
		return statement.Desk{Header: head, Kind: statement.KindTaken, Order: "O1", Reason: "read back"}.Encode()
	}
	production, security, quality, desk := DemoOfficers[0].ID, DemoOfficers[1].ID, DemoQuality.ID, DemoOrderDesk.ID
	for _, c := range []struct {
		what string
		body func() ([]byte, error)
		by   []perso.Name
		may  bool
	}{
		{"a policy", policy, []perso.Name{production, security}, true},
		{"a policy", policy, []perso.Name{production, desk}, false},
		{"a first article", article, []perso.Name{quality}, true},
		{"a first article", article, []perso.Name{production, security, desk}, false},
		{"samples", samples, []perso.Name{quality}, true},
		{"samples", samples, []perso.Name{production}, false},
		{"an order's taking", taken, []perso.Name{desk}, true},
		{"an order's taking", taken, []perso.Name{production, security, quality}, false},
	} {
		body, err := c.body()
		if err != nil {
			t.Fatal(err)
		}
		word := statement.Signed{Body: body}
		for _, id := range c.by {
			k, err := keyfile.Load(s.OfficerKey(id))
			if err != nil {
				t.Fatal(err)
			}
			k.Sign(&word)
		}
		if err := reg.Authorize(word); (err == nil) != c.may {
			t.Errorf("%s signed by %q: %v", c.what, c.by, err)
		}
	}
}

var registerBegan = time.Date(2027, 3, 1, 8, 0, 0, 0, time.UTC)

// registerOf is the register that begins with those who have the keys.
func registerOf(t *testing.T, keys []keyfile.Key) *statement.Register {
	t.Helper()
	g := statement.Genesis{Env: perso.EnvTest, Site: "S1", At: registerBegan, Nonce: [32]byte{1}}
	for _, k := range keys {
		g.Officers = append(g.Officers, k.Officer)
	}
	body, err := g.Encode()
	if err != nil {
		t.Fatal(err)
	}
	first := statement.Signed{Body: body}
	for _, k := range keys {
		k.Sign(&first)
	}
	reg, err := statement.NewRegister(first.Hash(), []statement.Signed{first})
	if err != nil {
		t.Fatal(err)
	}
	return reg
}
