package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/persoline/persoline/ledger/audit/audittest"
	"github.com/persoline/persoline/ledger/bundle/layout"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/checkpoint"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/statement"
)

// writeBundles puts audit bundles into a folder: good; earlier, of the same log when it was shorter, and forked, of another one that
// begins like it; spoilt, with one byte changed; silent, sealed anew without a log tile;
// a witness's key; and pins, the flags that belong to them.
func writeBundles(dir string) error {
	s := audittest.New()
	lot := s.Release("L1", 0, 3, 2)
	earlier := s.Bundle("L1")
	fork := *s
	fork.Entries = slices.Clone(s.Entries)
	lot.Finish()
	bundle := s.Bundle("L1")
	for len(fork.Entries) < len(s.Entries)+1 {
		fork.Append(entry.Order{Commit: audittest.Hash("another"), Good: 1, At: fork.Tick()})
	}
	spoilt := fstest.MapFS{}
	for name, f := range bundle {
		data := append([]byte(nil), f.Data...)
		if strings.HasSuffix(name, ".receipts") {
			data[len(data)/2] ^= 1
		}
		spoilt[name] = &fstest.MapFile{Data: data}
	}
	for name, content := range map[string]fstest.MapFS{"troubled": troubled().Bundle("L1"), "good": bundle, "earlier": earlier, "forked": fork.Bundle("L1"), "spoilt": spoilt, "broken": {layout.Checkpoint: {Data: []byte("no note\n")}}} {
		if err := os.CopyFS(filepath.Join(dir, name), content); err != nil {
			return err
		}
	}
	pin := s.Register[0].Hash()
	vkey, err := checkpoint.VerifierKey(audittest.Origin, audittest.Public(s.LogKey))
	if err != nil {
		return err
	}
	other := audittest.Must(checkpoint.VerifierKey(audittest.Origin, audittest.Public(audittest.Key("other"))))
	witness := audittest.Must(checkpoint.NewWitnessKey("auditor.example/first", bytes.Repeat([]byte{5}, 32)))
	for name, text := range map[string]string{"other.vkey": other, "first.witness": string(witness.Text()), "first.vkey": witness.Witness.VerifierKey(), "pin": fmt.Sprintf("%x", pin), "vkey": vkey, "stmt": fmt.Sprintf("%x", audittest.Public(s.StmtKey))} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// troubled is a site where an alarm and a refusal happened, and one of them was signed off.
func troubled() *audittest.Site {
	s := audittest.New()
	s.Release("L1", 0, 3, 2)
	refused := s.Append(entry.Refused{File: audittest.Hash("file"), Size: 1, Count: 1, Faults: []string{"eid"}, At: s.Tick()})
	s.Append(entry.Alarm{Lot: "L1", Reason: perso.ReasonTwin, Detail: "chip 7", Present: perso.Presentation{Line: "l"}, At: s.Tick()})
	s.Append(entry.Order{Commit: audittest.Hash("o"), Good: 1, At: s.Tick()})
	s.Review("sender told", []perso.Name{"sec"}, refused)
	return s
}

func TestAuditPins(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := writeBundles(dir); err != nil {
		t.Fatal(err)
	}
	text := func(name string) string { return string(audittest.Must(os.ReadFile(filepath.Join(dir, name)))) }
	other, err := checkpoint.VerifierKey("log.example/other", audittest.Public(audittest.Key("other")))
	if err != nil {
		t.Fatal(err)
	}
	sameKey := audittest.Must(checkpoint.VerifierKey("log.example/other", audittest.Public(audittest.New().LogKey)))
	pins := []string{"--register-pin", text("pin"), "--log-key", text("vkey"), "--statement-key", text("stmt")}
	for _, c := range []struct {
		name string
		args []string
		code int
		want string // in the report, or else on standard error
	}{
		{"everything pinned", pins, ExitOK, "verified: no finding"},
		{"nothing pinned", nil, ExitOK, "perso: hint: not every key was pinned"},
		{"another register", []string{"--register-pin", text("stmt")}, ExitRefuted, "officer register is " + text("pin")},
		{"another log", []string{"--log-key", other}, ExitRefuted, "log key is"},
		{"the same key under another name", []string{"--log-key", sameKey}, ExitRefuted, `the log is "log.example/site-1", --log-key is of "log.example/other"`},
		{"a mistyped log key", []string{"--log-key", strings.Replace(text("vkey"), "site-1", "site-2", 1)}, ExitUsage, "it was mistyped"},
	} {
		r := run(t, nil, nil, append([]string{"audit", "verify", filepath.Join(dir, "good")}, c.args...)...)
		if r.code != c.code || !strings.Contains(r.out+r.err, c.want) {
			t.Errorf("%s: exit %d, want %d and %q\n%s%s", c.name, r.code, c.code, c.want, r.out, r.err)
		}
	}
	if r := run(t, nil, nil, append([]string{"audit", "verify", filepath.Join(dir, "good")}, pins...)...); strings.Contains(r.err, "hint") {
		t.Errorf("with every pin there is nothing to hint: %s", r.err)
	}
	wrong := run(t, nil, nil, "audit", "verify", "--json", filepath.Join(dir, "good"), "--register-pin", text("stmt"))
	if !strings.Contains(wrong.out, `"name":"officer register","fingerprint":"`+text("pin")+`","pinned":false,"differs":true`) {
		t.Errorf("of a register that is not the pinned one: %s", wrong.out)
	}
	r := run(t, nil, func(env *Env) { env.ErrTTY = true }, "audit", "verify", filepath.Join(dir, "good"))
	if !strings.Contains(r.err, "\r\x1b[Kverifying: file 1\r\x1b[K") {
		t.Errorf("on a terminal: %q", r.err)
	}
}

// What the shipped samples get to hear, all of it.
func TestCheckBadOrders(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(deploy + "/samples/bad/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no samples: %v", err)
	}
	var all strings.Builder
	for _, f := range files {
		r := run(t, nil, nil, "order", "check", f, "--products", deploy+"/products", "--partners", deploy+"/partners")
		if r.code != ExitFailed || r.out != "" {
			t.Errorf("%s: exit %d, out %q", f, r.code, r.out)
		}
		all.WriteString(strings.ReplaceAll(r.err, deploy+"/samples/", "") + "\n")
	}
	golden(t, "check-bad.txt", all.String())
}

