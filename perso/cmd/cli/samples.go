package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/statement"
)

// samplingFlags are the flags by which a policy asks for samples.
type samplingFlags struct{ plan, aql, become string }

func (f *samplingFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.plan, "samples", "", `sampling plan, rows UP_TO:SIZE/ACCEPT in rising order, as in "50:8/0 500:50/1"; SIZE chips or a few more are drawn`)
	c.Flags().StringVar(&f.aql, "aql", "", "the sampling plan of ISO 2859-1 for this acceptance quality limit, as in 1.0 (level II, single, normal)")
	c.Flags().StringVar(&f.become, "samples-become", statement.SamplesOutput, "what becomes of good samples: output (delivered) or kept (delivered to nobody)")
}

// read gives the plan; empty without one. It is told which flags were given.
func (f samplingFlags) read(changed func(flag string) bool) (s statement.Sampling, err error) {
	switch {
	case f.plan != "" && f.aql != "":
		return "", Usage("--samples and --aql: one plan is enough")
	case f.aql != "":
		s, err = statement.ISOSampling(f.aql, f.become)
	case f.plan != "":
		if s, err = statement.ParseSampling(f.become + " " + f.plan); err == nil {
			err = drawable(s)
		}
	case changed("samples-become"):
		return "", Usage("--samples-become: there are no samples without a plan: give --samples or --aql too")
	}
	if err != nil {
		return "", Usage("%w", err)
	}
	return s, nil
}

// drawable refuses a row that no lot can fill, which was mistyped. ISO 2859-1 has such rows, and says that all are examined then.
func drawable(s statement.Sampling) error {
	for _, r := range s.Rows() {
		if r.Size > r.UpTo {
			return fmt.Errorf("--samples: of a lot of up to %d units %d samples are more than there are", r.UpTo, r.Size)
		}
	}
	return nil
}

// samplingText says a plan in words.
func samplingText(s statement.Sampling) string {
	_, rows, _ := strings.Cut(string(s), " ")
	good := "the good ones go back among the units to deliver"
	if s.Kept() {
		good = "the good ones are kept and delivered to nobody"
	}
	return fmt.Sprintf("quality examines samples by the plan %s, and %s", rows, good)
}

// samplesText says how a lot stands with its samples; hidden is before its bins were counted, by a policy of blind counts.
// notAccepted says whether quality did not accept a lot.
func notAccepted(s bus.StatusReply) bool { return s.Samples != nil && s.Samples.State == "rejected" }

func samplesText(s *bus.Samples, hidden bool) string {
	state := map[string]string{"due": "quality has not signed", "accepted": "accepted by quality", "rejected": "NOT accepted by quality"}[s.State]
	if hidden {
		return fmt.Sprintf("%d drawn, where they lie is hidden until counted; %s", s.Drawn, state)
	}
	return fmt.Sprintf("%d drawn, %d in their bin; %s: %d back among the good, %d kept, %d bad", s.Drawn, s.InBin, state, s.Back, s.Kept, s.Failed)
}

func newLotDraftSamplesCmd(env *Env) *cobra.Command {
	var w statement.Samples
	var failed []string
	c := &cobra.Command{
		Use:   "draft-samples LOT",
		Short: "Write what quality found in a lot's samples, for quality to sign",
		Long: Describe("Writes quality's word about the samples of a complete lot, which lie in the bin of samples: those that are not named with --failed are\n"+
			"good. Handed in ('perso hand-in'), it lets the lot be counted, closed and handed out; with more bad ones than the plan accepts nothing of\n"+
			"the lot is handed out, and once it is closed its good chips are live rejects ('perso chips draft-destroy'). Bad samples go into the locked bin, good ones where the policy says, before people count.", drafted{}),
		Example: `  perso lot draft-samples L-2027-0001 --finding "eight read back, all as ordered" -o demo.samples`,
		Args:    Takes("LOT"),
	}
	c.Flags().StringVar(&w.Finding, "finding", "", "what was examined and found, in words")
	c.Flags().Uint64Var(&w.Examined, "examined", 0, "how many samples were examined (default: all that lie in their bin, or were drawn where that is hidden)")
	c.Flags().StringArrayVar(&failed, "failed", nil, "chip id of a bad sample")
	return env.drafts(c, []string{"finding"}, func(ctx context.Context, office bus.Requester, args []string, h statement.Header) (string, []byte, error) {
		lot, s, err := env.standing(ctx, office, args[0])
		switch {
		case err != nil:
			return "", nil, err
		case s.Samples == nil:
			return "", nil, fmt.Errorf("the policy of lot %s asks for no samples", lot)
		case s.State != perso.LotComplete:
			return "", nil, fmt.Errorf("lot %s is %s: not all its samples are drawn, or they are signed for", lot, s.State)
		}
		if w.Failed, err = sortedChips("--failed", failed); err != nil {
			return "", nil, err
		}
		if !c.Flags().Changed("examined") {
			if w.Examined = s.Samples.InBin; s.Hidden {
				w.Examined = s.Samples.Drawn
			}
		}
		if err := examinable(ctx, office, lot, s, w); err != nil {
			return "", nil, err
		}
		w.Header, w.Lot = h, lot
		body, err := w.Encode()
		return statement.KindSamples, body, err
	})
}

// examinable refuses what the ledger would refuse when it is signed: another number of samples than lie in their bin, as far as that is
// not hidden, and a bad chip that is none of them.
func examinable(ctx context.Context, office bus.Requester, lot perso.Name, s bus.StatusReply, w statement.Samples) error {
	switch {
	case s.Hidden && w.Examined > s.Samples.Drawn:
		return fmt.Errorf("%d samples of lot %s were drawn, the statement is about %d", s.Samples.Drawn, lot, w.Examined)
	case !s.Hidden && w.Examined != s.Samples.InBin:
		return fmt.Errorf("%d samples of lot %s lie in their bin, the statement is about %d", s.Samples.InBin, lot, w.Examined)
	}
	for _, c := range w.Failed {
		r, err := ask[bus.InWorkReply](ctx, office, bus.OfficeInWork, bus.InWorkRequest{Lot: lot, Chip: c.String()})
		var fault *bus.Fault
		switch {
		case err != nil && (!errors.As(err, &fault) || fault.Code != bus.FaultNotFound):
			return err
		case err != nil || len(r.Units) != 1 || !r.Units[0].Sample:
			return fmt.Errorf("chip %s is no sample of lot %s that lies in its bin", c, lot)
		}
	}
	return nil
}
