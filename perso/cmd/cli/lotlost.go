package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/statement"
)

// This file is for units that began and never end: who they are, and how two officers give one up.

func newLotInWorkCmd(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:   "in-work LOT",
		Short: "List the units that have begun and not ended",
		Long: Describe("Lists each unit of the lot that is bound to a chip and has no verdict, with the place of its last session, and the last alarm about\n"+
			"the chip. A unit that is due has asked the vault for its verdict. One that never ends - the vault refuses its act, the release has\n"+
			"expired, the chip is gone - is given up by two officers: 'perso lot draft-lost', 'perso officer sign', 'perso lot lose'.", bus.InWorkReply{}),
		Example: `  perso lot in-work L-2027-0001`,
		Args:    Takes("LOT"),
		RunE: env.online(quick, func(ctx context.Context, office bus.Requester, args []string) error {
			lot, err := lotArg(args[0])
			if err != nil {
				return err
			}
			r, err := ask[bus.InWorkReply](ctx, office, bus.OfficeInWork, bus.InWorkRequest{Lot: lot})
			if err != nil {
				return env.noLot(err)
			}
			if r.Units == nil {
				r.Units = []bus.UnitInWork{}
			}
			if len(r.Units) > 0 {
				env.Advise("a unit that never ends is given up by two officers: %s", env.Command("lot draft-lost", "%s --chip CHIP --fate reject-live --reason TEXT -o FILE", lot))
			}
			return env.Emit(r, func(w io.Writer) { writeInWork(w, r) })
		}),
	}
}

func writeInWork(w io.Writer, r bus.InWorkReply) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "UNIT\tGEN\tCHIP\tEID\tSTATE\tAT\tSINCE\tACTS\tDUE\tLAST ALARM")
	for _, u := range r.Units {
		due, alarm, eid := "-", u.Alarm, cmp.Or(u.EID, "-")
		if u.Due {
			due = "yes"
		}
		if alarm == "" {
			alarm = "-"
		}
		fmt.Fprintf(t, "%d\t%d\t%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\n", u.Unit, u.Gen, u.Chip, eid, u.State, u.Present, clock(u.Since), u.Acts, due, alarm)
	}
	_ = t.Flush() // into memory
	if r.More {
		fmt.Fprintln(w, "and more")
	}
}

func newLotDraftLostCmd(env *Env) *cobra.Command {
	var chip, fate, reason, out string
	c := &cobra.Command{
		Use:   "draft-lost LOT",
		Short: "Write the statement that gives a unit up, for officers to read and sign",
		Long: Describe("Writes the statement by which two officers give up the unit of a chip that will never get its verdict ('perso lot in-work' lists them).\n"+
			"--fate says where the chip is: reject-live, in the locked bin, because it may hold live keys, or missing. A missing chip that turns up\n"+
			"later goes into the locked bin too, apart from those that are counted there: the statement counts it. A unit whose verdict is good\n"+
			"on record is given up the same way while its chip lies in no bin.", drafted{}),
		Example: `  perso lot draft-lost L-2027-0001 --chip 47901234000165a30000 --fate reject-live --reason "the vault refuses its act" -o demo.lost
  perso lot draft-lost L-2027-0001 --chip 47901234000165a30000 --fate missing --reason "fell off the belt at head 3" -o demo.lost`,
		Args: Takes("LOT"),
	}
	c.RunE = env.online(quick, func(ctx context.Context, office bus.Requester, args []string) error {
		if err := needs(c, "chip", "fate", "reason"); err != nil {
			return err
		}
		lot, err := lotArg(args[0])
		if err != nil {
			return err
		}
		w := statement.Lost{Reason: reason}
		if w.Fate, err = statement.ParseFate(fate); err != nil {
			return Usage("--fate: %w", err)
		}
		if w.Chip, err = id.ParseChipID(chip); err != nil {
			return Usage("--chip: %w", err)
		}
		r, err := ask[bus.InWorkReply](ctx, office, bus.OfficeInWork, bus.InWorkRequest{Lot: lot, Chip: w.Chip.String()})
		var fault *bus.Fault
		if errors.As(err, &fault) && fault.Code == bus.FaultNotFound {
			return Hint(err, "'%s' lists those in work", env.Command("lot in-work", "%s", lot))
		}
		if err != nil {
			return err
		}
		if s, err := askLot[bus.StatusReply](ctx, env, office, bus.OfficeStatus, lot); err != nil {
			return err
		} else if s.State == perso.LotClosed {
			return Hint(fmt.Errorf("lot %s is closed: its counts are signed, and no unit of it is given up", lot), "'%s' shows the chip's life", env.Command("trace", "%s", w.Chip))
		}
		return draftLost(env, r, w, out)
	})
	c.Flags().StringVar(&chip, "chip", "", "chip id in hex")
	c.Flags().StringVar(&fate, "fate", "", "where the chip is: reject-live or missing")
	c.Flags().StringVar(&reason, "reason", "", "what happened, in words")
	c.Flags().StringVarP(&out, "output", "o", "", "file to write (default standard output)")
	return c
}

