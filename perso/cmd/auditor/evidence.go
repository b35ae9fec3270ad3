package auditor

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/persoline/persoline/ledger/audit"
	"github.com/persoline/persoline/ledger/audit/lotreport"
	"github.com/persoline/persoline/ledger/bundle/folder"
	"github.com/persoline/persoline/ledger/bundle/layout"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/cmd/auditor/sasmap"
	"github.com/persoline/persoline/perso/cmd/cli/keyfile"
	"github.com/persoline/persoline/perso/cmd/console"
	"github.com/persoline/persoline/perso/record"
	"github.com/persoline/persoline/perso/statement"
)

// certifiedIs stands first in every pack.
const certifiedIs = "GSMA SAS-UP certifies a site and its processes, never a product. This pack is evidence that the site may show its auditors;\n" +
	"it is no certificate and claims none. Clause families are recalled from public contents: hold them against the site's own copy.\n"

// evidence is the result of "audit evidence".
type evidence struct {
	OK           bool              `json:"ok"`
	Site         perso.Name        `json:"site,omitempty"`
	At           time.Time         `json:"at"`
	Requirements []evidenceRow     `json:"requirements"`
	Counts       map[verdictOf]int `json:"counts"`
	Folder       string            `json:"folder"`
	Manifest     console.Digest    `json:"manifest_hash"`
	SignedBy     string            `json:"signed_by,omitempty"`
}

type evidenceRow struct {
	ID     string          `json:"id"`
	Family string          `json:"family"`
	What   string          `json:"what"`
	Proofs []evidenceProof `json:"proofs"`
	Site   string          `json:"site,omitempty"`
	Open   string          `json:"open,omitempty"`
}

type evidenceProof struct {
	Proof   string    `json:"proof"`
	Verdict verdictOf `json:"verdict"`
	Says    string    `json:"says,omitempty"`
}

// verdictOf is what became of one proof.
type verdictOf string

const (
	proofPassed verdictOf = "passed"
	proofFailed verdictOf = "FAILED"
	proofNotRun verdictOf = "not run"
	proofOnSite verdictOf = "on the site"
)

// evidencing is what the command line says.
type evidencing struct {
	mapPath, bundle, inventory, tests, key, out string

	register string // pin
}

func newEvidenceCmd(env *console.Console) *cobra.Command {
	var p pins
	var q evidencing
	c := &cobra.Command{
		Use:   "evidence",
		Short: "Run what can be run of the SAS map, and write the evidence pack",
		Long: console.Describe("Goes through the map of what a GSMA SAS-UP audit asks (deploy/sas_map.yaml), runs what can be run on a bundle and on an inventory of key\n"+
			"ceremonies, and writes a new folder: a page per requirement with its proofs and their verdicts, what the checks said, the lot's report,\n"+
			"and a manifest of hashes. Bundle and inventory must be of one site and one officer register. --tests is the output of 'go test -json ./...' on the sources that the site runs. With --key an officer signs\n"+
			"the manifest. What is the site's own duty, and what the software does not do yet, stands in the pack as it stands in the map.\n\n"+
			certifiedIs+"\nThe exit code is 3 when a proof that was run failed.", evidence{}),
		Example: `  perso audit evidence --bundle ./L-2027-0001.bundle --inventory ./inventory -o evidence-2027-03
  perso audit evidence --map deploy/sas_map.yaml --bundle ./L-2027-0001.bundle --tests tests.json --key qa-1.key -o evidence-2027-03`,
		Args: console.Takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := console.Needs(cmd, "output"); err != nil {
				return err
			}
			q.register = p.register
			return writeEvidence(env, &p, q)
		},
	}
	p.flags(c)
	c.Flags().StringVar(&q.mapPath, "map", "deploy/sas_map.yaml", "the map")
	c.Flags().StringVar(&q.bundle, "bundle", "", "audit bundle of a lot")
	c.Flags().StringVar(&q.inventory, "inventory", "", "transcripts of the key ceremonies")
	c.Flags().StringVar(&q.tests, "tests", "", "output of 'go test -json'")
	c.Flags().StringVar(&q.key, "key", "", "key file of the officer who signs the pack")
	c.Flags().StringVarP(&q.out, "output", "o", "", "folder to create")
	return c
}

