package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/cmd/tell"
	"github.com/persoline/persoline/perso/id"
)

// traced is the result of "trace": the entries as they stand in the log, which are text.
type traced struct {
	Lot     perso.Name    `json:"lot,omitempty"`
	Unit    perso.Unit    `json:"unit"`
	Reel    perso.Name    `json:"reel,omitempty"`
	Entries []tracedEntry `json:"entries"`
}

type tracedEntry struct {
	Seq  int64  `json:"seq"`
	Kind string `json:"kind"`
	Body string `json:"body"`
}

func newTraceCmd(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:   "trace EID|ICCID|CHIP",
		Short: "Tell the life of one unit or chip",
		Long:  Describe("Tells everything that the log holds about a unit and its chips, found by EID, ICCID or chip id (hex), oldest first.", traced{}),
		Example: `  perso trace 89049099002000000000000000000080
  perso trace 8988001020001000004
  perso trace 479012340001000000a1 --json`,
		Args: func(cmd *cobra.Command, args []string) error {
			if err := Takes("EID, ICCID or CHIP")(cmd, args); err != nil {
				return err
			}
			return traceable(strings.TrimSpace(args[0]))
		},
		RunE: env.online(quick, func(ctx context.Context, office bus.Requester, args []string) error {
			key := strings.TrimSpace(args[0])
			r, err := ask[bus.TraceReply](ctx, office, bus.OfficeTrace, bus.TraceRequest{Key: key})
			if err != nil {
				return untraced(key, err)
			}
			return showTrace(env, r)
		}),
	}
}

// untraced is the error about a key. One that the ledger does not know, and that has a wrong check digit, was mistyped.
func untraced(key string, err error) error {
	var fault *bus.Fault
	if errors.As(err, &fault) && fault.Code == bus.FaultNotFound {
		if wrong := mistyped(key); wrong != nil {
			return wrong
		}
	}
	return err
}

// mistyped says which check digit of an EID or ICCID is wrong; nil if none is.
func mistyped(key string) error {
	_, asEID := id.ParseEID(key)
	_, asICCID := id.ParseICCID(key)
	switch {
	case asEID == nil || asICCID == nil:
		return nil
	case errors.Is(asEID, id.ErrCheckDigit):
		return Usage("%w", asEID)
	case errors.Is(asICCID, id.ErrCheckDigit):
		return Usage("%w", asICCID)
	}
	return nil
}

// traceable refuses what cannot be meant. Digits that are wrong as an EID or ICCID may still be a chip's id: only the ledger
// knows.
func traceable(key string) error {
	_, asEID := id.ParseEID(key)
	_, asICCID := id.ParseICCID(key)
	_, asChip := id.ParseChipID(key)
	if asEID == nil || asICCID == nil || asChip == nil {
		return nil
	}
	if wrong := mistyped(key); wrong != nil {
		return wrong
	}
	return Usage("%q is no EID (%d digits), no ICCID (18 to 20 digits) and no chip id (%d to %d bytes in hex)", key, id.EIDDigits, id.MinChipIDBytes, id.MaxChipIDBytes)
}

func showTrace(env *Env, r bus.TraceReply) error {
	result := traced{Lot: r.Lot, Unit: r.Unit, Reel: r.Reel, Entries: []tracedEntry{}}
	for _, e := range r.Entries {
		result.Entries = append(result.Entries, tracedEntry{Seq: e.Seq, Kind: e.Kind, Body: string(e.Body)})
	}
	return env.Emit(result, func(w io.Writer) {
		if r.Lot != "" {
			fmt.Fprintf(w, "unit %d of lot %s\n", r.Unit, r.Lot)
		}
		if r.Reel != "" {
			fmt.Fprintf(w, "in stock on reel %s, in no unit yet\n", r.Reel)
		}
		for _, e := range r.Entries {
			when, text := tell.Entry(e.Kind, e.Body)
			fmt.Fprintf(w, "%s %8d  %s\n", when, e.Seq, text)
		}
	})
}
