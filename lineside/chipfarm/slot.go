package chipfarm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"

	"github.com/persoline/persoline/lineside/cardsim/atr"
	"github.com/persoline/persoline/lineside/cardsim/t0"
	"github.com/persoline/persoline/lineside/vpcd"
)

const readerName = "Persoline"

// ReaderName is how pcscd calls the reader over a head.
func ReaderName(head int) string { return vpcd.ReaderName(readerName, head) }

// TestReaderName is how pcscd calls the test reader of a farm with so many heads under readers.
func TestReaderName(heads int) string { return vpcd.ReaderName(readerName, heads) }

// Readers puts the first heads of a farm under PC/SC readers: those of a pcscd that the farm starts, and stops when it ends.
// The handler brings chips there as to every head, by load and bin; contact, transmit, play and lift are then the reader's
// and refused to clients.
type Readers struct {
	// Heads is how many, from head 0 on. Behind them comes the test reader, for chips out of bins; together they are at most
	// vpcd.MaxSlots.
	Heads int
	// Dir is a folder for pcscd; vpcd.Socket says where in it clients find pcscd.
	Dir string
	// Port is the first of the TCP ports between pcscd and the farm; 0 takes free ones.
	Port uint16
}

// readers are heads under readers, and the pcscd that has these.
type readers struct {
	daemon *vpcd.Daemon
	stop   context.CancelFunc
	slots  sync.WaitGroup
}

// openReaders puts the heads under readers. Close them.
func (f *Farm) openReaders(ctx context.Context, cfg Readers, log *slog.Logger) (*readers, error) {
	listeners, err := vpcd.Listen(ctx, cfg.Port, cfg.Heads+1)
	if err != nil {
		return nil, err
	}
	serving, stop := context.WithCancel(context.WithoutCancel(ctx)) // pcscd ends first: it never looks whether it could connect
	r := &readers{stop: stop}
	ports := make([]uint16, len(listeners))
	for i, l := range listeners { // there may be one too many, which stays empty: drivers have two slots each
		head := uint16(i)
		if i == cfg.Heads {
			head = testHead
		}
		if err = errors.Join(err, f.giveToReader(head)); err != nil {
			continue
		}
		ports[i] = vpcd.Port(l)
		r.slots.Go(func() { f.serveSlot(serving, l, head, log) })
	}
	if err == nil {
		r.daemon, err = vpcd.Start(vpcd.DaemonConfig{Dir: cfg.Dir, Name: readerName, Ports: ports})
	}
	if err != nil {
		return nil, errors.Join(err, r.close())
	}
	log.InfoContext(ctx, "heads are under PC/SC readers; the one behind them is the test reader", "heads", cfg.Heads, "socket", r.daemon.Socket())
	return r, nil
}

// wait waits for the end of ctx, or for that of pcscd, which is an error.
func (r *readers) wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-r.daemon.Over():
		return r.daemon.Err()
	}
}

func (r *readers) close() (err error) {
	if r.daemon != nil {
		err = r.daemon.Stop()
	}
	r.stop()
	r.slots.Wait()
	return err
}

func (f *Farm) giveToReader(number uint16) error {
	h, err := f.head(number)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	h.slot = true
	return nil
}

func (f *Farm) underReader(h *head) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return h.slot
}

// serveSlot serves the driver's connections to one slot. There is one at a time: the driver makes a new one when the old is
// over, and each is a session of its own.
func (f *Farm) serveSlot(ctx context.Context, l *net.TCPListener, head uint16, log *slog.Logger) {
	defer context.AfterFunc(ctx, func() { _ = l.Close() })() // ends Accept
	var connections sync.WaitGroup
	defer connections.Wait()
	for {
		conn, err := l.AcceptTCP()
		if err != nil {
			if ctx.Err() == nil {
				log.ErrorContext(ctx, "reader slot closed", "head", head, "err", err)
			}
			return
		}
		connections.Go(func() {
			s := f.Session()
			s.slot = true
			defer s.Close()
			if err := vpcd.Serve(ctx, conn, newSlot(s, head)); err != nil {
				log.WarnContext(ctx, "reader slot dropped", "head", head, "err", err)
			}
		})
	}
}

