package auditor

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/persoline/persoline/ledger/audit"
	"github.com/persoline/persoline/ledger/audit/lotreport"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/cmd/console"
)

// reported is the result of "audit report".
type reported struct {
	OK     bool       `json:"ok"`
	Lot    perso.Name `json:"lot"`
	State  string     `json:"state"`
	Good   uint64     `json:"good"`
	Open   int        `json:"exceptions_open"`
	Bytes  int        `json:"bytes"`
	File   string     `json:"file"`
	Judged bool       `json:"judged_before"`
}

func newReportCmd(env *console.Console) *cobra.Command {
	var p pins
	var lot, out, verified string
	c := &cobra.Command{
		Use:   "report BUNDLE",
		Short: "Write the report of a lot, to read and to print",
		Long: console.Describe("Verifies a bundle and writes one HTML file about a lot: who released and closed it, what people signed on the way, quantities, reconciliation,\n"+
			"the stock, rejects with reasons, units made again, keys, deliveries and receipts, deletion, what the product's proof shows and does not, exceptions and who signed\n"+
			"them off. It is drawn from the bundle alone and needs nothing else to be looked at or printed.\n\n"+
			"A large log takes its time to be judged. --verified names the result that 'perso audit verify --json' gave for this bundle before:\n"+
			"then the bytes are compared with it, every one, and the rules are not replayed; the report says so.\n\n"+
			"The exit code is 3 when the bundle does not hold; the report is written all the same, and says it first.", reported{}),
		Example: `  perso audit report ./L-2027-0001.bundle -o L-2027-0001.html
  perso audit report ./L-2027-0001.bundle --lot L-2027-0000 --verified verified.json -o L-2027-0000.html`,
		Args: console.Takes("BUNDLE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := console.Needs(cmd, "output"); err != nil {
				return err
			}
			return writeReport(env, &p, reporting{bundle: args[0], lot: lot, out: out, verified: verified})
		},
	}
	p.flags(c)
	c.Flags().StringVar(&lot, "lot", "", "lot to report on (default: the bundle's own)")
	c.Flags().StringVarP(&out, "output", "o", "", "HTML file to write")
	c.Flags().StringVar(&verified, "verified", "", "result of 'perso audit verify --json' of this bundle")
	return c
}

// reporting is what the command line says.
type reporting struct{ bundle, lot, out, verified string }

func writeReport(env *console.Console, p *pins, q reporting) error {
	if _, err := os.Lstat(q.out); err == nil {
		return fmt.Errorf("writing the report: %w", &os.PathError{Op: "create", Path: q.out, Err: os.ErrExist})
	}
	o, origin, err := p.options(env)
	if err != nil {
		return err
	}
	log, err := openLog(q.bundle, theLog{origin: origin, key: o.LogKey})
	if err != nil {
		return err
	}
	lot, err := q.lotName()
	if err != nil {
		return err
	}
	about := lotreport.Options{Now: env.Now(), Program: "perso audit report"}
	var before *audit.Report
	if q.verified != "" {
		if before, about.Judged, err = readVerified(env, q.verified); err != nil {
			return err
		}
	}
	page, err := collectReport(env, q, lot, log, o, origin, before, about)
	if err != nil {
		return err
	}
	if q.lot != "" && page.Audit.OK() && !page.Found {
		return console.Hint(fmt.Errorf("the log of %q releases no lot %q", q.bundle, lot), "is the name spelled right, and was it released before the bundle was written? Nothing was written")
	}
	var b bytes.Buffer
	if err := page.Write(&b); err != nil {
		return err
	}
	if err := console.Create(q.out, b.Bytes()); err != nil {
		return err
	}
	r := reported{OK: page.Audit.OK(), Lot: lot, State: page.State, Good: page.Quantities[3].Count, Open: page.OpenException, Bytes: b.Len(), File: q.out, Judged: before != nil}
	if err := env.Emit(r, func(w io.Writer) { fmt.Fprintf(w, "%s: lot %s is %s\n", q.out, lot, page.State) }); err != nil {
		return err
	}
	return refuted(q.bundle, page.Audit)
}

// lotName is the lot that was named, or the one whose bundle it is.
func (q reporting) lotName() (perso.Name, error) {
	if q.lot != "" {
		lot, err := perso.ParseName(q.lot)
		if err != nil {
			return "", console.Usage("--lot: %w", err)
		}
		return lot, nil
	}
	lot, err := audit.LotOf(os.DirFS(q.bundle))
	if err != nil {
		return "", console.Fail(console.ExitRefuted, err, "--lot names the lot")
	}
	return lot, nil
}

func collectReport(env *console.Console, q reporting, lot perso.Name, log *audit.Log, o audit.Options, origin string, before *audit.Report, about lotreport.Options) (lotreport.Page, error) {
	c := lotreport.Collect(lot, log)
	o.Watch, o.Unjudged, o.Wants = c.Watch, before != nil, c.Wants
	r, err := judge(env, q.bundle, o, origin)
	if err != nil {
		return lotreport.Page{}, err
	}
	if before != nil {
		if r.OK() && r.Seal != before.Seal {
			return lotreport.Page{}, console.Hint(console.Usage("--verified %q is about another bundle", q.verified), "'perso audit verify --json' of this bundle makes it")
		}
		before.Findings = append(before.Findings, r.Findings...)
		r = *before
	}
	heads, err := log.ReceiptHeads(lot)
	if err != nil {
		return lotreport.Page{}, err
	}
	return c.Page(r, heads, about), nil
}

// maxVerifiedBytes bounds the result of a verification: a thousand findings, ten thousand exceptions.
const maxVerifiedBytes = 32 << 20

// readVerified reads a result back.
func readVerified(env *console.Console, path string) (*audit.Report, time.Time, error) {
	b, err := env.Read(path, maxVerifiedBytes)
	if err != nil {
		return nil, time.Time{}, err
	}
	var a audited
	if err := json.Unmarshal(b, &a); err != nil || a.LogOrigin == "" || a.Judged.IsZero() {
		return nil, time.Time{}, console.Hint(fmt.Errorf("reading %q: it is no result of a verification", path), "'perso audit verify --json' writes one")
	}
	r := audit.Report{Env: a.Environment, Site: a.Site, Lot: a.Lot, Origin: a.LogOrigin, Size: a.LogSize, Root: a.LogRoot, Seal: a.Seal, Notes: a.Notes, Trusts: a.Trusts,
		Quorum: a.Quorum, Broken: a.BrokenOff, Dropped: a.Dropped}
	for _, k := range a.Keys {
		fingerprint, err := hex.DecodeString(k.Fingerprint)
		if err != nil {
			return nil, time.Time{}, fmt.Errorf("reading %q: key %q: %w", path, k.Name, err)
		}
		r.Keys = append(r.Keys, audit.Key{Name: k.Name, Fingerprint: fingerprint, Pinned: k.Pinned, Differs: k.Differs})
	}
	for _, x := range a.Stock {
		r.Stock = append(r.Stock, audit.StockRow(x))
	}
	for _, x := range a.Exceptions {
		r.Exceptions = append(r.Exceptions, x.exception())
	}
	for _, f := range a.Facts {
		r.Facts = append(r.Facts, audit.Fact(f))
	}
	for _, w := range a.Witnessed {
		r.Witnessed = append(r.Witnessed, audit.Witnessed(w))
	}
	for _, f := range a.Findings {
		r.Findings = append(r.Findings, audit.Finding(f))
	}
	return &r, a.Judged, nil
}