func TestSigningAsks(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	key, other, draft := filepath.Join(dir, "p.key"), filepath.Join(dir, "s.key"), filepath.Join(dir, "l.close")
	body := string(audittest.Must(statement.Close{Env: "test", Lot: "L1", At: epoch, Nonce: [32]byte{1}}.Encode()))
	if err := os.WriteFile(draft, []byte(body), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"prod", "--person", "A B", "--role", "production", "-o", key}, {"sec", "--person", "C D", "--role", "security", "-o", other}} {
		if r := run(t, nil, nil, append([]string{"officer", "new"}, args...)...); r.code != ExitOK {
			t.Fatal(r.err)
		}
	}
	for _, c := range []struct {
		answer string
		code   int
	}{{"", ExitFailed}, {"\n", ExitFailed}, {"n\n", ExitFailed}, {"yesterday\n", ExitFailed}, {"Y\n", ExitOK}} {
		r := run(t, nil, func(env *Env) { env.InTTY, env.In = true, strings.NewReader(c.answer) }, "officer", "sign", draft, "--key", key)
		_, err := os.Stat(draft + signedSuffix)
		if r.code != c.code || (err == nil) != (c.code == ExitOK) {
			t.Errorf("answer %q: exit %d, want %d (%v): %s", c.answer, r.code, c.code, err, r.err)
		}
		if !strings.HasPrefix(r.err, body) || !strings.Contains(r.err, "Sign this lot-close as prod (A B, production)? [y/N] ") {
			t.Errorf("he was shown %q", r.err)
		}
	}
	interrupted, cancel := context.WithCancel(t.Context())
	cancel()
	typing, _ := io.Pipe() // nobody ever types
	var out, errOut bytes.Buffer
	code := Main(interrupted, []string{"officer", "sign", draft, "--key", other}, typing, &out, &errOut, func(env *Env) { env.InTTY = true })
	if code != ExitFailed || !strings.HasSuffix(errOut.String(), "perso: error: not signed: context canceled\n") {
		t.Errorf("interrupted: exit %d, %s", code, errOut.String())
	}
}
