package wire

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/persoline/persoline/lineside/atcsim"
	"github.com/persoline/persoline/lineside/card"
	"github.com/persoline/persoline/lineside/pcsc"
	"github.com/persoline/persoline/lineside/vpcd"
	"github.com/persoline/persoline/perso/cmd/cli"
)

// readersListed is the result of "readers".
type readersListed struct {
	Readers []reader `json:"readers"`
}

// reader is a reader as pcscd sees it, and the protocol that its chip chose.
type reader struct {
	Name     string `json:"name"`
	State    string `json:"state"`
	ATR      string `json:"atr,omitempty"`
	Protocol string `json:"protocol,omitempty"`
}

// socketFlag names another pcscd than the system's.
func socketFlag(c *cobra.Command, socket *string) {
	c.Flags().StringVar(socket, "pcscd", "", "socket of another pcscd than the system's, as in SITE/readers/pcscd.comm")
}

// newReadersCmd shows what an engineer looks for first when a head does not contact.
func newReadersCmd(env *cli.Env) *cobra.Command {
	var socket string
	var follow bool
	c := &cobra.Command{
		Use: "readers", Short: "List the PC/SC readers: state, ATR and protocol of the chip in each",
		Long: cli.Describe("Lists the readers that pcscd has. A reader that another program holds alone shows no protocol. A chip that nobody uses has no\n"+
			"power after some seconds, and its ATR is the last one. --follow writes the list anew whenever a reader or a chip comes or goes.", readersListed{}),
		Example: "  perso readers\n  perso readers --pcscd site/readers/pcscd.comm --json\n  perso readers --follow", Args: cli.Takes(),
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if err := pcsc.UseSocket(socket); err != nil {
				return err
			}
			s, err := pcsc.Open(cmd.Context())
			if err != nil {
				return noReaders(socket, err)
			}
			defer func() { err = errors.Join(err, s.Close()) }()
			return listReaders(cmd.Context(), env, s, follow)
		},
	}
	socketFlag(c, &socket)
	c.Flags().BoolVar(&follow, "follow", false, "write the list anew when something changes, until Ctrl-C")
	return c
}

// noReaders tells what to do about a pcscd that is not there; without a socket it is the system's.
func noReaders(socket string, err error) error {
	switch {
	case !errors.Is(err, pcsc.ErrService):
	case socket != "":
		return cli.Hint(fmt.Errorf("asking pcscd at %q: %w", socket, err), "--pcscd names the socket of a pcscd that runs: SITE/readers/pcscd.comm is there while 'perso up' runs a site with --transport pcsc")
	default:
		return cli.Hint(err, "start it (systemctl start pcscd), or name the socket of another with --pcscd")
	}
	return err
}

func listReaders(ctx context.Context, env *cli.Env, s *pcsc.Session, follow bool) error {
	for {
		names, err := s.Readers(ctx)
		if err != nil {
			return err
		}
		var states []pcsc.State
		if len(names) > 0 {
			if states, err = s.States(ctx, names...); err != nil {
				return err
			}
		}
		if err := emitReaders(ctx, env, s, states); err != nil || !follow {
			return err
		}
		if _, err := s.Await(ctx, states); err != nil {
			if ctx.Err() != nil {
				return nil // asked to end
			}
			return err
		}
	}
}

func emitReaders(ctx context.Context, env *cli.Env, s *pcsc.Session, states []pcsc.State) error {
	all := make([]reader, len(states))
	for i, st := range states {
		if vacant(st) {
			st.Flags, st.ATR = pcsc.Empty, nil
		}
		all[i] = reader{Name: st.Reader, State: st.Flags.String(), ATR: hex.EncodeToString(st.ATR)}
		if st.Flags.Has(pcsc.Present) && !st.Flags.Has(pcsc.Exclusive) && !st.Flags.Has(pcsc.Mute) {
			all[i].Protocol = protocolOf(ctx, s, st.Reader)
		}
	}
	return env.Emit(readersListed{all}, func(w io.Writer) {
		if len(all) == 0 {
			fmt.Fprintln(w, "pcscd has no reader")
		}
		for _, r := range all {
			fmt.Fprintf(w, "%-28s %-24s %-4s %s\n", r.Name, r.State, r.Protocol, r.ATR)
		}
	})
}

// vacant is a virtual reader without a chip: its driver cannot show it as empty.
func vacant(st pcsc.State) bool { return bytes.Equal(st.ATR, vpcd.NoChip()) }

// protocolOf asks the chip, or says nothing when it cannot be asked: the state says why.
func protocolOf(ctx context.Context, s *pcsc.Session, name string) string {
	c, err := s.Connect(ctx, name)
	if err != nil {
		return ""
	}
	defer func() { _ = c.Leave(ctx) }() // the list is what was asked for
	return c.Protocol().String()
}

// newAPDUCmd sends an engineer's commands to the chip in a reader or behind a modem.
func newAPDUCmd(env *cli.Env) *cobra.Command {
	var socket, name, port string
	c := &cobra.Command{
		Use: "apdu --reader NAME APDU...", Short: "Send plain commands to the chip in a PC/SC reader, or behind a modem",
		Long: cli.Describe("Resets the chip in a reader, which no other program may hold, or behind a modem on a serial port (AT+CSIM), and sends it commands in\n"+
			"hex. GET RESPONSE, a wrong Le and the chaining of commands of extended length are done as on the line. It ends at the first command\n"+
			"that gets no answer.", exchanged{}),
		Example: "  perso apdu --reader \"Persoline 0-1 00 00\" --pcscd site/readers/pcscd.comm 00A4040000 80CA9F7F00\n  perso apdu --port /dev/ttyUSB2 00A40004022FE2 00B000000A",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			commands, err := parseCommands(args)
			if err != nil {
				return err
			}
			switch {
			case (name == "") == (port == ""):
				return cli.Hint(cli.Usage("one of --reader and --port says where the chip is"), "'perso readers' lists readers")
			case port != "":
				return sendToModem(cmd.Context(), env, port, commands)
			}
			if err := pcsc.UseSocket(socket); err != nil {
				return err
			}
			return sendToReader(cmd.Context(), env, socket, name, commands)
		},
	}
	socketFlag(c, &socket)
	c.Flags().StringVar(&name, "reader", "", "the reader's name, as 'perso readers' writes it")
	c.Flags().StringVar(&port, "port", "", "the modem's serial port")
	return c
}

func sendToReader(ctx context.Context, env *cli.Env, socket, name string, commands [][]byte) (err error) {
	r := pcsc.NewReader(name)
	defer func() { err = errors.Join(err, r.Lift(ctx), r.Close()) }()
	atr, err := r.Contact(ctx)
	switch {
	case err != nil:
		return noReaders(socket, err)
	case len(atr) == 0, bytes.Equal(atr, vpcd.NoChip()):
		return fmt.Errorf("contacting the chip in reader %q: %w", name, pcsc.ErrMute)
	}
	return sendAll(ctx, env, r, commands)
}

func sendToModem(ctx context.Context, env *cli.Env, port string, commands [][]byte) (err error) {
	m, err := atcsim.New(atcsim.Config{Port: port})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	if err := m.Power(ctx); err != nil {
		return err
	}
	return sendAll(ctx, env, m, commands)
}

func sendAll(ctx context.Context, env *cli.Env, chip card.Transport, commands [][]byte) error {
	var answers [][]byte
	for _, c := range commands {
		answer, err := chip.Transmit(ctx, c)
		if err != nil {
			return errors.Join(emitExchanges(env, commands, answers), err)
		}
		answers = append(answers, answer)
	}
	return emitExchanges(env, commands, answers)
}
