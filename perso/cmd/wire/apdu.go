package wire

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/persoline/persoline/lineside/chipfarm"
	"github.com/persoline/persoline/lineside/pcsc"
	"github.com/persoline/persoline/perso/cmd/cli"
	"github.com/persoline/persoline/perso/cmd/site"
	"github.com/persoline/persoline/perso/id"
)

// exchanged is the result of "apdu" and "chip apdu".
type exchanged struct {
	Exchanges []exchange `json:"exchanges"`
}

// exchange is one command with its answer, in hex.
type exchange struct {
	Command string `json:"command"`
	Answer  string `json:"answer"`
}

// newChipAPDUCmd asks a finished virtual chip by plain APDUs, as a test reader would.
func newChipAPDUCmd(env *cli.Env) *cobra.Command {
	var line string
	c := &cobra.Command{
		Use: "apdu CHIP APDU...", Short: "Power a virtual chip from its bin in a test reader and send it commands",
		Long:    cli.Describe("Puts a finished chip of the farm under its own test reader, resets it, and sends it plain commands in hex.", exchanged{}),
		Example: "  perso chip apdu 4a501234010200000001 00A4040010A0000005591010FFFFFFFF890000020000 80CA005A00", Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) < 2 {
				return cli.Usage("a CHIP and at least one APDU must be given")
			}
			chip, commands, err := parseAPDUs(args)
			if err != nil {
				return err
			}
			var answers [][]byte
			if err := atFarm(cmd.Context(), env, line, func(farm *chipfarm.Client) (err error) {
				answers, err = farm.Inspect(cmd.Context(), chipfarm.Ref{ID: chip}, commands)
				return err
			}); err != nil {
				return err
			}
			return emitExchanges(env, commands, answers)
		},
	}
	c.Flags().StringVar(&line, "line", "", "the line whose farm has the chip; the first where none is said")
	return c
}

// newChipExamineCmd brings a finished chip to other people's programs.
func newChipExamineCmd(env *cli.Env) *cobra.Command {
	return &cobra.Command{
		Use: "examine CHIP", Short: "Put a virtual chip from its bin into the PC/SC test reader, for any program that talks to readers",
		Long:    cli.Describe("Puts a finished chip into the reader behind those of the heads, of a site with --transport pcsc, and says which reader that is and which\npcscd has it.", examined{}),
		Example: "  perso chip examine 4a501234010200000001", Args: cli.Takes("CHIP"),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			s, err := site.Open(env.SiteDir)
			if err != nil {
				return err
			}
			chip, err := id.ParseChipID(args[0])
			if err != nil {
				return cli.Usage("%v", err)
			}
			at, err := examine(cmd.Context(), s, chip)
			if err != nil {
				return err
			}
			return env.Emit(at, func(w io.Writer) {
				fmt.Fprintf(w, "chip %s lies in reader %q, ATR %s; programs find it with PCSCLITE_CSOCK_NAME=%s\n", at.Chip, at.Reader, at.ATR, at.Socket)
			})
		},
	}
}

// examine has the chip brought, and resets it: that is how pcscd finds that it is another one.
func examine(ctx context.Context, s *site.Site, chip id.ChipID) (at examined, err error) {
	line, heads := s.FarmReaders()
	if heads == 0 {
		return at, cli.Hint(errors.New("no line of this site has its farm under PC/SC readers"), "'perso site init --transport pcsc' makes one that has")
	}
	farm, err := chipfarm.Dial(ctx, s.FarmAddressOf(line))
	if err != nil {
		return at, err
	}
	defer func() { err = errors.Join(err, farm.Close()) }()
	if err := farm.Examine(ctx, chipfarm.Ref{ID: chip}); err != nil {
		return at, err
	}
	at = examined{Chip: chip.String(), Reader: chipfarm.TestReaderName(heads), Socket: s.PCSCD()}
	if err := pcsc.UseSocket(at.Socket); err != nil {
		return at, err
	}
	r := pcsc.NewReader(at.Reader)
	defer func() { err = errors.Join(err, r.Close()) }()
	atr, err := r.Contact(ctx)
	if err != nil {
		return at, err
	}
	at.ATR = hex.EncodeToString(atr)
	return at, r.Lift(ctx)
}

// examined is where a chip can be looked at.
type examined struct {
	Chip   string `json:"chip"`
	Reader string `json:"reader"`
	Socket string `json:"pcscd_socket"`
	ATR    string `json:"atr"`
}

func parseAPDUs(args []string) (id.ChipID, [][]byte, error) {
	chip, err := id.ParseChipID(args[0])
	if err != nil {
		return chip, nil, cli.Usage("%v", err)
	}
	commands, err := parseCommands(args[1:])
	return chip, commands, err
}

func parseCommands(args []string) (commands [][]byte, err error) {
	for _, a := range args {
		b, err := hex.DecodeString(a)
		if err != nil || len(b) < 4 {
			return nil, cli.Usage("%q is no command in hex", a)
		}
		commands = append(commands, b)
	}
	return commands, nil
}

func emitExchanges(env *cli.Env, commands, answers [][]byte) error {
	out := make([]exchange, len(answers))
	for i := range answers {
		out[i] = exchange{hex.EncodeToString(commands[i]), hex.EncodeToString(answers[i])}
	}
	return env.Emit(exchanged{out}, func(w io.Writer) {
		for _, e := range out {
			fmt.Fprintf(w, "> %s\n< %s\n", e.Command, e.Answer)
		}
	})
}
