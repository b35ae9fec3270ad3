package audit_test

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/persoline/persoline/ledger/audit"
	. "github.com/persoline/persoline/ledger/audit/audittest"
	"github.com/persoline/persoline/ledger/bundle/layout"
	"github.com/persoline/persoline/ledger/internal/tree/tilepath"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/entry"
)

// TestTamper is an administrator with full write access to the database, to the bundle's folder and to the ledger's process, but
// without the HSM: he signs nothing, yet has whatever was signed before, and the ledger may have the vault sign what continues its
// log. Each thing that he can do is found, and told by its name. For the last two an auditor needs one checkpoint from an earlier
// visit.
func TestTamper(t *testing.T) {
	t.Parallel()
	for name, c := range tampers() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := finished()
			for i := range tilepath.Width { // so that the log has more than one tile
				order(s, fmt.Sprint(i))
			}
			held := s.Checkpoint() // what an auditor took home
			size := len(s.Entries)
			order(s, "made since")
			o := pins(s)
			shown := c.do(s, size)
			if c.held {
				o.Held = []audit.Held{{Name: "last-visit", Note: held}}
				if r, err := audit.Verify(shown, pins(s)); err != nil || !r.OK() {
					t.Errorf("without a checkpoint from outside this cannot be seen, and is: %v, %v", err, r.Findings)
				}
			}
			r, err := audit.Verify(shown, o)
			if err != nil {
				t.Fatal(err)
			}
			var all []string
			for _, f := range r.Findings {
				all = append(all, f.String())
			}
			if !strings.Contains(strings.Join(all, "\n"), c.want) {
				t.Errorf("found %q, want %q", all, c.want)
			}
		})
	}
}

type tamper struct {
	do   func(s *Site, held int) fstest.MapFS
	held bool // found with a checkpoint from outside only
	want string
}

// rewritten is the bundle of another log under the checkpoint that was signed: all its tiles are computed anew, and the seal,
// which is the vault's, is granted to him.
func rewritten(s *Site, entries [][]byte) fstest.MapFS {
	note := s.Checkpoint()
	other := *s
	other.Entries = entries
	b := other.Bundle("L1")
	b[layout.Checkpoint] = &fstest.MapFile{Data: note}
	other.Seal(b, "L1")
	return b
}

func tampers() map[string]tamper {
	const rootDiffers = "log/checkpoint: root of the entries is "
	all := map[string]tamper{
		"changes an entry": {func(s *Site, _ int) fstest.MapFS {
			entries := slices.Clone(s.Entries)
			entries[10] = bytes.Replace(entries[10], []byte("head 1"), []byte("head 2"), 1)
			return rewritten(s, entries)
		}, false, rootDiffers},
		"deletes an entry": {func(s *Site, _ int) fstest.MapFS {
			return rewritten(s, append(slices.Delete(slices.Clone(s.Entries), 10, 11), s.Entries[len(s.Entries)-1])) // as many as were signed
		}, false, rootDiffers},
		"inserts an entry": {func(s *Site, _ int) fstest.MapFS {
			return rewritten(s, slices.Insert(slices.Clone(s.Entries[:len(s.Entries)-1]), 10, s.Entries[9]))
		}, false, rootDiffers},
		"reorders entries": {func(s *Site, _ int) fstest.MapFS {
			entries := slices.Clone(s.Entries)
			entries[10], entries[11] = entries[11], entries[10]
			return rewritten(s, entries)
		}, false, rootDiffers},
		"truncates the log": {func(s *Site, _ int) fstest.MapFS {
			return rewritten(s, s.Entries[:len(s.Entries)-2])
		}, false, "log/tile/entries/001"},
	}
	maps.Copy(all, tampersBeside())
	maps.Copy(all, tampersSigned())
	return all
}

