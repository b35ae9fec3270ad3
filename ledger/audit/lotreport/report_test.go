package lotreport_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/persoline/persoline/ledger/audit"
	. "github.com/persoline/persoline/ledger/audit/audittest"
	"github.com/persoline/persoline/ledger/audit/lotreport"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/statement"
)

var now = time.Date(2027, 4, 1, 9, 0, 0, 0, time.UTC)

// troubled is a finished lot of 40 in which chips failed in several ways, units were made again, an alarm was signed off and
// another was not.
func troubled() *Site {
	s := New()
	r := s.NewRelease("L1", 0, 40, 10)
	r.Proof = "scp-reopen, authenticate"
	lot := s.Admit(r, "prod", "sec")
	chip := uint32(0)
	next := func() uint32 { chip++; return chip }
	for u := range perso.Unit(40) {
		c := lot.Claim(u, 0, 0, Chip(next()))
		if u%8 == 3 {
			c.Act("identify")
			loss := c.Lose()
			c.Bin()
			c = lot.Claim(u, 1, loss, Chip(next()))
		}
		c.Run()
		c.Bin()
		if u%10 == 1 {
			lot.Contact(perso.VerdictRejectBlank, perso.ReasonMute)
			lot.Contact(perso.VerdictRecontact, perso.ReasonContact)
		}
	}
	alarm := s.Append(entry.Alarm{Lot: "L1", Reason: perso.ReasonTwin, Detail: "chip <7>", Present: perso.Presentation{Line: "line-1"}, At: s.Tick()})
	s.Append(entry.Alarm{Lot: "L1", Reason: perso.ReasonReplay, Present: perso.Presentation{Line: "line-1"}, At: s.Tick()})
	s.Append(entry.Alarm{Lot: "", Reason: perso.ReasonVaultFault, Present: perso.Presentation{Line: "line-2"}, At: s.Tick()})
	s.Review("reader replaced", []perso.Name{"sec"}, alarm)
	lot.Count(entry.SourceHandler)
	lot.Count(entry.SourceHand)
	lot.Close()
	lot.Export("output", r.Delivery, []byte{})
	return s
}

func pins(s *Site) audit.Options {
	return audit.Options{RegisterPin: s.Register[0].Hash(), LogKey: Public(s.LogKey), StatementKey: Public(s.StmtKey)}
}

// pageOf is the report of a lot, judged or not.
func pageOf(t *testing.T, s *Site, bundle fstest.MapFS, lot perso.Name, unjudged bool) lotreport.Page {
	t.Helper()
	o := pins(s)
	log, err := audit.OpenLog(bundle, o.LogKey)
	if err != nil {
		t.Fatal(err)
	}
	c := lotreport.Collect(lot, log)
	judged, err := audit.Verify(bundle, o)
	if err != nil {
		t.Fatal(err)
	}
	o.Watch = c.Watch
	if unjudged {
		o.Unjudged, o.Wants = true, c.Wants
	}
	r, err := audit.Verify(bundle, o)
	if err != nil {
		t.Fatal(err)
	}
	if unjudged {
		if !r.OK() || r.Seal != judged.Seal {
			t.Fatalf("unjudged: %v", r.Findings)
		}
		r = judged
	}
	heads, err := log.ReceiptHeads(lot)
	if err != nil {
		t.Fatal(err)
	}
	return c.Page(r, heads, lotreport.Options{Now: now, Program: "test"})
}

func write(t *testing.T, p lotreport.Page) string {
	t.Helper()
	var b bytes.Buffer
	if err := p.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestReport: what an auditor asks for is there, it is well-formed, and nothing of it comes from elsewhere.
func TestReport(t *testing.T) {
	t.Parallel()
	s := troubled()
	p := pageOf(t, s, s.Bundle("L1"), "L1", false)
	text := write(t, p)
	for _, want := range []string{
		"Verified: no finding.", "ENVIRONMENT TEST", "Person prod (production, prod) and Person sec (security, sec)",
		"<b>40</b><span>good</span>", "<b>5</b><span>lost (reject-live)</span>", "<b>4</b><span>reject-blank</span>", "81.63 %",
		`<td>officers: signed at closing</td><td class="n">49</td><td class="n">40</td><td class="n">4</td><td class="n">5</td><td class="n">0</td><td class="n">0</td><td><span class="goodtext">agrees</span>`,
		"reject-live: status", "recontact: bad-contact", "chip &lt;7&gt;", "Person sec (security), ", "reader replaced", `<b class="warn">2</b><span>exceptions not signed off</span>`,
		"scp-reopen", "the network will be able to authenticate it", "never a product", "vault-1", "auc", "has not been destroyed", "@page",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in the report", want)
		}
	}
	for _, alien := range []string{"<script", "http:", "https:", "url(", "<img", "<link", "ZgotmplZ"} {
		if strings.Contains(text, alien) {
			t.Errorf("%q is in the report", alien)
		}
	}
	if n := strings.Count(text, "<svg"); n != 2 {
		t.Errorf("%d charts", n)
	}
	wellFormed(t, text)
}

// wellFormed reads the page as XML, once the tags without an end have one.
func wellFormed(t *testing.T, text string) {
	t.Helper()
	text = regexp.MustCompile(`<(meta|br)([^>]*)>`).ReplaceAllString(strings.TrimPrefix(text, "<!DOCTYPE html>"), "<$1$2/>")
	text = regexp.MustCompile(`(?s)<style>.*</style>`).ReplaceAllString(text, "")
	d := xml.NewDecoder(strings.NewReader(text))
	d.Entity = xml.HTMLEntity
	for {
		_, err := d.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatalf("the page is not well-formed: %v", err)
		}
	}
}

