// Package service puts the ledger on the bus: it subscribes, answers, sends work orders out and keeps them out.
//
// It is the ledger's shell: goroutines, timers and the bus are here, decisions are not. Only the program's wiring
// (perso/cmd) calls it.
package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/persoline/persoline/ledger"
	"github.com/persoline/persoline/ledger/internal/sqldb"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/entry"
)

// republish is how often work orders of unfinished lots are put on the queue again: the stream may have been lost (I3),
// and a line bears duplicates.
const republish = 2 * time.Minute

// erasePatience bounds how long commits may wait for readers while what was deleted is taken out of the files: heads ask
// again after 5 s.
const erasePatience = time.Second

// Bus is what the service needs of a carrier.
type Bus interface {
	bus.Server
	bus.Queue
	bus.Store
}

// Exporter writes what leaves the house. Paths are on this host.
type Exporter interface {
	Export(ctx context.Context, lot perso.Name) (bus.PathReply, error)
	Bundle(ctx context.Context, lot perso.Name) (bus.PathReply, error)
}

// Config wires a service.
type Config struct {
	Ledger   *ledger.Ledger
	Bus      Bus
	Exporter Exporter
	Lines    []perso.Name // the lines that may ask, and that get work
	Vaults   []perso.Name // of the site, as the ledger was given them
	Log      *slog.Logger
}

// Service is a running ledger.
type Service struct {
	c       Config
	stops   []func() error
	kick    chan struct{}
	refused refusals
	broken  chan error // holds why the database can't be used any more
	mu      sync.Mutex
}

// Run serves until the context ends. An error means that the ledger must be closed and opened again, by starting anew:
// after a commit of unknown outcome, as on a full disk, recovery tells what is true.
func Run(ctx context.Context, c Config) error {
	s := &Service{c: c, kick: make(chan struct{}, 1), broken: make(chan error, 1)}
	defer s.stop()
	if err := s.subscribe(); err != nil {
		return fmt.Errorf("serving the ledger: %w", err)
	}
	for {
		if err := s.publish(ctx); err != nil && ctx.Err() == nil {
			c.Log.WarnContext(ctx, "work orders not published", "err", err)
			s.end(err)
		}
		s.erase(ctx)
		select {
		case <-ctx.Done():
			return nil
		case err := <-s.broken:
			return fmt.Errorf("serving the ledger: %w", err)
		case <-s.kick:
		case <-time.After(republish):
		}
	}
}

