package chipfarm

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/persoline/persoline/lineside/card"
	"github.com/persoline/persoline/lineside/cardsim"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
)

// handOver is how long a client waits for a head that another client has powered: its connection may be breaking just
// now, and the power goes a moment later.
const handOver = 2 * time.Second

// Session is one client's hold on a farm. Closing it takes the power from every chip that it powered, at whatever place
// in a command they are. It is safe for concurrent use; orders to one head are carried out one after another.
type Session struct {
	farm   *Farm
	ctx    context.Context // ends with the session: what is under way stops
	cancel context.CancelFunc
	gone   chan struct{} // closed when the last chip has lost its power

	mu      sync.Mutex
	powered map[*head]bool
	closed  bool

	slot bool // of a PC/SC reader: it powers the chip and does not move it
}

// head is one place where chips are contacted.
type head struct {
	number uint16
	turn   chan struct{} // holds one token: whoever has it works with the head
	chip   *cardsim.Chip // nil until it is contacted
	nvm    *chipMemory
	atr    []byte
	owner  *Session // who powered the chip
	due    time.Time
	slot   bool // its contacts are those of a PC/SC reader; under the farm's lock
}

// Session begins one. Close it.
func (f *Farm) Session() *Session {
	ctx, cancel := context.WithCancel(context.Background())
	return &Session{farm: f, ctx: ctx, cancel: cancel, gone: make(chan struct{}), powered: map[*head]bool{}}
}

// Close is the loss of the connection.
func (s *Session) Close() {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return
	}
	s.closed = true
	heads := make([]*head, 0, len(s.powered))
	for h := range s.powered {
		heads = append(heads, h)
	}
	s.mu.Unlock()
	s.cancel()
	for _, h := range heads {
		<-h.turn
		if h.owner == s {
			h.powerOff()
		}
		h.turn <- struct{}{}
	}
	close(s.gone)
}

// Load brings the next chip under the head. A chip that lies there already stays; false says that the reel is empty.
func (s *Session) Load(ctx context.Context, number uint16) (loaded bool, err error) {
	if number == testHead {
		return false, fmt.Errorf("loading: the test reader is under no head: %w", ErrRefused)
	}
	err = s.moving(ctx, number, func(ctx context.Context, h *head) error {
		s.farm.mu.Lock()
		before := s.farm.handler.next
		_, loaded, err = s.farm.handler.load(number)
		moved := s.farm.handler.next != before
		s.farm.mu.Unlock()
		if err != nil || !moved {
			return err
		}
		return s.farm.wait(ctx, h, time.Duration(s.farm.maker.spec.Timing.IndexMS)*time.Millisecond)
	})
	return loaded, err
}

// Contact powers the chip under the head; one that has power is reset. An empty ATR is a mute chip.
func (s *Session) Contact(ctx context.Context, number uint16) (atr []byte, err error) {
	err = s.with(ctx, number, func(ctx context.Context, h *head) error {
		if err := s.farm.insert(h); err != nil {
			return err
		}
		if !s.hold(h) {
			return fmt.Errorf("contacting: session is closed: %w", ErrRefused)
		}
		atr = h.chip.PowerOn()
		if err := h.stored(); err != nil {
			return err
		}
		h.atr = atr
		return s.farm.wait(ctx, h, s.farm.maker.spec.Timing.Chip.Reset(atr))
	})
	return atr, err
}

// Transmit sends one command; card.ErrMute when the chip has no power or loses it.
func (s *Session) Transmit(ctx context.Context, number uint16, apdu []byte) (resp []byte, err error) {
	err = s.with(ctx, number, func(ctx context.Context, h *head) (err error) {
		resp, err = card.Over(s.contacts(h), card.T1).Transmit(ctx, apdu)
		return err
	})
	return resp, err
}

// Play sends a window; see card.PlayVia.
func (s *Session) Play(ctx context.Context, number uint16, window []bus.Play) (responses [][]byte, err error) {
	err = s.with(ctx, number, func(ctx context.Context, h *head) (err error) {
		responses, err = card.PlayVia(ctx, card.Over(s.contacts(h), card.T1), window)
		return err
	})
	return responses, err
}

