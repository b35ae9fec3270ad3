package wire

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/persoline/persoline/lineside/chipfarm"
	"github.com/persoline/persoline/perso/cmd/cli"
	"github.com/persoline/persoline/perso/cmd/site"
	"github.com/persoline/persoline/perso/id"
)

// exchange is one command with its answer, in hex.
type exchange struct {
	Command string `json:"command"`
	Answer  string `json:"answer"`
}

// newChipAPDUCmd asks a finished virtual chip by plain APDUs, as a test reader would.
func newChipAPDUCmd(env *cli.Env) *cobra.Command {
	return &cobra.Command{
		Use: "apdu CHIP APDU...", Short: "Power a virtual chip from its bin in a test reader and send it commands",
		Example: "  perso chip apdu 4a501234010200000001 00A4040010A0000005591010FFFFFFFF890000020000 80CA005A00", Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if len(args) < 2 {
				return cli.Usage("a CHIP and at least one APDU must be given")
			}
			chip, commands, err := parseAPDUs(args)
			if err != nil {
				return err
			}
			s, err := site.Open(env.SiteDir)
			if err != nil {
				return err
			}
			farm, err := chipfarm.Dial(cmd.Context(), s.FarmAddress())
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, farm.Close()) }()
			answers, err := farm.Inspect(cmd.Context(), chipfarm.Ref{ID: chip}, commands)
			if err != nil {
				return err
			}
			return emitExchanges(env, commands, answers)
		},
	}
}

func parseAPDUs(args []string) (id.ChipID, [][]byte, error) {
	chip, err := id.ParseChipID(args[0])
	if err != nil {
		return chip, nil, cli.Usage("%v", err)
	}
	var commands [][]byte
	for _, a := range args[1:] {
		b, err := hex.DecodeString(a)
		if err != nil || len(b) < 4 {
			return chip, nil, cli.Usage("%q is no command in hex", a)
		}
		commands = append(commands, b)
	}
	return chip, commands, nil
}

func emitExchanges(env *cli.Env, commands, answers [][]byte) error {
	out := make([]exchange, len(answers))
	for i := range answers {
		out[i] = exchange{hex.EncodeToString(commands[i]), hex.EncodeToString(answers[i])}
	}
	return env.Emit(out, func(w io.Writer) {
		for _, e := range out {
			fmt.Fprintf(w, "> %s\n< %s\n", e.Command, e.Answer)
		}
	})
}
