package auditor

import (
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/persoline/persoline/ledger/audit"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/cmd/console"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/statement"
)

// listedExceptions is the result of "audit exceptions".
type listedExceptions struct {
	OK         bool              `json:"ok"`
	Open       int               `json:"open"`
	Exceptions []listedException `json:"exceptions"`
	Miscounts  []listedMiscount  `json:"hand_counts_that_differed"`
}

// listedMiscount is a hand count that differs from what was signed when its lot was closed. Nobody signs it off: it was counted again, or explained.
type listedMiscount struct {
	Entry  int64       `json:"entry"`
	At     time.Time   `json:"at"`
	Lot    perso.Name  `json:"lot"`
	Hand   countedBins `json:"counted"`
	Signed countedBins `json:"signed"`
}

// countedBins are the figures of one count.
type countedBins struct {
	In          uint64 `json:"in"`
	Good        uint64 `json:"good"`
	RejectBlank uint64 `json:"reject_blank"`
	RejectLive  uint64 `json:"reject_live"`
	Return      uint64 `json:"return"`
	Sample      uint64 `json:"sample"`
}

func binsOf(c entry.Count) countedBins {
	return countedBins{In: c.In, Good: c.Good, RejectBlank: c.RejectBlank, RejectLive: c.RejectLive, Return: c.Return, Sample: c.Sample}
}

func (b countedBins) String() string {
	return fmt.Sprintf("%d in, %d good, %d reject-blank, %d reject-live, %d return, %d sample", b.In, b.Good, b.RejectBlank, b.RejectLive, b.Return, b.Sample)
}

type listedException struct {
	Entry   int64          `json:"entry"`
	Kind    string         `json:"kind"`
	At      time.Time      `json:"at"`
	Lot     perso.Name     `json:"lot,omitempty"`
	What    string         `json:"what"`
	Hash    console.Digest `json:"hash"`
	Reviews []listedReview `json:"reviews"`
}

type listedReview struct {
	Officer perso.Name     `json:"officer"`
	Person  string         `json:"person"`
	Role    statement.Role `json:"role"`
	At      time.Time      `json:"at"`
	Finding string         `json:"finding"`
	Entry   int64          `json:"entry"`
}

func newExceptionsCmd(env *console.Console) *cobra.Command {
	var p pins
	var all bool
	c := &cobra.Command{
		Use:   "exceptions BUNDLE",
		Short: "List what a named person must look at, and who has",
		Long: console.Describe("Verifies a bundle and lists the exceptions that its log shows: alarms, refused files, what the office asked for and was refused, chips that\n"+
			"stopped a head, an officer's revocation after which nobody can sign what is asked for, quality's word that a lot is not accepted; and each hand count that differs from what its lot's officers signed, which nobody signs off. Those that nobody has signed off come by default, all with --all. 'draft-review' writes a person's word about them. The exit code is 3 when the bundle\n"+
			"does not verify; open exceptions are no fault of the bundle.", listedExceptions{}),
		Example: `  perso audit exceptions ./L-2027-0001.bundle
  perso audit exceptions ./L-2027-0001.bundle --all --json`,
		Args: console.Takes("BUNDLE"),
		RunE: func(_ *cobra.Command, args []string) error {
			r, err := p.verify(env, args[0])
			if err != nil {
				return err
			}
			return listExceptions(env, args[0], r, all)
		},
	}
	p.flags(c)
	c.Flags().BoolVar(&all, "all", false, "also those that were signed off")
	return c
}

func listExceptions(env *console.Console, path string, r audit.Report, all bool) error {
	list := listedExceptions{OK: r.OK(), Exceptions: []listedException{}, Miscounts: []listedMiscount{}}
	for _, m := range r.Miscounts {
		list.Miscounts = append(list.Miscounts, listedMiscount{Entry: m.Seq, At: m.Count.At, Lot: m.Count.Lot, Hand: binsOf(m.Count), Signed: binsOf(m.Signed)})
	}
	for _, x := range r.Exceptions {
		if x.Open() {
			list.Open++
		}
		if !all && !x.Open() {
			continue
		}
		list.Exceptions = append(list.Exceptions, listedOf(x))
	}
	if err := env.Emit(list, list.write); err != nil {
		return err
	}
	return refuted(path, r)
}

func listedOf(x audit.Exception) listedException {
	l := listedException{Entry: x.Seq, Kind: x.Kind, At: x.At, Lot: x.Lot, What: x.What, Hash: x.Hash, Reviews: []listedReview{}}
	for _, v := range x.Reviews {
		l.Reviews = append(l.Reviews, listedReview{Officer: v.By.ID, Person: v.By.Person, Role: v.By.Role, At: v.At, Finding: v.Finding, Entry: v.Entry})
	}
	return l
}

