package cli

import (
	"bytes"
	"crypto/ed25519"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/persoline/persoline/ledger/audit/audittest"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/statement"
)

// TestDestroyKeys drafts, signs and submits the end of a lot's key.
func TestDestroyKeys(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	vault := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{3}, 32))
	closed, gone := epoch.AddDate(0, -2, 0), (*bus.GoneLot)(nil)
	office := ledger{
		bus.OfficeClosing: answer(func(q bus.LotRequest) (bus.ClosingReply, error) {
			return bus.ClosingReply{Env: perso.EnvTest, Site: "S1", Lot: q.Lot, Release: [32]byte{1}, Close: [32]byte{2}, Now: epoch, Closed: closed, Gone: gone}, nil
		}),
		bus.OfficeDestroy: answer(func(q bus.SignedRequest) (bus.DestroyReply, error) {
			s := audittest.Must(statement.DecodeSigned(q.Signed))
			d := audittest.Must(statement.ParseDestroy(s.Body))
			c := statement.Signed{Body: audittest.Must(statement.Destroyed{Env: d.Env, Vault: "V1", Lot: d.Lot, Keys: []string{"persoline/test/lot/L1"}, Destroy: s.Hash(),
				Copies: uint64(len(d.Copies)), At: epoch}.Encode())}
			c.Sign("V1", vault)
			return bus.DestroyReply{Lot: d.Lot, Certificate: c.Encode()}, nil
		}),
	}
	draft := []string{"lot", "draft-destroy", "L1", "--retained", "2027-02-01", "--copy", "hsm-2, second room, Dora Example, Emil Example", "-o", at("d")}
	if r := run(t, office, nil, draft...); r.code != ExitOK {
		t.Fatalf("%+v", r)
	}
	if r := run(t, office, nil, "officer", "new", "prod-1", "--person", "First Person", "--role", "production", "-o", at("k")); r.code != ExitOK {
		t.Fatalf("%+v", r)
	}
	r := run(t, office, nil, "officer", "sign", at("d"), "--key", at("k"), "--yes")
	if r.code != ExitOK || !strings.Contains(r.err, "place second room\nseen_by Dora Example\nand_by Emil Example") {
		t.Fatalf("%+v", r)
	}
	r = run(t, office, nil, "lot", "destroy-keys", at("d.signed"), "-o", at("certificate"))
	if r.code != ExitOK || !strings.Contains(r.out, "environment test: key persoline/test/lot/L1 is off the token of vault V1") || !strings.Contains(r.out, "1 copies were signed off") {
		t.Errorf("%+v", r)
	}
	if b, err := os.ReadFile(at("certificate")); err != nil || !bytes.HasPrefix(b, []byte("persoline/1 lot-destroyed\n")) {
		t.Errorf("%q, %v", b, err)
	}
	for name, args := range map[string][]string{
		"no day":         {"lot", "draft-destroy", "L1", "--retained", "soon"},
		"no retention":   {"lot", "draft-destroy", "L1"},
		"seen by one":    {"lot", "draft-destroy", "L1", "--retained", "2027-02-01", "--copy", "hsm-2,room,Dora,dora"},
		"without a room": {"lot", "draft-destroy", "L1", "--retained", "2027-02-01", "--copy", "hsm-2,Dora,Emil"},
	} {
		if r := run(t, office, nil, args...); r.code != ExitUsage {
			t.Errorf("%s: %+v", name, r)
		}
	}
	if r := run(t, office, nil, "lot", "destroy-keys", at("d")); r.code != ExitFailed {
		t.Errorf("a draft was sent: %+v", r)
	}
	closed = epoch.AddDate(10, 0, 0)
	draft[len(draft)-1] = at("e")
	if r := run(t, office, nil, draft...); r.code != ExitFailed || !strings.Contains(r.err, "before the lot was closed at") {
		t.Errorf("retention before the closing: %+v", r)
	}
	closed, gone = epoch, new(bus.GoneLot)
	if r := run(t, office, nil, draft...); r.code != ExitFailed || !strings.Contains(r.err, "its key is destroyed: another statement ordered it already") {
		t.Errorf("destroyed already: %+v", r)
	}
}