// TestUnjudged: a report on a bundle that was judged before is the same, but for saying so.
func TestUnjudged(t *testing.T) {
	t.Parallel()
	s := troubled()
	s.Release("L2", 1, 3, 1).Finish()
	for _, lot := range []perso.Name{"L1", "L2"} {
		judged, unjudged := write(t, pageOf(t, s, s.Bundle("L1"), lot, false)), write(t, pageOf(t, s, s.Bundle("L1"), lot, true))
		if judged != unjudged {
			t.Errorf("lot %s: the reports differ", lot)
		}
	}
}

// TestUnjudgedSees: what was changed since a bundle was judged is found without the rules: by the files, or by the tree.
func TestUnjudgedSees(t *testing.T) {
	t.Parallel()
	s := troubled()
	o := pins(s)
	o.Unjudged = true
	for name, spoil := range map[string]func(fstest.MapFS){
		"a file":      func(b fstest.MapFS) { b["log/tile/entries/000"].Data[100] ^= 1 },
		"sealed anew": func(b fstest.MapFS) { b["log/tile/entries/000"].Data[100] ^= 1; s.Seal(b, "L1") },
		"receipt":     func(b fstest.MapFS) { b["receipts/vault-1.L1.receipts"].Data[100] ^= 1 },
	} {
		b := s.Bundle("L1")
		spoil(b)
		if r, err := audit.Verify(b, o); err != nil || r.OK() {
			t.Errorf("%s: %v, %v", name, err, r.Findings)
		}
	}
}

// TestNotVerified: a report on a bundle that does not hold says it before everything else.
func TestNotVerified(t *testing.T) {
	t.Parallel()
	s := New()
	lot := s.Release("L1", 0, 3, 1)
	lot.Claim(0, 0, 0, Chip(1)).Run()
	lot.Claim(1, 0, 0, Chip(1)).Run() // the same chip twice
	text := write(t, pageOf(t, s, s.Bundle("L1"), "L1", false))
	for _, want := range []string{"NOT VERIFIED: ", "was claimed before [I1]", "They prove nothing", "nobody has closed this lot", "not there yet"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in the report", want)
		}
	}
	if strings.Contains(text, "Verified: no finding") {
		t.Error("it says verified")
	}
	wellFormed(t, text)
	missing := write(t, pageOf(t, s, s.Bundle("L1"), "L9", false))
	if !strings.Contains(missing, "The log releases no lot of this name") {
		t.Error("a lot that is not there")
	}
}

// TestDeleted: the certificate of deletion, who ordered it, and which copies he signed off.
func TestDeleted(t *testing.T) {
	t.Parallel()
	s := New()
	lot := s.Release("L1", 0, 2, 1)
	lot.Finish()
	d := statement.Destroy{Env: perso.EnvTest, Site: SiteName, Lot: "L1", Release: lot.Hash, Retained: now.AddDate(-1, 0, 0), At: s.Tick(), Nonce: Hash("d"),
		Copies: []statement.LotCopy{{Holder: "hsm-2", Place: "second room", By: [2]string{"First Person", "Second Person"}}}}
	for _, o := range s.Openings {
		if c, err := statement.ParseClose(o.Body); err == nil && c.Lot == "L1" {
			d.Close = o.Hash()
		}
	}
	order := Sign(Must(d.Encode()), "prod", "sec") // the vault refuses it: the lot was not closed then
	refused := order.Hash()
	s.Openings = append(s.Openings, order)
	s.Append(entry.Statement{What: statement.KindDestroy, Hash: refused, Lot: "L1", At: s.Tick()})
	d.Retained = s.Tick()
	order = Sign(Must(d.Encode()), "prod", "sec")
	s.Openings = append(s.Openings, order)
	s.Append(entry.Statement{What: statement.KindDestroy, Hash: order.Hash(), Lot: "L1", At: s.Tick()})
	gone := statement.Destroyed{Env: perso.EnvTest, Vault: Vault, Lot: "L1", Keys: []string{"persoline/test/lot/L1"}, Destroy: order.Hash(), Copies: 1, At: s.Tick()}
	certificate := statement.Signed{Body: Must(gone.Encode())}
	certificate.Sign(Vault, s.StmtKey)
	s.Openings = append(s.Openings, certificate)
	s.Append(entry.Statement{What: statement.KindDestroyed, Hash: certificate.Hash(), Lot: "L1", At: s.Tick()})
	p := pageOf(t, s, s.Bundle("L1"), "L1", false)
	text := write(t, p)
	for _, want := range []string{"persoline/test/lot/L1", "left the token of vault vault-1", "ordered by Person prod (production, prod) and Person sec", "second room", "First Person and Second Person"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in the report", want)
		}
	}
	if p.State != "closed, delivered, its key destroyed" || !p.Audit.OK() {
		t.Errorf("state %q, findings %v", p.State, p.Audit.Findings)
	}
	if len(p.Words) != 1 || p.Words[0].What != statement.KindDestroy || p.Words[0].Word.Hash != refused || p.Destroy.Hash != order.Hash() {
		t.Errorf("the word that was replaced is not told: %+v", p.Words)
	}
}