// exception reads it back.
func (l listedException) exception() audit.Exception {
	x := audit.Exception{Seq: l.Entry, Kind: l.Kind, At: l.At, Lot: l.Lot, What: l.What, Hash: l.Hash}
	for _, v := range l.Reviews {
		x.Reviews = append(x.Reviews, audit.Reviewed{By: statement.Officer{ID: v.Officer, Person: v.Person, Role: v.Role}, At: v.At, Finding: v.Finding, Entry: v.Entry})
	}
	return x
}

func (l listedExceptions) write(w io.Writer) {
	for _, x := range l.Exceptions {
		fmt.Fprintf(w, "%s %8d  %s\n", console.Clock(x.At), x.Entry, x.What)
		for _, v := range x.Reviews {
			fmt.Fprintf(w, "%*s  signed off by %s (%s) %s: %s\n", len(console.ClockForm)+9, "", v.Person, v.Role, v.At.Format(time.DateOnly), v.Finding)
		}
	}
	for _, m := range l.Miscounts {
		fmt.Fprintf(w, "%s %8d  hand count of lot %s: %s; signed were %s\n", console.Clock(m.At), m.Entry, m.Lot, m.Hand, m.Signed)
	}
	fmt.Fprintf(w, "%d exceptions are not signed off\n", l.Open)
}

// draftedReview is the result of "audit draft-review".
type draftedReview struct {
	Environment perso.Env      `json:"environment"`
	Entries     []int64        `json:"entries"`
	Hash        console.Digest `json:"hash"`
	File        string         `json:"file"`
}

func newDraftReviewCmd(env *console.Console) *cobra.Command {
	var entries []int64
	var findings []string
	var out string
	c := &cobra.Command{
		Use:   "draft-review BUNDLE",
		Short: "Write a person's word about exceptions, to be signed",
		Long: console.Describe("Writes a statement that signs off entries of a bundle's log: for each --entry what was found, with --finding in the same order, or one\n"+
			"finding for all. An officer, a supervisor or an auditor reads and signs it ('perso officer sign'), and 'perso audit review' puts it into the log. Any entry may\n"+
			"be signed off, not only an exception.", draftedReview{}),
		Example: `  perso audit draft-review ./L-2027-0001.bundle --entry 4711 --finding "worn contact on head 3, replaced" -o march.review
  perso audit draft-review ./L-2027-0001.bundle --entry 12 --entry 4711 --finding "sender told" --finding "head 3 replaced" -o march.review`,
		Args: console.Takes("BUNDLE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := console.Needs(cmd, "entry", "finding", "output"); err != nil {
				return err
			}
			return draftReview(env, args[0], entries, findings, out)
		},
	}
	c.Flags().Int64SliceVar(&entries, "entry", nil, "number of a log entry")
	c.Flags().StringArrayVar(&findings, "finding", nil, "what it was, and what was done")
	c.Flags().StringVarP(&out, "output", "o", "", "file to write")
	return c
}

func draftReview(env *console.Console, path string, entries []int64, findings []string, out string) error {
	if len(findings) != 1 && len(findings) != len(entries) {
		return console.Usage("%d entries and %d findings: one for each, or one for all", len(entries), len(findings))
	}
	if len(entries) > statement.MaxReviewed {
		return console.Usage("%d entries, at most %d in one review", len(entries), statement.MaxReviewed)
	}
	words := map[int64]string{}
	for i, seq := range entries {
		words[seq] = findings[min(i, len(findings)-1)]
	}
	l, err := openLog(path, theLog{})
	if err != nil {
		return err
	}
	v := statement.Review{At: env.Now().UTC()}
	if _, err := io.ReadFull(env.Rand, v.Nonce[:]); err != nil {
		return fmt.Errorf("drawing a nonce: %w", err)
	}
	err = l.Each(func(seq int64, body []byte) error {
		if seq == 0 {
			g, err := entry.ParseGenesis(body)
			v.Env, v.Site = g.Env, g.Site
			return err
		}
		if word, asked := words[seq]; asked {
			v.Items = append(v.Items, statement.Reviewed{Entry: uint64(seq), Hash: entry.Hash(body), Finding: word})
			delete(words, seq)
		}
		return nil
	})
	if err != nil {
		return console.Refuted("%q: %w", path, err)
	}
	for seq := range words {
		return console.Usage("--entry %d: the log has %d entries, from 1 on", seq, l.Checkpoint.Size)
	}
	body, err := v.Encode()
	if err == nil {
		_, err = statement.ParseReview(body)
	}
	if err != nil {
		return console.Usage("--finding: %w", err)
	}
	if err := console.Create(out, body); err != nil {
		return err
	}
	slices.Sort(entries)
	err = env.Emit(draftedReview{Environment: v.Env, Entries: entries, Hash: (statement.Signed{Body: body}).Hash(), File: out}, func(w io.Writer) { fmt.Fprintln(w, out) })
	env.Advise("next: an officer reads and signs it: perso officer sign %s --key KEYFILE", console.Quoted(out))
	return err
}
