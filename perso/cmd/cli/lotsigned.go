package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/record"
	"github.com/persoline/persoline/perso/statement"
)

// This file is what happens to a lot by officers' signatures: release and close.

// balance is statement.Counts as it is written for people and programs.
type balance struct {
	In          uint64 `json:"in"`
	CarriedOver uint64 `json:"carried_over"`
	Good        uint64 `json:"good"`
	RejectBlank uint64 `json:"reject_blank"`
	RejectLive  uint64 `json:"reject_live"`
	Sample      uint64 `json:"sample"`
	Returned    uint64 `json:"returned"`
	Missing     uint64 `json:"missing"`
	InWork      uint64 `json:"in_work"`
	Difference  int64  `json:"difference"`
}

func balanceOf(c *statement.Counts) *balance {
	if c == nil {
		return nil
	}
	return &balance{
		In: c.In, CarriedOver: c.CarriedOver, Good: c.Good, RejectBlank: c.RejectBlank, RejectLive: c.RejectLive,
		Sample: c.Sample, Returned: c.Returned, Missing: c.Missing, InWork: c.InWork, Difference: c.Difference(),
	}
}

// String is the equation of the balance.
func (b *balance) String() string {
	s := fmt.Sprintf("%d in + %d carried over = %d good + %d reject-blank + %d reject-live + %d sample + %d returned + %d missing + %d in work",
		b.In, b.CarriedOver, b.Good, b.RejectBlank, b.RejectLive, b.Sample, b.Returned, b.Missing, b.InWork)
	if b.Difference != 0 {
		s += fmt.Sprintf(" (difference %d)", b.Difference)
	}
	return s
}

// agreed is the result of "lot release" and "lot close".
type agreed struct {
	Lot   perso.Name     `json:"lot"`
	State perso.LotState `json:"state"`
}

func newLotReleaseCmd(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:   "release FILE.signed",
		Short: "Release a lot with the officers' signatures",
		Long: Describe("Hands a release that two officers of different role signed to the ledger, and through it to the vault, which checks it for itself.\n"+
			"The work orders go out.", agreed{}),
		Example: `  perso lot release demo.release.signed`,
		Args:    Takes("FILE.signed"),
		RunE: env.online(quick, func(ctx context.Context, office bus.Requester, args []string) error {
			return submitSigned(ctx, env, office, args[0], statement.KindRelease, bus.OfficeRelease, perso.LotReleased)
		}),
	}
}

func newLotCloseCmd(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:     "close FILE.signed",
		Short:   "Close a lot with the officers' signatures",
		Long:    Describe("Hands a closing that two officers of different role signed to the ledger, which refuses it while anything is unexplained.", agreed{}),
		Example: `  perso lot close demo.close.signed`,
		Args:    Takes("FILE.signed"),
		RunE: env.online(quick, func(ctx context.Context, office bus.Requester, args []string) error {
			return submitSigned(ctx, env, office, args[0], statement.KindClose, bus.OfficeClose, perso.LotClosed)
		}),
	}
}

// readSigned reads a statement of one of these kinds, with its signatures, as it is handed in: another kind, or a draft without
// signatures, is the wrong file.
func (env *Env) readSigned(path string, kinds ...string) ([]byte, statement.Signed, error) {
	b, err := env.read(path, statement.MaxSignedBytes)
	if err != nil {
		return nil, statement.Signed{}, err
	}
	s, err := statement.DecodeSigned(b)
	if err != nil {
		return nil, statement.Signed{}, Hint(fmt.Errorf("reading %q: %w", path, err), "'perso officer sign' makes the file FILE%s", signedSuffix)
	}
	if got, err := record.Kind(s.Body); err != nil || !slices.Contains(kinds, got) {
		return nil, statement.Signed{}, Hint(errors.Join(err, fmt.Errorf("reading %q: it is a %q", path, got)), "this is the wrong file: the command takes %s", strings.Join(kinds, ", "))
	}
	return b, s, nil
}

