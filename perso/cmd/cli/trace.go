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
	"github.com/persoline/persoline/perso/entry"
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
			when, text := tell(e)
			fmt.Fprintf(w, "%s %8d  %s\n", when, e.Seq, text)
		}
	})
}

// tell says an entry in words. What cannot be read is shown as it is: the log keeps it, so a person should see it.
func tell(e bus.TraceEntry) (when, text string) {
	at, errTime := entry.TimeOf(e.Body)
	text, err := words(e)
	if err = errors.Join(err, errTime); err != nil {
		return fmt.Sprintf("%-*s", len(clockForm), "?"), fmt.Sprintf("%s that this program cannot read: %q", e.Kind, e.Body)
	}
	return clock(at), text
}

func words(e bus.TraceEntry) (string, error) {
	switch e.Kind {
	case entry.KindClaim:
		return telling(e, entry.ParseClaim, tellClaim)
	case entry.KindAct:
		return telling(e, entry.ParseAct, tellAct)
	case entry.KindCertificate:
		return telling(e, entry.ParseCertificate, tellCertificate)
	case entry.KindOutcome:
		return telling(e, entry.ParseOutcome, tellOutcome)
	case entry.KindPresent:
		return telling(e, entry.ParsePresent, func(p entry.Present) string {
			return fmt.Sprintf("%s at %s: %s%s", chipName(p.Chip), p.Present, p.Verdict, because(p.Reason))
		})
	case entry.KindBin:
		return telling(e, entry.ParseBin, func(b entry.Bin) string {
			return fmt.Sprintf("%s lies in the %s bin, from %s", chipName(b.Chip), b.Bin, b.Present)
		})
	case entry.KindAlarm:
		return telling(e, entry.ParseAlarm, func(a entry.Alarm) string {
			return fmt.Sprintf("ALARM at %s: %s %s", a.Present, a.Reason, a.Detail)
		})
	}
	// Other kinds concern lots, not units; the ledger may yet come to index them.
	if _, err := entry.TimeOf(e.Body); err != nil {
		return "", err
	}
	return e.Kind, nil
}

func telling[T any](e bus.TraceEntry, parse func([]byte) (T, error), tell func(T) string) (string, error) {
	v, err := parse(e.Body)
	if err != nil {
		return "", err
	}
	return tell(v), nil
}

func tellClaim(c entry.Claim) string {
	s := fmt.Sprintf("chip %s takes EID %s at %s", c.Chip, c.EID, c.Present)
	if c.EID.IsZero() {
		s = fmt.Sprintf("chip %s takes the unit at %s", c.Chip, c.Present)
	}
	if c.Gen > 0 {
		s += fmt.Sprintf(", as generation %d after the loss at %d", c.Gen, c.Loss)
	}
	return s
}

func tellAct(a entry.Act) string {
	if a.N == 0 {
		return fmt.Sprintf("session %s begins at %s", a.Session, a.Present)
	}
	return fmt.Sprintf("session %s: answers to window %d arrive", a.Session, a.N)
}

func tellCertificate(c entry.Certificate) string {
	s := fmt.Sprintf("certificate %x is made for EID %s", c.Cert[:8], c.EID)
	if c.Supersedes != [32]byte{} {
		s += fmt.Sprintf(", instead of %x", c.Supersedes[:8])
	}
	return s
}

func tellOutcome(o entry.Outcome) string {
	s := fmt.Sprintf("chip %s with EID %s is %s%s", o.Chip, o.EID, o.Verdict, because(o.Reason))
	if o.EID.IsZero() {
		s = fmt.Sprintf("chip %s is %s%s", o.Chip, o.Verdict, because(o.Reason))
	}
	if o.Step != "" {
		s += " in step " + o.Step
	}
	if o.SW != 0 {
		s += fmt.Sprintf(" with status %04X", o.SW)
	}
	return s + fmt.Sprintf(", at %s", o.Present)
}

func because(r perso.Reason) string {
	if r == perso.ReasonNone || r == "" {
		return ""
	}
	return " (" + string(r) + ")"
}

func chipName(c id.ChipID) string {
	if c.IsZero() {
		return "a chip that cannot be read"
	}
	return "chip " + c.String()
}
