package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/cmd/tell"
	"github.com/persoline/persoline/perso/entry"
)

func newLogCmd(env *Env) *cobra.Command {
	return Group("log", "Look into the log of a running site", `  perso log tail --follow
  perso log search twin --kind alarm`, newLogTailCmd(env), newLogSearchCmd(env))
}

// logged is one line of "log tail" and "log search".
type logged struct {
	Seq  int64  `json:"seq"`
	Kind string `json:"kind"`
	Body string `json:"body"`
}

func newLogTailCmd(env *Env) *cobra.Command {
	var lines uint64
	var kinds []string
	var follow bool
	c := &cobra.Command{
		Use:   "tail",
		Short: "Tell the newest entries of the log",
		Long: Describe("Tells the newest entries of the log, oldest first, one a line; with --json one object per line. It is the ledger's word: what an\n"+
			"auditor relies on is a bundle, which is verified.", logged{}),
		Example: `  perso log tail
  perso log tail --lines 100 --kind alarm --kind order-refused
  perso log tail --follow --json`,
		Args: Takes(),
	}
	limit := unbounded
	c.RunE = env.online(limit, func(ctx context.Context, office bus.Requester, _ []string) error {
		if err := knownKinds(kinds); err != nil {
			return err
		}
		if lines == 0 {
			return Usage("--lines: 0 entries are none to tell: 1 or more")
		}
		return tailLog(ctx, env, office, bus.LogRequest{Last: lines, Kinds: kinds}, follow)
	})
	c.Flags().Uint64VarP(&lines, "lines", "n", 20, "how many of the newest entries are looked at")
	c.Flags().StringArrayVar(&kinds, "kind", nil, "only entries of this kind (ledger/FORMAT.md lists them)")
	c.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what is logged from now on, until it is ended")
	return c
}

func newLogSearchCmd(env *Env) *cobra.Command {
	q := bus.LogRequest{}
	var most uint64
	c := &cobra.Command{
		Use:   "search TEXT",
		Short: "Find entries of the log by a text in them",
		Long: Describe("Goes through the whole log, or from --from on, for entries that have TEXT in them as they are written: an EID, a chip id, a reason,\n"+
			"the name of a line. What is known by EID, ICCID or chip is found sooner by 'perso trace'.", logged{}),
		Example: `  perso log search twin --kind alarm
  perso log search "line line-2" --kind outcome --from 120000 --most 50`,
		Args: Takes("TEXT"),
		RunE: env.online(lengthy, func(ctx context.Context, office bus.Requester, args []string) error {
			if err := knownKinds(q.Kinds); err != nil {
				return err
			}
			q.Text = args[0]
			return searchLog(ctx, env, office, q, most)
		}),
	}
	c.Flags().StringArrayVar(&q.Kinds, "kind", nil, "only entries of this kind (ledger/FORMAT.md lists them)")
	c.Flags().Int64Var(&q.From, "from", 0, "number of the first entry that is looked at")
	c.Flags().Uint64Var(&most, "most", 1_000, "how many are told")
	return c
}

// knownKinds refuses a kind that no entry has: nothing found would say that nothing happened.
func knownKinds(kinds []string) error {
	for _, k := range kinds {
		if !slices.Contains(entry.Kinds(), k) {
			return Usage("--kind: no entry is a %q; they are %s", k, strings.Join(entry.Kinds(), ", "))
		}
	}
	return nil
}

// tellLogged writes entries one a line, as they come: what is followed has no end.
func tellLogged(env *Env, entries []bus.TraceEntry) error {
	for _, e := range entries {
		var line []byte
		if env.JSON {
			b, err := json.Marshal(logged{Seq: e.Seq, Kind: e.Kind, Body: string(e.Body)})
			if err != nil {
				return fmt.Errorf("writing an entry as JSON: %w", err)
			}
			line = append(b, '\n')
		} else {
			when, text := tell.Entry(e.Kind, e.Body)
			line = fmt.Appendf(nil, "%s %8d  %s\n", when, e.Seq, text)
		}
		if _, err := env.Out.Write(line); err != nil {
			return fmt.Errorf("writing an entry: %w", err)
		}
	}
	return nil
}

func tailLog(ctx context.Context, env *Env, office bus.Requester, q bus.LogRequest, follow bool) error {
	const poll = 500 * time.Millisecond
	for {
		r, err := ask[bus.LogReply](ctx, office, bus.OfficeLog, q)
		switch {
		case err == nil:
			if err := tellLogged(env, r.Entries); err != nil || !follow {
				return err
			}
			q.From, q.Last = r.Next, 0
		case !follow || !errors.Is(err, bus.ErrNoAnswer):
			return err
		}
		if r.Next < r.Size {
			continue
		}
		if err := env.Sleep(ctx, poll); err != nil {
			return nil // a person ended it
		}
	}
}

func searchLog(ctx context.Context, env *Env, office bus.Requester, q bus.LogRequest, most uint64) error {
	found := uint64(0)
	for {
		r, err := ask[bus.LogReply](ctx, office, bus.OfficeLog, q)
		if err != nil {
			return err
		}
		room := min(uint64(len(r.Entries)), most-found)
		if err := tellLogged(env, r.Entries[:room]); err != nil {
			return err
		}
		if found += room; found == most && (room < uint64(len(r.Entries)) || r.Next < r.Size) {
			env.Advise("%d entries are told and there may be more: --from %d goes on", found, nextAfter(r, room))
			return nil
		}
		if q.From = r.Next; r.Next >= r.Size {
			fmt.Fprintf(env.Err, "perso: %d entries among %d\n", found, r.Size)
			return nil
		}
	}
}

// nextAfter is where a search goes on that told so many of a reply's entries.
func nextAfter(r bus.LogReply, told uint64) int64 {
	if told < uint64(len(r.Entries)) {
		return r.Entries[told].Seq
	}
	return r.Next
}