// pack is the folder being written, and what is known so far.
type pack struct {
	env   *console.Console
	q     evidencing
	m     sasmap.Map
	raw   []byte
	dir   *folder.Folder
	runs  map[sasmap.Run]evidenceProof
	tests map[string]verdictOf // by package path's end and test
	e     evidence
	audit *audit.Report
}

func writeEvidence(env *console.Console, p *pins, q evidencing) (err error) {
	if _, err := os.Lstat(q.out); err == nil {
		return fmt.Errorf("writing the evidence pack: %w", &os.PathError{Op: "create", Path: q.out, Err: os.ErrExist})
	}
	k := &pack{env: env, q: q, runs: map[sasmap.Run]evidenceProof{}, e: evidence{OK: true, At: env.Now().UTC(), Counts: map[verdictOf]int{}, Folder: q.out}}
	if k.raw, err = env.Read(q.mapPath, sasmap.MaxBytes); err != nil {
		return console.Hint(err, "--map names the SAS map; it comes with the program's sources as deploy/sas_map.yaml")
	}
	if k.m, err = sasmap.Parse(k.raw); err != nil {
		return fmt.Errorf("%q: %w", q.mapPath, err)
	}
	if k.tests, err = readTests(q.tests); err != nil {
		return err
	}
	if q.inventory != "" {
		if _, _, err := openTranscripts(q.inventory); err != nil {
			return err
		}
	}
	var key keyfile.Key
	if q.key != "" {
		if key, err = keyfile.Load(q.key); err != nil {
			return err
		}
		defer key.Wipe()
	}
	if k.dir, err = folder.New(filepath.Dir(q.out)); err != nil {
		return fmt.Errorf("writing the evidence pack: %w", err)
	}
	err = k.fill(p)
	if err == nil {
		err = k.seal(key)
	}
	if err == nil {
		err = k.dir.Publish(q.out)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("writing the evidence pack: %w", err), k.dir.Remove())
	}
	return k.emit()
}

// fill runs the checks and writes what they said.
func (k *pack) fill(p *pins) error {
	if err := k.dir.Add("sas_map.yaml", k.raw); err != nil {
		return err
	}
	if err := k.onBundle(p); err != nil {
		return err
	}
	if err := k.onInventory(); err != nil {
		return err
	}
	for _, r := range k.m.Requirements {
		k.row(r)
	}
	text, err := json.MarshalIndent(k.e, "", "  ")
	if err != nil {
		return fmt.Errorf("writing the evidence as JSON: %w", err)
	}
	return errors.Join(k.dir.Add("evidence.json", append(text, '\n')), k.dir.Add("evidence.txt", k.e.text()))
}

// onBundle runs the three checks that need one.
func (k *pack) onBundle(p *pins) error {
	if k.q.bundle == "" {
		for _, r := range []sasmap.Run{sasmap.RunVerify, sasmap.RunExceptions, sasmap.RunReport} {
			k.runs[r] = evidenceProof{Verdict: proofNotRun, Says: "no --bundle was given"}
		}
		return nil
	}
	o, origin, err := p.options(k.env)
	if err != nil {
		return err
	}
	log, err := openLog(k.q.bundle, theLog{origin: origin, key: o.LogKey})
	if err != nil {
		return err
	}
	lot, err := audit.LotOf(os.DirFS(k.q.bundle))
	if err != nil {
		return err
	}
	page, err := collectReport(k.env, reporting{bundle: k.q.bundle}, lot, log, o, origin, nil, lotreport.Options{Now: k.env.Now(), Program: "perso audit evidence"})
	if err != nil {
		return err
	}
	r := page.Audit
	k.audit, k.e.Site = &r, r.Site
	verdict, says := proofPassed, fmt.Sprintf("bundle of lot %s, log of %d entries, root %x: no finding", r.Lot, r.Size, r.Root[:8])
	if !r.OK() {
		verdict, says = proofFailed, fmt.Sprintf("bundle of lot %s: %d findings, the first: %s", r.Lot, len(r.Findings), r.Findings[0])
	}
	k.runs[sasmap.RunVerify] = evidenceProof{Verdict: verdict, Says: says}
	k.runs[sasmap.RunReport] = evidenceProof{Verdict: verdict, Says: fmt.Sprintf("report.html: lot %s is %s, %d sources of counts differ from the log", lot, page.State, page.Differences)}
	k.runs[sasmap.RunExceptions] = exceptionsProof(r)
	var text, html bytes.Buffer
	if err := errors.Join(r.Write(&text), page.Write(&html)); err != nil {
		return err
	}
	data, err := json.Marshal(auditedOf(r, k.env.Now().UTC()))
	if err != nil {
		return fmt.Errorf("writing the verification as JSON: %w", err)
	}
	return errors.Join(k.dir.Add("verify.txt", text.Bytes()), k.dir.Add("verify.json", append(data, '\n')), k.dir.Add("report.html", html.Bytes()))
}