// subscribe offers every verb. Each line has subjects of its own, and may speak for itself only.
func (s *Service) subscribe() error {
	l := s.c.Ledger
	for _, line := range s.c.Lines {
		err := errors.Join(
			s.serve(bus.LineSubject(line, bus.LineChallenges), answer(s, ofLine(line, func(q bus.ChallengesRequest) perso.Name { return q.Line }, l.Challenges))),
			s.serve(bus.LineSubject(line, bus.LineAct), answer(s, ofLine(line, func(q bus.ActRequest) perso.Name { return q.Present.Line }, l.Act))),
			s.serve(bus.LineSubject(line, bus.LinePresent), answer(s, ofLine(line, func(q bus.PresentRequest) perso.Name { return q.Present.Line }, l.Present))),
			s.serve(bus.LineSubject(line, bus.LineBin), answer(s, ofLine(line, func(q bus.BinRequest) perso.Name { return q.Present.Line }, l.Bin))),
			s.serve(bus.LineSubject(line, bus.LineCount), answer(s, countedBy(entry.SourceHandler, l.Count))),
		)
		if err != nil {
			return err
		}
	}
	return errors.Join(
		s.serve(bus.OfficeSubject(bus.OfficeSubmit), answer(s, l.Submit)),
		s.serve(bus.OfficeSubject(bus.OfficeKiPart), answer(s, l.KiPart)),
		s.serve(bus.OfficeSubject(bus.OfficeOrder), answer(s, l.Order)),
		s.serve(bus.OfficeSubject(bus.OfficeOrders), answer(s, l.Orders)),
		s.serve(bus.OfficeSubject(bus.OfficeDraft), answer(s, l.Draft)),
		s.serve(bus.OfficeSubject(bus.OfficeRelease), answer(s, told(s, bus.OfficeRelease, then(s, l.Release)))),
		s.serve(bus.OfficeSubject(bus.OfficeReceive), answer(s, told(s, bus.OfficeReceive, then(s, l.Receive)))),
		s.serve(bus.OfficeSubject(bus.OfficeStatus), answer(s, s.status)),
		s.serve(bus.OfficeSubject(bus.OfficeLots), answer(s, s.lots)),
		s.serve(bus.OfficeSubject(bus.OfficeCount), answer(s, told(s, bus.OfficeCount, countedBy(entry.SourceHand, l.Count)))),
		s.serve(bus.OfficeSubject(bus.OfficeClose), answer(s, told(s, bus.OfficeClose, then(s, l.Close)))),
		s.serve(bus.OfficeSubject(bus.OfficeClosing), answer(s, l.Closing)),
		s.serve(bus.OfficeSubject(bus.OfficeDestroy), answer(s, told(s, bus.OfficeDestroy, l.DestroyKeys))),
		s.serve(bus.OfficeSubject(bus.OfficeInWork), answer(s, l.InWork)),
		s.serve(bus.OfficeSubject(bus.OfficeLose), answer(s, told(s, bus.OfficeLose, then(s, l.Lose)))),
		s.serve(bus.OfficeSubject(bus.OfficeTrace), answer(s, l.Trace)),
		s.serve(bus.OfficeSubject(bus.OfficeWord), answer(s, told(s, bus.OfficeWord, then(s, s.word)))),
		s.serve(bus.OfficeSubject(bus.OfficeRejects), answer(s, l.Rejects)),
		s.serve(bus.OfficeSubject(bus.OfficeStanding), answer(s, s.standing)),
		s.serve(bus.OfficeSubject(bus.OfficeRestored), answer(s, l.DraftRestored)),
		s.serve(bus.OfficeSubject(bus.OfficeBook), answer(s, told(s, bus.OfficeBook, s.book))),
		s.serve(bus.OfficeSubject(bus.OfficeStock), answer(s, l.Stock)),
		s.serve(bus.OfficeSubject(bus.OfficeReview), answer(s, told(s, bus.OfficeReview, l.Review))),
		s.serve(bus.OfficeSubject(bus.OfficeLog), answer(s, l.Log)),
		s.serve(bus.OfficeSubject(bus.OfficeExport), answer(s, told(s, bus.OfficeExport, s.export))),
		s.serve(bus.OfficeSubject(bus.OfficeBundle), answer(s, s.bundle)),
	)
}

// answer makes a handler of a function, and notices what becomes of it.
func answer[Q, A any](s *Service, f func(context.Context, Q) (A, error)) bus.Handler {
	return bus.Answer(func(ctx context.Context, q Q) (A, error) {
		a, err := f(ctx, q)
		s.notice(err)
		return a, err
	})
}

// notice tells the log of errors that are not about the question.
func (s *Service) notice(err error) {
	var fault *bus.Fault
	switch {
	case err == nil || errors.As(err, &fault):
		return
	case errors.Is(err, bus.ErrNoAnswer):
		s.c.Log.Warn("vault does not answer", "err", err)
	default:
		s.c.Log.Error("request failed", "err", err)
		s.end(err)
	}
}

// end ends the service when an error says that the database takes no more calls.
func (s *Service) end(err error) {
	if errors.Is(err, sqldb.ErrFenced) || errors.Is(err, sqldb.ErrAmbiguous) {
		select {
		case s.broken <- err:
		default: // it is ending already
		}
	}
}

// ofLine refuses a message in which a line speaks for another.
func ofLine[Q, A any](line perso.Name, of func(Q) perso.Name, f func(context.Context, Q) (A, error)) func(context.Context, Q) (A, error) {
	return func(ctx context.Context, q Q) (A, error) {
		if of(q) != line {
			var none A
			return none, bus.Refuse(bus.FaultRefused, "line %q speaks for line %q", line, of(q))
		}
		return f(ctx, q)
	}
}

