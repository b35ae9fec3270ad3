package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/statement"
)

// TestFreezeAndUnfreeze: one command freezes with a signature that holds; a draft lifts the freeze in force and no other.
func TestFreezeAndUnfreeze(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	key := filepath.Join(dir, "sec.key")
	if r := run(t, nil, nil, "officer", "new", "sec", "--person", "Second Person", "--role", "security", "-o", key); r.code != ExitOK {
		t.Fatal(r.err)
	}
	var asked []byte
	standing := bus.StandingReply{Env: perso.EnvTest, Site: "site-1", Now: epoch}
	office := ledger{
		bus.OfficeStanding: answer(func(bus.Empty) (bus.StandingReply, error) { return standing, nil }),
		bus.OfficeWord: answer(func(q bus.SignedRequest) (bus.WordReply, error) {
			asked = q.Signed
			s, err := statement.DecodeSigned(q.Signed)
			a := bus.WordReply{Kind: "freeze", Hash: s.Hash(), Unknown: !bytes.Contains(s.Body, []byte("\nname L1\n")), Untold: []perso.Name{"vault-2"}}
			if a.Unknown {
				a.Apart = []bus.VaultApart{{Vault: "vault-2", Why: "word 2 differs"}}
			}
			return a, err
		}),
	}
	if r := run(t, office, nil, "freeze", "lot", "L1", "--reason", "a drill", "--key", key, "--yes"); r.code != ExitOK || r.out != "lot L1 is frozen\n" || !strings.Contains(r.err, "vault vault-2 does not answer") || strings.Contains(r.err, "NOTHING STOPS") {
		t.Fatalf("exit %d: %s%s", r.code, r.out, r.err)
	}
	s, err := statement.DecodeSigned(asked)
	if r := run(t, office, nil, "freeze", "line", "line-9", "--reason", "a drill", "--key", key, "--yes"); r.code != ExitOK || !strings.Contains(r.err, "NOTHING STOPS") || !strings.Contains(r.err, "VAULT vault-2 IS NOT BOUND BY THIS: word 2 differs") || strings.Contains(r.err, "does not answer") {
		t.Errorf("a name that nothing has: exit %d: %s", r.code, r.err)
	}
	if err != nil || len(s.Signatures) != 1 {
		t.Fatalf("%+v, %v", s, err)
	}
	if f, err := statement.ParseFreeze(s.Body); err != nil || f.What != statement.FrozenLot || f.Name != "L1" || f.Reason != "a drill" || f.Site != "site-1" {
		t.Errorf("%+v, %v", f, err)
	}
	standing.Frozen = []bus.FrozenThing{{What: "lot", Name: "L1", Reason: "a drill", Hash: s.Hash(), Since: epoch}}
	draft := filepath.Join(dir, "unfreeze")
	if r := run(t, office, nil, "draft-unfreeze", "lot", "L1", "--reason", "over", "-o", draft); r.code != ExitOK {
		t.Fatal(r.err)
	}
	body, err := os.ReadFile(draft)
	if f, perr := statement.ParseFreeze(body); err != nil || perr != nil || f.Kind != statement.KindUnfreeze || f.Lifts != s.Hash() {
		t.Errorf("%+v, %v, %v", f, err, perr)
	}
	if r := run(t, office, nil, "officer", "sign", draft, "--key", key, "--yes"); r.code != ExitOK {
		t.Error(r.err)
	}
	if r := run(t, office, nil, "unfreeze", draft+".signed"); r.code != ExitOK {
		t.Error(r.err)
	}
	if r := run(t, office, nil, "frozen"); !strings.Contains(r.out, "a drill") {
		t.Error(r.out)
	}
	for _, args := range []string{"freeze all L1 --reason x --key " + key, "freeze lot L1 --key " + key, "freeze lot L1 --reason x", "draft-unfreeze pocket L1 --reason x"} {
		if r := run(t, office, nil, strings.Fields(args)...); r.code != ExitUsage {
			t.Errorf("%s: exit %d, %s", args, r.code, r.err)
		}
	}
	if r := run(t, office, nil, "draft-unfreeze", "line", "L1", "--reason", "x"); r.code != ExitFailed || !strings.Contains(r.err, "is not frozen") {
		t.Errorf("of what is not frozen: %s", r.err)
	}
}