func draftLost(env *Env, r bus.InWorkReply, w statement.Lost, out string) error {
	if len(r.Units) != 1 {
		return fmt.Errorf("drafting the loss of chip %s: the ledger knows %d units of it", w.Chip, len(r.Units))
	}
	u := r.Units[0]
	if u.State == perso.UnitLost {
		return Hint(fmt.Errorf("chip %s is on record as lost already", w.Chip), "'%s' shows its life", env.Command("trace", "%s", w.Chip))
	}
	if u.Stays != "" {
		return Hint(errors.New(u.Stays), "'%s' shows its life", env.Command("trace", "%s", w.Chip))
	}
	var err error
	if u.EID != "" {
		if w.EID, err = id.ParseEID(u.EID); err != nil {
			return err
		}
	}
	w.Env, w.Site, w.Lot, w.Release, w.At = r.Env, r.Site, r.Lot, r.Release, r.Now
	w.Unit, w.Gen, w.Index, w.Claim, w.Session = u.Unit, u.Gen, u.Index, u.Claim, u.Session
	if _, err := io.ReadFull(env.Rand, w.Nonce[:]); err != nil {
		return fmt.Errorf("drawing a nonce: %w", err)
	}
	body, err := w.Encode()
	if err == nil {
		_, err = statement.ParseLost(body)
	}
	if err != nil {
		return fmt.Errorf("drafting the loss of chip %s: %w", w.Chip, err)
	}
	return env.handOut(statement.KindLost, r.Lot, body, out)
}

// givenUp is the result of "lot lose".
type givenUp struct {
	Lot     perso.Name     `json:"lot"`
	Unit    perso.Unit     `json:"unit"`
	Chip    string         `json:"chip"`
	Good    bool           `json:"good"`
	Fate    statement.Fate `json:"fate"`
	Receipt string         `json:"receipt"`
}

func newLotLoseCmd(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:   "lose FILE.signed",
		Short: "Give a unit up with the officers' signatures",
		Long: Describe("Hands a statement that two officers of different role signed to the ledger, which logs it, and through it to the vault that makes the lot.\n"+
			"The vault never calls the unit good from then on, and says so with a receipt; the unit is lost, and may be made again on another\n"+
			"chip. If the vault had called it good before, it is good. Hand the same file in again when the vault was away.", givenUp{}),
		Example: `  perso lot lose demo.lost.signed`,
		Args:    Takes("FILE.signed"),
		RunE: env.online(quick, func(ctx context.Context, office bus.Requester, args []string) error {
			return loseUnit(ctx, env, office, args[0])
		}),
	}
}

func loseUnit(ctx context.Context, env *Env, office bus.Requester, path string) error {
	b, s, err := env.readSigned(path, statement.KindLost)
	if err != nil {
		return err
	}
	w, err := statement.ParseLost(s.Body)
	if err != nil {
		return err
	}
	r, err := ask[bus.LoseReply](ctx, office, bus.OfficeLose, bus.SignedRequest{Signed: b})
	if err != nil {
		return err
	}
	if r.Good {
		env.Advise("a good chip that is found goes under a head once more, which puts it into the good bin; while it lies in none, nobody is handed its keys")
	}
	return env.Emit(givenUp{Lot: r.Lot, Unit: r.Unit, Chip: w.Chip.String(), Good: r.Good, Fate: w.Fate, Receipt: string(r.Receipt)}, func(out io.Writer) {
		if r.Good {
			fmt.Fprintf(out, "unit %d of lot %s is good: the vault had called chip %s good before\n", r.Unit, r.Lot, w.Chip)
			return
		}
		fmt.Fprintf(out, "unit %d of lot %s is given up: chip %s is never good, and counts as %s\n", r.Unit, r.Lot, w.Chip, w.Fate)
	})
}