// Lift takes the power away.
func (s *Session) Lift(ctx context.Context, number uint16) error {
	return s.with(ctx, number, func(_ context.Context, h *head) error {
		h.powerOff()
		return nil
	})
}

// Bin puts the chip away. When nothing lies there, that was done before.
func (s *Session) Bin(ctx context.Context, number uint16, bin perso.Bin) error {
	if moveOf(bin) == 0 || number == testHead {
		return fmt.Errorf("binning: there is no bin %q: %w", bin, ErrRefused)
	}
	return s.moving(ctx, number, func(_ context.Context, h *head) error {
		if err := h.empty(); err != nil {
			return fmt.Errorf("putting chip away: %w", err)
		}
		s.farm.mu.Lock()
		defer s.farm.mu.Unlock()
		return s.farm.handler.put(number, bin)
	})
}

// Counters are the handler's own: chips taken from the reel, and chips in each bin.
func (s *Session) Counters(context.Context) (in uint64, inBins map[perso.Bin]uint64, err error) {
	s.farm.mu.Lock()
	defer s.farm.mu.Unlock()
	return uint64(s.farm.handler.next), s.farm.handler.count(), nil
}

// Inspect powers a chip that lies in a bin, in a test reader, and runs plain commands on it.
func (s *Session) Inspect(ctx context.Context, chip Ref, apdus [][]byte) ([][]byte, error) {
	index, err := s.farm.find(chip)
	if err != nil {
		return nil, err
	}
	return s.farm.inspect(ctx, index, apdus)
}

// Bins lists what lies in each bin, in the order in which it came there.
func (s *Session) Bins(context.Context) (map[perso.Bin][]Place, error) {
	all := map[perso.Bin][]Place{}
	for _, bin := range bins {
		places, _, err := s.farm.bin(bin, 0, MaxChips)
		if err != nil {
			return nil, err
		}
		all[bin] = places
	}
	return all, nil
}

// with takes the head for the time of one order to its chip. A chip that another living session has powered is not touched.
func (s *Session) with(ctx context.Context, number uint16, do func(context.Context, *head) error) error {
	h, err := s.farm.head(number)
	if err != nil {
		return err
	}
	if !s.slot && s.farm.underReader(h) {
		return fmt.Errorf("taking the contacts of head %d, which are those of a PC/SC reader: %w", number, ErrRefused)
	}
	return s.take(ctx, h, func(owner *Session) bool { return owner == nil || owner == s }, do)
}

// moving takes the head for an order to the handler. It takes a chip out of a PC/SC reader whether that has power or not,
// as a hand would; the reader's session finds out.
func (s *Session) moving(ctx context.Context, number uint16, do func(context.Context, *head) error) error {
	h, err := s.farm.head(number)
	if err != nil {
		return err
	}
	return s.take(ctx, h, func(owner *Session) bool { return owner == nil || owner == s || owner.slot }, do)
}

// take waits for the head until its owner suits, and has it do one order.
func (s *Session) take(ctx context.Context, h *head, suits func(owner *Session) bool, do func(context.Context, *head) error) error {
	number := h.number
	if ctx != s.ctx {
		both, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(s.ctx, cancel)()
		ctx = both
	}
	for {
		select {
		case <-h.turn:
		case <-ctx.Done():
			return fmt.Errorf("waiting for head %d: %w", number, context.Cause(ctx))
		}
		owner := h.owner
		if suits(owner) {
			err := do(ctx, h)
			if err != nil && ctx.Err() != nil {
				h.powerOff() // nobody waits for the answer any more: the contact is lost
			}
			h.turn <- struct{}{}
			return err
		}
		h.turn <- struct{}{}
		if err := owner.waitGone(ctx); err != nil {
			return fmt.Errorf("taking head %d, which another client has powered: %w", number, err)
		}
	}
}

