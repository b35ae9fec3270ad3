package cli

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/statement"
)

// This file is what the group "audit" has for those who have a site.

func newAuditExportCmd(env *Env) *cobra.Command {
	c := newLotBundleCmd(env)
	c.Use, c.Example = "export LOT", strings.ReplaceAll(c.Example, "perso lot bundle", "perso audit export")
	c.Short = "Write the bundle of a lot that an auditor verifies offline (as 'perso lot bundle')"
	return c
}

// signedOff is the result of "audit review".
type signedOff struct {
	By      []string `json:"by"`
	Entries uint64   `json:"entries"`
	Hash    digest   `json:"hash"`
}

func newAuditReviewCmd(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:   "review FILE.signed",
		Short: "Put an officer's word about exceptions into the log",
		Long: Describe("Hands a review that an officer signed to the ledger, which holds it against the entries that it is about and logs it. From then on\n"+
			"every report shows who signed them off, when, and with what words. Nothing is taken out of the log.", signedOff{}),
		Example: `  perso audit draft-review ./L-2027-0001.bundle --entry 4711 --finding "worn contact on head 3, replaced" -o march.review
  perso officer sign march.review --key qa-1.key
  perso audit review march.review.signed`,
		Args: Takes("FILE.signed"),
		RunE: env.online(quick, func(ctx context.Context, office bus.Requester, args []string) error {
			return sendReview(ctx, env, office, args[0])
		}),
	}
}

func sendReview(ctx context.Context, env *Env, office bus.Requester, path string) error {
	b, s, err := env.readSigned(path, statement.KindReview)
	if err != nil {
		return err
	}
	r, err := ask[bus.ReviewReply](ctx, office, bus.OfficeReview, bus.SignedRequest{Signed: b})
	if err != nil {
		return err
	}
	return env.Emit(signedOff{By: append([]string{}, r.By...), Entries: r.Reviewed, Hash: s.Hash()}, func(w io.Writer) {
		fmt.Fprintf(w, "%d entries are signed off by %s\n", r.Reviewed, strings.Join(r.By, " and "))
	})
}