// exceptionsProof passes when somebody has looked at everything.
func exceptionsProof(r audit.Report) evidenceProof {
	open := 0
	for _, x := range r.Exceptions {
		if x.Open() {
			open++
		}
	}
	p := evidenceProof{Verdict: proofPassed, Says: fmt.Sprintf("%d exceptions, all signed off", len(r.Exceptions))}
	if open > 0 {
		p = evidenceProof{Verdict: proofFailed, Says: fmt.Sprintf("%d of %d exceptions are not signed off", open, len(r.Exceptions))}
	}
	return p
}

func (k *pack) onInventory() error {
	if k.q.inventory == "" {
		k.runs[sasmap.RunCeremony] = evidenceProof{Verdict: proofNotRun, Says: "no --inventory was given"}
		return nil
	}
	var out bytes.Buffer
	inner := *k.env
	inner.Out, inner.JSON = &out, false
	c, err := auditCeremonies(&inner, k.q.inventory, k.q.register, "")
	if err == nil && k.audit != nil {
		err = ofOneSite(*k.audit, c)
	}
	p := evidenceProof{Verdict: proofPassed, Says: "every transcript verifies, from the first ceremony on"}
	if err != nil {
		p = evidenceProof{Verdict: proofFailed, Says: err.Error()}
		fmt.Fprintf(&out, "%v\n", err)
	}
	k.runs[sasmap.RunCeremony] = p
	return k.dir.Add("ceremony.txt", out.Bytes())
}

// ofOneSite refuses ceremonies that are not those of the bundle's site: each by itself may hold, and together they prove nothing.
func ofOneSite(r audit.Report, c audit.Ceremonies) error {
	if c.Chain.Site != r.Site || c.Chain.Env != r.Env {
		return console.Refuted("the inventory is of site %s (%s), the bundle of site %s (%s)", c.Chain.Site, c.Chain.Env, r.Site, r.Env)
	}
	for _, key := range r.Keys {
		if pin := c.Chain.Register.Pin; key.Name == audit.KeyRegister && !bytes.Equal(key.Fingerprint, pin[:]) {
			return console.Refuted("the inventory is of another officer register, whose genesis is %x, than the bundle, where it is %x", pin, key.Fingerprint)
		}
	}
	return nil
}

// row gives each proof of a requirement its verdict.
func (k *pack) row(r sasmap.Requirement) {
	row := evidenceRow{ID: r.ID, Family: r.Family, What: r.What, Site: r.Site, Open: r.Open, Proofs: []evidenceProof{}}
	for _, p := range r.Proofs {
		var x evidenceProof
		switch {
		case p.Run != "":
			x = k.runs[p.Run]
			x.Proof = "check " + string(p.Run)
		case p.Command != "":
			x = evidenceProof{Proof: p.Command, Verdict: proofOnSite, Says: "a person runs it there"}
		default:
			x = evidenceProof{Proof: "test " + p.Test, Verdict: k.tests[p.Test]}
			if x.Verdict == "" {
				x.Verdict, x.Says = proofNotRun, "not among the results that were given"
			}
		}
		k.e.Counts[x.Verdict]++
		k.e.OK = k.e.OK && x.Verdict != proofFailed
		row.Proofs = append(row.Proofs, x)
	}
	k.e.Requirements = append(k.e.Requirements, row)
}

