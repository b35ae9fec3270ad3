package chipfarm

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/persoline/persoline/lineside/card"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/id"
)

// Config is what a farm process needs.
type Config struct {
	Dir     string
	Address string // unix:/path, or tcp:127.0.0.1:port
	Log     *slog.Logger
	// Listening, if given, is called with the address once clients can come; port 0 is filled in.
	Listening func(address string)
	// Readers, if given, puts heads under PC/SC readers.
	Readers *Readers
}

// Serve opens the farm and serves clients until ctx ends; the error is nil then. Clients lose their connection, and their
// chips the power.
func Serve(ctx context.Context, cfg Config) (err error) {
	f, err := Open(cfg.Dir, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	g, both := errgroup.WithContext(ctx)
	if cfg.Readers != nil { // first: a head is not offered to clients whose contacts are a reader's
		under, failed := f.openReaders(ctx, *cfg.Readers, cfg.Log)
		if failed != nil {
			return failed
		}
		defer func() { err = errors.Join(err, under.close()) }()
		g.Go(func() error { return under.wait(both) })
	}
	l, err := Listen(cfg.Address)
	if err != nil {
		return err
	}
	if cfg.Listening != nil {
		cfg.Listening(l.Addr().Network() + ":" + l.Addr().String())
	}
	g.Go(func() error { return f.Serve(both, l, cfg.Log) })
	return g.Wait()
}

// Serve serves clients on a listener until ctx ends, and closes it.
func (f *Farm) Serve(ctx context.Context, l net.Listener, log *slog.Logger) error {
	ctx, cancel := context.WithCancel(ctx)
	var clients sync.WaitGroup
	defer clients.Wait()
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = l.Close() })() // ends Accept; an error would say that it is closed already
	for {
		conn, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("accepting chip farm client: %w", err)
		}
		clients.Go(func() {
			if err := f.serveClient(ctx, conn); err != nil && ctx.Err() == nil {
				log.LogAttrs(ctx, slog.LevelWarn, "chip farm client dropped", slog.Any("err", err))
			}
		})
	}
}

// client is one connection.
type client struct {
	session *Session
	conn    net.Conn
	out     sender

	work    chan request // to a worker that waits
	workers int
	working sync.WaitGroup
}

// serveClient carries out requests side by side until the connection ends. Its end is the loss of power, at once for
// what is under way.
func (f *Farm) serveClient(ctx context.Context, conn net.Conn) error {
	defer func() { _ = conn.Close() }() // nothing is lost with it that was not lost before
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	in := bufio.NewReaderSize(conn, receiveBytes)
	if err := shakeHands(in, conn); err != nil {
		return err
	}
	c := &client{session: f.Session(), conn: conn, work: make(chan request)}
	defer c.working.Wait()
	defer close(c.work)
	defer c.session.Close()
	for {
		q, err := readFrame[request](in, bus.MaxMessageBytes)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading request: %w", err)
		}
		c.assign(q)
	}
}

// assign gives a request to a worker that waits, or else to a new one, up to the limit. Workers stay until the connection
// ends: a chip's work is deep, and a new goroutine would grow its stack anew for each request.
func (c *client) assign(q request) {
	select {
	case c.work <- q:
		return
	default:
	}
	if c.workers == maxInFlight {
		c.work <- q
		return
	}
	c.workers++
	c.working.Go(func() {
		c.answer(q)
		for q := range c.work {
			c.answer(q)
		}
	})
}

func (c *client) answer(q request) {
	a := reply{ID: q.ID}
	if err := c.carryOut(q, &a); err != nil {
		a.Text = err.Error()
		switch {
		case errors.Is(err, card.ErrMute):
			a.Outcome = outcomeMute
		case errors.Is(err, ErrRefused):
			a.Outcome = outcomeRefused
		default:
			a.Outcome = outcomeFailed
		}
	}
	if err := c.out.send(c.conn, a); err != nil {
		_ = c.conn.Close() // the reader sees it and ends the session
	}
}

// carryOut does one request. Its context is the session's own: a client that gives up closes the connection.
func (c *client) carryOut(q request, a *reply) (err error) {
	s, ctx := c.session, c.session.ctx
	switch q.Op {
	case opLoad:
		a.Loaded, err = s.Load(ctx, q.Head)
	case opContact:
		a.ATR, err = s.Contact(ctx, q.Head)
	case opTransmit:
		if len(q.APDUs) != 1 {
			return fmt.Errorf("transmitting %d commands: %w", len(q.APDUs), ErrRefused)
		}
		var resp []byte
		if resp, err = s.Transmit(ctx, q.Head, q.APDUs[0]); err == nil {
			a.Responses = [][]byte{resp}
		}
	case opPlay:
		var window []bus.Play
		if window, err = q.window(); err == nil {
			a.Responses, err = s.Play(ctx, q.Head, window)
		}
	case opLift:
		err = s.Lift(ctx, q.Head)
	case opBin:
		err = s.Bin(ctx, q.Head, q.Bin)
	case opCounters:
		a.In, a.Counters, err = s.Counters(ctx)
	case opInspect:
		a.Responses, err = c.inspect(q)
	case opExamine:
		err = c.examine(q)
	case opBins:
		a.Places, a.Total, err = c.page(q.Bin, q.Index)
	default:
		err = fmt.Errorf("unknown request %d: %w", q.Op, ErrRefused)
	}
	return err
}

func (c *client) inspect(q request) ([][]byte, error) {
	if len(q.APDUs) > maxAPDUs {
		return nil, fmt.Errorf("inspecting with %d commands, limit %d: %w", len(q.APDUs), maxAPDUs, ErrRefused)
	}
	chip, err := q.chip()
	if err != nil {
		return nil, err
	}
	return c.session.Inspect(c.session.ctx, chip, q.APDUs)
}

func (c *client) examine(q request) error {
	chip, err := q.chip()
	if err != nil {
		return err
	}
	return c.session.Examine(c.session.ctx, chip)
}

func (q request) chip() (Ref, error) {
	chip := Ref{Index: q.Index}
	if len(q.Chip) == 0 {
		return chip, nil
	}
	var err error
	if chip.ID, err = id.ChipIDFromBytes(q.Chip); err != nil {
		return Ref{}, fmt.Errorf("reading chip id: %w: %w", ErrRefused, err)
	}
	return chip, nil
}

func (c *client) page(bin perso.Bin, first uint32) ([]Place, uint32, error) {
	if moveOf(bin) == 0 {
		return nil, 0, fmt.Errorf("listing bin %q: %w", bin, ErrRefused)
	}
	places, total, err := c.session.farm.bin(bin, int(first), maxPagePlaces)
	return places, uint32(total), err
}