// waitGone waits a moment for the session's end.
func (s *Session) waitGone(ctx context.Context) error {
	timer := time.NewTimer(handOver)
	defer timer.Stop()
	select {
	case <-s.gone:
		return nil
	case <-timer.C:
		return ErrRefused
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// hold notes that the session powers the head's chip.
func (s *Session) hold(h *head) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.powered[h], h.owner = true, s
	return true
}

// head finds a head, and makes it when it is used for the first time.
func (f *Farm) head(number uint16) (*head, error) {
	if number >= MaxHeads && number != testHead {
		return nil, fmt.Errorf("taking head %d of %d: %w", number, MaxHeads, ErrRefused)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	h := f.heads[number]
	if h == nil {
		h = &head{number: number, turn: make(chan struct{}, 1)}
		h.turn <- struct{}{}
		f.heads[number] = h
	}
	return h, nil
}

// insert makes the chip under the head, unless it is there.
func (f *Farm) insert(h *head) error {
	index, there := f.at(h.number)
	if !there {
		return fmt.Errorf("contacting: no chip lies under head %d: %w", h.number, ErrRefused)
	}
	if h.chip != nil {
		return nil
	}
	var err error
	if h.chip, h.nvm, err = f.chip(index); err == nil && h.number == testHead {
		h.chip.OnTestReader()
	}
	return err
}

// wait passes as much time as the real thing would take. Time that the last wait was too long is taken off.
func (f *Farm) wait(ctx context.Context, h *head, d time.Duration) error {
	const shortest = time.Millisecond // less than that is saved up
	d = time.Duration(float64(d) * f.maker.spec.Timing.Scale)
	if d <= 0 {
		return context.Cause(ctx)
	}
	now := time.Now()
	if h.due.Before(now.Add(-shortest)) {
		h.due = now
	}
	h.due = h.due.Add(d)
	if rest := h.due.Sub(now); rest >= shortest {
		timer := time.NewTimer(rest)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	return context.Cause(ctx)
}

func (h *head) powerOff() {
	if h.chip != nil {
		h.chip.PowerOff()
	}
	if h.owner != nil {
		h.owner.mu.Lock()
		delete(h.owner.powered, h)
		h.owner.mu.Unlock()
	}
	h.owner, h.atr = nil, nil
}

// empty takes the chip out of the reader.
func (h *head) empty() error {
	h.powerOff()
	nvm := h.nvm
	h.chip, h.nvm = nil, nil
	if nvm == nil {
		return nil
	}
	return nvm.Close()
}

// stored says whether the chip's memory took what the chip wrote. If not, it is the machine that fails and not the chip:
// the chip is left as its pack says, and taken up from there at the next contact.
func (h *head) stored() error {
	failed := h.nvm.failed
	if failed == nil {
		return nil
	}
	return fmt.Errorf("writing the memory of the chip under head %d: %w", h.number, errors.Join(failed, h.empty()))
}

// contacts are the head's, as a link to the chip.
type contacts struct {
	farm *Farm
	head *head
	mine bool
}

func (s *Session) contacts(h *head) contacts {
	return contacts{farm: s.farm, head: h, mine: h.owner == s}
}

func (c contacts) Exchange(ctx context.Context, apdu []byte) ([]byte, error) {
	if !c.mine || c.head.chip == nil {
		return nil, fmt.Errorf("transmitting at head %d without power: %w", c.head.number, card.ErrMute)
	}
	resp, cost := c.head.chip.Process(apdu)
	if err := c.head.stored(); err != nil {
		return nil, err
	}
	if err := c.farm.wait(ctx, c.head, c.farm.maker.spec.Timing.Chip.Exchange(c.head.atr, cost)); err != nil {
		return nil, fmt.Errorf("transmitting at head %d: %w: %w", c.head.number, card.ErrMute, err)
	}
	if resp == nil {
		return nil, fmt.Errorf("transmitting at head %d: %w", c.head.number, card.ErrMute)
	}
	return resp, nil
}
