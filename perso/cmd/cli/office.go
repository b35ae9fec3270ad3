package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
)

const (
	// quick bounds what is answered from the database, with time for a vault that signs a checkpoint.
	quick = 30 * time.Second
	// lengthy bounds an export or bundle of the largest lot.
	lengthy = 30 * time.Minute
	// unbounded is for what a person ends.
	unbounded time.Duration = 0

	// messageRoomBytes is what a message needs beside the file that it carries.
	messageRoomBytes = 1 << 10
)

// online makes the function of a command that asks the office, within a limit of time.
func (env *Env) online(limit time.Duration, f func(ctx context.Context, office bus.Requester, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) (err error) {
		if env.Dial == nil {
			return errors.New("connecting to the office: this program was built without a way to it")
		}
		ctx := cmd.Context()
		if limit > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, limit)
			defer cancel()
		}
		p := &patience{env: env, begin: env.Now()}
		office, err := p.dial(ctx)
		if err != nil {
			return Hint(fmt.Errorf("connecting to the office of site %q: %w", env.SiteDir, err), "--site names the folder of a running site; it needs some seconds after 'perso up'")
		}
		return errors.Join(f(ctx, &patientOffice{Requester: office, patience: p}, args), office.Close())
	}
}

// ask puts one question to the ledger.
func ask[A, Q any](ctx context.Context, office bus.Requester, verb string, q Q) (A, error) {
	return bus.Call[A](ctx, office, bus.OfficeSubject(verb), q)
}

// askLot puts a question about one lot.
func askLot[A any](ctx context.Context, env *Env, office bus.Requester, verb string, lot perso.Name) (A, error) {
	a, err := ask[A](ctx, office, verb, bus.LotRequest{Lot: lot})
	return a, env.noLot(err)
}

// noLot helps whoever named a lot that is not there.
func (env *Env) noLot(err error) error { return env.notFound(err, "lot list") }

// notFound adds which command lists what there is.
func (env *Env) notFound(err error, lists string) error {
	var fault *bus.Fault
	if errors.As(err, &fault) && fault.Code == bus.FaultNotFound {
		return Hint(err, "'%s' lists them", env.Command(lists, ""))
	}
	return err
}

// lotArg reads the name of a lot.
func lotArg(s string) (perso.Name, error) {
	lot, err := perso.ParseName(s)
	if err != nil {
		return "", Usage("LOT: %w", err)
	}
	return lot, nil
}