func (e evidence) text() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\nMade %s", certifiedIs, console.Clock(e.At))
	if e.Site != "" {
		fmt.Fprintf(&b, " of site %s", e.Site)
	}
	fmt.Fprintf(&b, "\n%s\n", e.sum())
	for _, r := range e.Requirements {
		fmt.Fprintf(&b, "\n%s  [%s]\n    %s\n", r.ID, r.Family, r.What)
		for _, p := range r.Proofs {
			fmt.Fprintf(&b, "    %-11s  %s", p.Verdict, p.Proof)
			if p.Says != "" {
				fmt.Fprintf(&b, ": %s", p.Says)
			}
			b.WriteByte('\n')
		}
		if r.Site != "" {
			fmt.Fprintf(&b, "    the site's   %s\n", r.Site)
		}
		if r.Open != "" {
			fmt.Fprintf(&b, "    NOT YET      %s\n", r.Open)
		}
	}
	return b.Bytes()
}

func (e evidence) sum() string {
	site, open := 0, 0
	for _, r := range e.Requirements {
		if r.Site != "" {
			site++
		}
		if r.Open != "" {
			open++
		}
	}
	return fmt.Sprintf("%d requirements; proofs: %d passed, %d failed, %d not run, %d to be run on the site; %d with duties of the site, %d with something that the software does not do yet",
		len(e.Requirements), e.Counts[proofPassed], e.Counts[proofFailed], e.Counts[proofNotRun], e.Counts[proofOnSite], site, open)
}

// KindEvidence is the record that an officer signs: which pack it was.
const KindEvidence = "evidence-pack"

// seal writes the manifest, and an officer's signature under its hash.
func (k *pack) seal(key keyfile.Key) error {
	manifest, err := layout.EncodeManifest(k.dir.Files())
	if err != nil {
		return err
	}
	k.e.Manifest = (statement.Signed{Body: manifest}).Hash()
	if err := k.dir.Add("manifest", manifest); err != nil || k.q.key == "" {
		return err
	}
	body, err := record.New(KindEvidence).Str("site", string(k.e.Site)).Time("at", k.e.At).Hex("manifest", k.e.Manifest[:]).
		Str("person", key.Officer.Person).Str("role", string(key.Officer.Role)).Hex("key", key.Officer.Key).Bytes()
	if err != nil {
		return err
	}
	s := statement.Signed{Body: body}
	key.Sign(&s)
	k.e.SignedBy = key.Officer.Person
	return k.dir.Add("manifest.signed", s.Encode())
}

func (k *pack) emit() error {
	if err := k.env.Emit(k.e, func(w io.Writer) {
		fmt.Fprintf(w, "%s: %s\n%s", k.q.out, k.e.sum(), certifiedIs)
	}); err != nil {
		return err
	}
	if !k.e.OK {
		return console.Refuted("%d proofs failed: %q says which", k.e.Counts[proofFailed], filepath.Join(k.q.out, "evidence.txt"))
	}
	return nil
}

// readTests reads which tests passed: by folder and name, as the map spells them.
func readTests(path string) (map[string]verdictOf, error) {
	out := map[string]verdictOf{}
	if path == "" {
		return out, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("opening the results of tests: %w", err)
	}
	defer f.Close() // only read
	d := json.NewDecoder(f)
	for {
		var line struct{ Action, Package, Test string }
		err := d.Decode(&line)
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, console.Hint(fmt.Errorf("reading %q: it is no output of 'go test -json'", path), "go test -json ./... > tests.json")
		}
		_, folder, _ := strings.Cut(line.Package, "/persoline/persoline/")
		if line.Test == "" || strings.Contains(line.Test, "/") {
			continue
		}
		switch name := folder + " " + line.Test; line.Action {
		case "pass":
			out[name] = proofPassed
		case "fail":
			out[name] = proofFailed
		case "skip":
			out[name] = proofNotRun
		}
	}
}