// slot is a head as its reader sees it. What the farm refuses is to the reader as a chip that says nothing.
type slot struct {
	session *Session
	head    uint16
	chip    speaker
}

// speaker is the chip's end of what travels between it and the reader.
type speaker interface {
	Exchange(ctx context.Context, block []byte) ([]byte, error)
	Reset()
}

// wholeCommands is a chip that offers T=1 first: its reader makes the blocks, and what comes through the driver are commands.
type wholeCommands struct{ t0.Run }

func (w wholeCommands) Exchange(ctx context.Context, command []byte) ([]byte, error) {
	return w.Run(ctx, command)
}
func (wholeCommands) Reset() {}

// speaks is the chip's end by the protocol that its answer to reset offers first; T=0 when it can't be read.
func speaks(reset []byte, run t0.Run) speaker {
	if i, err := atr.Parse(reset); err == nil && i.Protocols[0] == 1 {
		return wholeCommands{run}
	}
	return t0.New(run)
}

func newSlot(s *Session, number uint16) *slot {
	return &slot{session: s, head: number, chip: speaks(s.farm.maker.atr, func(ctx context.Context, command []byte) (answer []byte, err error) {
		err = s.with(ctx, number, func(ctx context.Context, h *head) (err error) {
			answer, err = s.contacts(h).Exchange(ctx, command)
			return err
		})
		return answer, err
	})}
}

// ATR implements vpcd.Slot.
func (s *slot) ATR(ctx context.Context) (atr []byte) {
	err := s.session.with(ctx, s.head, func(_ context.Context, h *head) error {
		if h.owner == s.session {
			atr = h.atr
		} else if _, there := s.session.farm.at(s.head); there {
			atr = s.session.farm.maker.atr
		}
		return nil
	})
	if err != nil {
		return nil
	}
	return atr
}

// PowerOn implements vpcd.Slot.
func (s *slot) PowerOn(ctx context.Context) {
	s.chip.Reset()
	_, _ = s.session.Contact(ctx, s.head)
}

// PowerOff implements vpcd.Slot.
func (s *slot) PowerOff(ctx context.Context) {
	s.chip.Reset()
	_ = s.session.Lift(ctx, s.head)
}

// Exchange implements vpcd.Slot.
func (s *slot) Exchange(ctx context.Context, command []byte) ([]byte, error) {
	return s.chip.Exchange(ctx, command)
}

// testHead is the number of the test reader, which is under no head of the machine.
const testHead = MaxHeads

// at is the chip that lies under a head or in the test reader.
func (f *Farm) at(number uint16) (index uint32, there bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if number == testHead {
		return f.examined, f.examining
	}
	index, there = f.handler.heads[number]
	return index, there
}

// Examine puts a chip that lies in a bin into the PC/SC test reader, in the place of the one before. In the books it stays in
// its bin. As for Inspect, its fault plan is not heeded.
func (s *Session) Examine(ctx context.Context, chip Ref) error {
	index, err := s.farm.find(chip)
	if err != nil {
		return err
	}
	if h, err := s.farm.head(testHead); err != nil || !s.farm.underReader(h) {
		return fmt.Errorf("examining chip %d: this farm has no PC/SC readers; it has with \"perso chip farm --vpcd N\", or for a line of transport pcsc: %w", index, errors.Join(ErrRefused, err))
	}
	return s.moving(ctx, testHead, func(_ context.Context, h *head) error {
		s.farm.reader.Lock() // an inspection of the same chip is over
		defer s.farm.reader.Unlock()
		if err := h.empty(); err != nil {
			return fmt.Errorf("emptying the test reader: %w", err)
		}
		s.farm.mu.Lock()
		defer s.farm.mu.Unlock()
		s.farm.examining = false
		if _, binned := s.farm.handler.place[index]; !binned {
			return fmt.Errorf("examining chip %d, which is in no bin: %w", index, ErrRefused)
		}
		s.farm.examined, s.farm.examining = index, true
		return nil
	})
}