// countedBy refuses a count in another's name: the blind count by hand proves nothing if the machine can write it too (I6).
func countedBy(source string, f func(context.Context, bus.CountRequest) (bus.Empty, error)) func(context.Context, bus.CountRequest) (bus.Empty, error) {
	return func(ctx context.Context, q bus.CountRequest) (bus.Empty, error) {
		if q.Source != source {
			return bus.Empty{}, bus.Refuse(bus.FaultRefused, "a count of %q, asked where %q counts", q.Source, source)
		}
		return f(ctx, q)
	}
}

func (s *Service) serve(subject string, h bus.Handler) error {
	stop, err := s.c.Bus.Serve(subject, bus.QueueLedger, func(ctx context.Context, data []byte) ([]byte, error) {
		return h(ctx, data)
	})
	if err != nil {
		return fmt.Errorf("offering %s: %w", subject, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stops = append(s.stops, stop)
	return nil
}

func (s *Service) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.stops {
		if err := f(); err != nil {
			s.c.Log.Warn("subscription not stopped", "err", err)
		}
	}
}

// erase takes deleted answers of chips out of the database's files. What can't be done now is done the next time.
func (s *Service) erase(ctx context.Context) {
	own, cancel := context.WithTimeout(ctx, erasePatience)
	defer cancel()
	if err := s.c.Ledger.Erase(own); err != nil && ctx.Err() == nil {
		s.c.Log.WarnContext(ctx, "what was deleted may still stand in the write-ahead log", "err", err)
	}
}

// then has work orders made anew, and files cleaned, after a change of a lot or of what it is made from.
func then[Q, A any](s *Service, f func(context.Context, Q) (A, error)) func(context.Context, Q) (A, error) {
	return func(ctx context.Context, q Q) (A, error) {
		a, err := f(ctx, q)
		if err == nil {
			select {
			case s.kick <- struct{}{}:
			default:
			}
		}
		return a, err
	}
}

func (s *Service) export(ctx context.Context, q bus.LotRequest) (bus.PathReply, error) {
	if err := s.c.Ledger.MayHandOut(ctx, q); err != nil {
		return bus.PathReply{}, err
	}
	return s.c.Exporter.Export(ctx, q.Lot)
}

func (s *Service) bundle(ctx context.Context, q bus.LotRequest) (bus.PathReply, error) {
	return s.c.Exporter.Bundle(ctx, q.Lot)
}

// publish puts a work order for each line and unfinished lot on the queue, and the lot's script into the store. Both are
// made from the ledger and may be made again at any time.
func (s *Service) publish(ctx context.Context) error {
	orders, err := s.c.Ledger.WorkOrders(ctx)
	if err != nil {
		return err
	}
	for _, o := range orders {
		if err := s.c.Bus.PutBlob(ctx, o.Order.Script, o.Script); err != nil {
			return fmt.Errorf("storing the script of lot %q: %w", o.Order.Lot, err)
		}
		data, err := bus.Encode(o.Order)
		if err != nil {
			return err
		}
		for i, line := range s.c.Lines {
			if !s.worksFor(i, o.Vault) {
				continue
			}
			if err := s.c.Bus.Put(ctx, line, o.Order.ID+"-"+string(line), data); err != nil {
				return fmt.Errorf("sending the work order of lot %q to line %q: %w", o.Order.Lot, line, err)
			}
		}
	}
	return nil
}

// worksFor says whether a line makes lots of a vault. With several vaults each line has its own, and each vault its lines,
// so that a vault that is away stops no other's line. A lot that is nobody's yet is whoever's asks first.
func (s *Service) worksFor(line int, vault perso.Name) bool {
	lines, vaults, v := len(s.c.Lines), len(s.c.Vaults), slices.Index(s.c.Vaults, vault)
	switch {
	case vaults < 2 || v < 0:
		return true
	case lines < vaults:
		return v%lines == line
	}
	return line%vaults == v
}