// tampersBeside are about what lies beside the log.
func tampersBeside() map[string]tamper {
	file := func(do func(b fstest.MapFS, s *Site), want string) tamper {
		return tamper{func(s *Site, _ int) fstest.MapFS {
			b := s.Bundle("L1")
			do(b, s)
			s.Seal(b, "L1")
			return b
		}, false, want}
	}
	receipts := layout.Receipts(Vault, "L1")
	return map[string]tamper{
		"changes a receipt": file(func(b fstest.MapFS, s *Site) {
			b[receipts].Data = bytes.Replace(b[receipts].Data, []byte("gen 0"), []byte("gen 1"), 1)
		}, receipts),
		"deletes the last receipts": file(func(b fstest.MapFS, s *Site) {
			b[receipts].Data = b[receipts].Data[:bytes.LastIndex(b[receipts].Data, []byte("persoline/1 receipt"))]
		}, "the signed head says"),
		"deletes a lot's receipts": file(func(b fstest.MapFS, s *Site) {
			delete(b, receipts)
			delete(b, layout.ReceiptHead(Vault, "L1"))
			delete(b, layout.ReceiptHeadSig(Vault, "L1"))
		}, "the vault has no receipt for it"),
		"changes a release": file(func(b fstest.MapFS, s *Site) {
			path := layout.Statement(s.Openings[0].Hash())
			b[path].Data = bytes.Replace(b[path].Data, []byte("\ngood 1\n"), []byte("\ngood 4\n"), 1)
		}, "its hash is "),
		"exchanges an officer": file(func(b fstest.MapFS, s *Site) {
			b[layout.Register(0)].Data = bytes.Replace(b[layout.Register(0)].Data, []byte("person Person sec"), []byte("person Person pal"), 1)
		}, "another or no statement 0 of the officer register"),
		"changes a delivery": file(func(b fstest.MapFS, s *Site) {
			path := layout.Export("L1", "eis")
			b[path] = &fstest.MapFile{Data: []byte(strings.Repeat("0", 64) + " 1 a\n")}
		}, "its hash is "),
		"adds a file": file(func(b fstest.MapFS, s *Site) {
			b["receipts/vault-9.L1.receipts"] = &fstest.MapFile{Data: []byte("x")}
		}, "receipts/vault-9.L1.receipts"),
	}
}

// tampersSigned are about a log that the vault did sign: it continues the one before, and what was put into it is a lie; or it is
// an old one, or, when the vault's own memory was tricked too, another one.
func tampersSigned() map[string]tamper {
	return map[string]tamper{
		"has a second card made under one identity": {func(s *Site, _ int) fstest.MapFS {
			first := s.Release("L2", 1, 2, 1).Claim(0, 0, 0, Chip(50))
			first.Run()
			second := first.Claim
			second.Unit, second.Chip, second.At = 1, Chip(51), s.Tick()
			s.Append(second)
			return s.Bundle("L1")
		}, false, "was claimed before"},
		"logs a good that the vault did not give": {func(s *Site, _ int) fstest.MapFS {
			lot := s.Release("L2", 1, 2, 1)
			c := lot.Claim(0, 0, 0, Chip(50))
			c.Certify("c")
			c.Ask("proof")
			c.Receipt = Hash("none")
			c.End(perso.VerdictGood, perso.ReasonNone)
			return s.Bundle("L1")
		}, false, "is in no chain"},
		"delivers more than is good": {func(s *Site, _ int) fstest.MapFS {
			e := Must(entry.ParseExport(firstOf(s, entry.KindExport)))
			e.What, e.Units, e.At = "more", 400, s.Tick()
			s.Append(e)
			return s.Bundle("L1")
		}, false, "units were handed out"},
		"sets the clock back": {func(s *Site, _ int) fstest.MapFS {
			e := Must(entry.ParseOrder(s.Entries[len(s.Entries)-1]))
			e.Commit = Hash("early")
			e.At = e.At.Add(-1e9)
			s.Append(e)
			return s.Bundle("L1")
		}, false, "time goes back"},
		"rolls the log back": {func(s *Site, held int) fstest.MapFS {
			old := *s
			old.Entries = s.Entries[:held-1]
			return old.Bundle("L1")
		}, true, "held checkpoint last-visit: ROLLED BACK: "},
		"forks the log": {func(s *Site, held int) fstest.MapFS {
			fork := *s
			fork.Entries = slices.Clone(s.Entries[:held-1])
			for i := range 3 {
				order(&fork, fmt.Sprint("another ", i))
			}
			return fork.Bundle("L1")
		}, true, "held checkpoint last-visit: FORKED: "},
	}
}

func firstOf(s *Site, kind string) []byte {
	i := slices.IndexFunc(s.Entries, func(b []byte) bool { return bytes.HasPrefix(b, []byte("persoline/1 "+kind+"\n")) })
	return s.Entries[i]
}
