package audit_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/persoline/persoline/ledger/audit/audittest"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/checkpoint"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/record"
	"github.com/persoline/persoline/perso/statement"
)

// TestFormatExamples: what FORMAT.md shows is what the code reads, and the hashes that it names are theirs.
func TestFormatExamples(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../FORMAT.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for i, block := range strings.Split(string(page), "```\n") {
		kind, err := record.Kind([]byte(block))
		if i%2 == 0 || err != nil {
			continue
		}
		seen[kind] = true
		if again, err := reencode(kind, []byte(block)); err != nil || !bytes.Equal(again, []byte(block)) {
			t.Errorf("%s: %v, written back as\n%s", kind, err, again)
		}
		if sum := sha256.Sum256([]byte(block)); (kind == entry.KindClaim || kind == entry.KindReceipt) && !bytes.Contains(page, []byte("`"+hex.EncodeToString(sum[:])+"`")) {
			t.Errorf("%s: its hash %x is not in the text", kind, sum)
		}
	}
	for _, kind := range []string{entry.KindClaim, entry.KindAct, entry.KindOutcome, entry.KindReceipt} {
		if !seen[kind] {
			t.Errorf("no example of a %s", kind)
		}
	}
	_, note, _ := strings.Cut(string(page), "```\n"+audittest.Origin)
	note, _, _ = strings.Cut(audittest.Origin+note, "```")
	if _, err := checkpoint.Open([]byte(note), audittest.Origin, audittest.Public(audittest.Key("log"))); err != nil {
		t.Errorf("checkpoint: %v", err)
	}
}

// TestFormatHex: the entry of the page in a tile, its leaf and a node over it, byte by byte.
func TestFormatHex(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../FORMAT.md")
	if err != nil {
		t.Fatal(err)
	}
	_, claim, _ := bytes.Cut(page, []byte("```\npersoline/1 claim\n"))
	claim, _, _ = bytes.Cut(append([]byte("persoline/1 claim\n"), claim...), []byte("```"))
	leaf := checkpoint.Leaf(claim)
	node := tlog.NodeHash(leaf, leaf)
	for _, want := range []string{fmt.Sprintf("has %d bytes", len(claim)), fmt.Sprintf("`%04x`", len(claim)), fmt.Sprintf("`%x`", claim[:16]), fmt.Sprintf("`%x`", claim[len(claim)-8:]),
		fmt.Sprintf("`%x`", leaf[:]), fmt.Sprintf("`%x`", node[:])} {
		if !bytes.Contains(page, []byte(want)) {
			t.Errorf("the page does not say %s", want)
		}
	}
}

func reencode(kind string, b []byte) ([]byte, error) {
	switch kind {
	case entry.KindClaim:
		e, err := entry.ParseClaim(b)
		if err != nil {
			return nil, err
		}
		return e.Encode()
	case entry.KindAct:
		e, err := entry.ParseAct(b)
		if err != nil {
			return nil, err
		}
		return e.Encode()
	case entry.KindOutcome:
		e, err := entry.ParseOutcome(b)
		if err != nil {
			return nil, err
		}
		return e.Encode()
	}
	e, err := entry.ParseReceipt(b)
	if err != nil {
		return nil, err
	}
	return e.Encode()
}

// TestFormatFields: the field tables of FORMAT.md name the fields of each kind in their order.
func TestFormatFields(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../FORMAT.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]string{}
	for line := range strings.Lines(string(page)) {
		if cells := strings.Split(line, "|"); len(cells) == 4 && strings.Contains(cells[1], "`") {
			for _, kind := range strings.Split(cells[1], ",") {
				rows[strings.Trim(kind, " `")] = strings.ReplaceAll(cells[2], " place ", " `line` `head` `number` ")
			}
		}
	}
	s := finished()
	s.Enlist("qual", statement.RoleQuality)
	s.Review("looked at", []perso.Name{"qual"}, 1, 2)
	records := append(append([][]byte{}, s.Entries...), s.Chains["L1"].Receipts...)
	for _, o := range append(append([]statement.Signed{}, s.Register...), s.Openings...) {
		records = append(records, o.Body)
	}
	checked := map[string]bool{}
	for _, r := range records {
		kind, err := record.Kind(r)
		if err != nil {
			t.Fatal(err)
		}
		rest, had := rows[kind], map[string]bool{}
		for _, line := range strings.Split(strings.TrimSuffix(string(r), "\n"), "\n")[1:] {
			key, _, _ := strings.Cut(line, " ")
			if had[key] { // the second officer
				continue
			}
			had[key] = true
			_, after, found := strings.Cut(rest, "`"+key+"`")
			if !found {
				t.Errorf("%s: field %q is not in the table, or not in this place", kind, key)
				continue
			}
			rest = after
		}
		checked[kind] = true
	}
	if len(checked) < 15 {
		t.Errorf("only %d kinds were checked", len(checked))
	}
}
