package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/persoline/persoline/perso/bus"
)

const (
	// startPatience is how long a command waits for a site that is starting: its bus, vault and ledger come up one by one.
	startPatience = 15 * time.Second
	// startPause lies between two tries.
	startPause = 250 * time.Millisecond
	// startSilence is how long it waits without a word.
	startSilence = time.Second
)

// patience bounds the waiting of one command for a site that is starting. Dial and first request share it.
type patience struct {
	env    *Env
	begin  time.Time
	paused time.Duration
	told   bool
}

// wait pauses before another try; false means that there is no more time for one.
func (p *patience) wait(ctx context.Context) bool {
	// The pauses count even where the clock stands still.
	waited := max(p.paused, p.env.Now().Sub(p.begin))
	if waited+startPause > startPatience {
		return false
	}
	if waited >= startSilence && !p.told {
		p.told = true
		fmt.Fprintf(p.env.Err, "perso: waiting for the site in %s, up to %v\n", p.env.SiteDir, startPatience)
	}
	p.paused += startPause
	return p.env.Sleep(ctx, startPause) == nil
}

// dial connects.
func (p *patience) dial(ctx context.Context) (Office, error) {
	ctx, end := context.WithTimeout(ctx, startPatience)
	defer end()
	// The first try is short, so that a person soon hears why nothing happens.
	first, cancel := context.WithTimeout(ctx, startSilence)
	defer cancel()
	office, err := p.env.Dial(first, p.env.SiteDir)
	for err != nil && ctx.Err() == nil && p.starting(err) && p.wait(ctx) {
		office, err = p.env.Dial(ctx, p.env.SiteDir)
	}
	return office, err
}

// starting tells whether an error is of a bus that nobody serves yet, and not of a wrong folder, file or key.
func (p *patience) starting(err error) bool {
	var network net.Error // a time-out also is one
	_, none := os.Stat(p.env.SiteDir)
	return none == nil && (errors.As(err, &network) || errors.Is(err, bus.ErrNoAnswer))
}

// patientOffice asks again until the site has answered once. That is safe: what was done is not done twice. Later silence
// is for the command to judge.
type patientOffice struct {
	bus.Requester
	patience *patience
	answered bool
}

// Request asks the site.
func (o *patientOffice) Request(ctx context.Context, subject string, data []byte) ([]byte, error) {
	for {
		reply, err := o.Requester.Request(ctx, subject, data)
		if !errors.Is(err, bus.ErrNoAnswer) {
			o.answered = true
			return reply, err
		}
		if o.answered || !o.patience.wait(ctx) {
			return reply, err
		}
	}
}