// submitSigned looks before it sends: a statement of another kind, or a draft without signatures, is the wrong file.
func submitSigned(ctx context.Context, env *Env, office bus.Requester, path, kind, verb string, becomes perso.LotState) error {
	b, _, err := env.readSigned(path, kind)
	if err != nil {
		return err
	}
	r, err := ask[bus.LotReply](ctx, office, verb, bus.SignedRequest{Signed: b})
	if err != nil && (strings.Contains(err.Error(), bus.BlockNotCounted) || strings.Contains(err.Error(), bus.BlockCountAgain)) {
		return Hint(err, "%s", env.countHint("LOT"))
	}
	if err != nil {
		return err
	}
	err = env.Emit(agreed{Lot: r.Lot, State: becomes}, func(w io.Writer) { fmt.Fprintf(w, "lot %s is %s\n", r.Lot, becomes) })
	if becomes == perso.LotReleased {
		env.Advise("next: %s", env.Command("lot status", "%s --follow", r.Lot))
	}
	return err
}

// countHint is for whoever closes a lot that no person has counted.
func (env *Env) countHint(lot perso.Name) string {
	return "count the bins first: " + env.Command("lot count", "%s --in N --good N --reject-blank N --reject-live N --return N", lot)
}

// blocked is the result of "lot draft-close" when the lot cannot be closed.
type blocked struct {
	Lot     perso.Name     `json:"lot"`
	State   perso.LotState `json:"state"`
	Blocks  []string       `json:"blocks"`
	Balance *balance       `json:"balance,omitempty"`
}

func newLotDraftCloseCmd(env *Env) *cobra.Command {
	var out string
	c := &cobra.Command{
		Use:   "draft-close LOT",
		Short: "Write the closing of a lot, for officers to read and sign",
		Long: Describe(Describe("Writes the closing of a lot with the ledger's balance, once its counts hold: ledger, handler and hand count agree. While they do\n"+
			"not, it says what is in the way and writes nothing.", drafted{}), blocked{}) + " when the lot cannot close",
		Example: `  perso lot draft-close L-2027-0001 -o demo.close`,
		Args:    Takes("LOT"),
		RunE: env.online(quick, func(ctx context.Context, office bus.Requester, args []string) error {
			_, s, err := env.standing(ctx, office, args[0])
			if err != nil {
				return err
			}
			return draftClose(env, s, out)
		}),
	}
	c.Flags().StringVarP(&out, "output", "o", "", "file to write (default standard output)")
	return c
}

func draftClose(env *Env, s bus.StatusReply, out string) error {
	blocks := s.Blocks
	switch {
	case s.State == perso.LotClosed:
		blocks = []string{"it is closed already"}
	case s.State != perso.LotComplete || s.Balance == nil && !s.Hidden:
		blocks = append(blocks, fmt.Sprintf("it is %s, not complete: %d of %d good, %d in work", s.State, s.Good, s.Ordered, s.Open))
	case len(blocks) == 0 && s.Balance.Difference() != 0:
		blocks = []string{fmt.Sprintf("its counts differ by %d", s.Balance.Difference())}
	}
	if len(blocks) > 0 {
		return refuseClose(env, blocked{Lot: s.Lot, State: s.State, Blocks: blocks, Balance: balanceOf(s.Balance)})
	}
	c := statement.Close{Env: s.Env, Lot: s.Lot, At: s.Now, Counts: *s.Balance}
	if _, err := io.ReadFull(env.Rand, c.Nonce[:]); err != nil {
		return fmt.Errorf("drawing a nonce: %w", err)
	}
	body, err := c.Encode()
	if err != nil {
		return fmt.Errorf("drafting the closing of lot %q: %w", s.Lot, err)
	}
	return env.handOut(statement.KindClose, s.Lot, body, out)
}

func refuseClose(env *Env, b blocked) error {
	all := []error{env.Emit(b, func(w io.Writer) {
		if b.Balance != nil {
			fmt.Fprintf(w, "balance of lot %s: %s\n", b.Lot, b.Balance)
		}
	})}
	for _, reason := range b.Blocks {
		err := fmt.Errorf("lot %s cannot be closed: %s", b.Lot, reason)
		if reason == bus.BlockNotCounted || reason == bus.BlockCountAgain {
			err = Hint(err, "%s", env.countHint(b.Lot))
		}
		all = append(all, err)
	}
	return errors.Join(all...)
}
