package natsbus

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/persoline/persoline/perso/bus"
)

// Times of being here.
const (
	// hereWait is how long a process that starts listens for one that is there. One that answers later is heard all the same,
	// and the younger of the two goes then.
	hereWait = 250 * time.Millisecond
	// hereEvery is how often each says that it is there: so long two go unnoticed when the bus was down as the second began.
	hereEvery = 5 * time.Second
	// hereAgain is when what a bus that is away did not take is said again.
	hereAgain = time.Second
	// maxHostBytes bounds a name that somebody else said.
	maxHostBytes = 64
)

// ErrTwice says that another process is on the bus as what this one wants to be.
var ErrTwice = errors.New("it is on the bus already")

// Seat is a process's place on the bus as the only one of its kind. Make it with Conn.Sit.
//
// Requests go to any member of a queue group, so a second process, started from a copied folder, would get half of them. It is
// the second line: a vault's is its life (keygen/life), a ledger's the log vault, which signs one history only. It keeps
// an honest mistake from doing harm; whoever has the zone's key of the bus can be silent.
type Seat struct {
	conn    *Conn
	subject string
	same    func(ctx context.Context, instance [16]byte) (bool, error)
	sub     *nats.Subscription
	echo    chan struct{} // one place: the server carried something of ours
	lost    chan struct{}
	done    chan struct{}

	mu   sync.Mutex
	self bus.Here
	why  error
}

// Sit takes a seat: it is refused with ErrTwice when another process has it, and waits for the bus until ctx ends. same says
// whether another instance may be there beside this one, as processes of one database; nil: none may. It is asked in one
// goroutine, each time that the other one is heard.
func (c *Conn) Sit(ctx context.Context, subject string, same func(ctx context.Context, instance [16]byte) (bool, error)) (*Seat, error) {
	var instance [16]byte
	if _, err := io.ReadFull(rand.Reader, instance[:]); err != nil {
		return nil, fmt.Errorf("taking a seat at %q: %w", subject, err)
	}
	return c.SitAs(ctx, subject, instance, same)
}

// SitAs is Sit by a random name of the caller's, who told it beforehand to whom the others ask about it.
func (c *Conn) SitAs(ctx context.Context, subject string, instance [16]byte, same func(ctx context.Context, instance [16]byte) (bool, error)) (*Seat, error) {
	host, err := os.Hostname()
	if err != nil {
		host = "a host without name"
	}
	s := &Seat{conn: c, subject: subject, same: same, echo: make(chan struct{}, 1), lost: make(chan struct{}), done: make(chan struct{}),
		self: bus.Here{Instance: instance, Since: time.Now().UnixMicro(), Host: host[:min(len(host), maxHostBytes)], PID: int64(os.Getpid())}}
	if s.sub, err = c.nc.Subscribe(subject, s.hear); err != nil {
		return nil, fmt.Errorf("taking a seat at %q: %w", subject, err)
	}
	if err := s.settle(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("taking a seat at %q: %w", subject, err), s.sub.Unsubscribe())
	}
	go s.stay()
	return s, nil
}

// Instance is what this process is called on the bus.
func (s *Seat) Instance() [16]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.self.Instance
}

// Lost is closed when another process has the better right. Err says which, and what to do.
func (s *Seat) Lost() <-chan struct{} { return s.lost }

// Err is why the seat was lost; nil while it is not.
func (s *Seat) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.why
}

// Leave gives the seat up.
func (s *Seat) Leave() error {
	close(s.done)
	if err := s.sub.Unsubscribe(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
		return fmt.Errorf("leaving the seat at %q: %w", s.subject, err)
	}
	return nil
}

// settle says that somebody comes, until the server carries it, and then listens for a while.
func (s *Seat) settle(ctx context.Context) error {
	again := time.NewTicker(hereAgain)
	defer again.Stop()
	var over <-chan time.Time
	echo := s.echo
	s.say([16]byte{})
	for {
		select {
		case <-echo: // all who are there were told as well
			echo, over = nil, time.After(hereWait)
		case <-again.C:
			if over == nil {
				s.say([16]byte{})
			}
		case <-over:
			s.mu.Lock()
			defer s.mu.Unlock()
			s.self.Settled = s.why == nil
			return s.why
		case <-s.lost:
			return s.Err()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// stay says now and then that this process is there.
func (s *Seat) stay() {
	every := time.NewTicker(hereEvery)
	defer every.Stop()
	for {
		s.say([16]byte{})
		select {
		case <-every.C:
		case <-s.lost:
			return
		case <-s.done:
			return
		}
	}
}

func (s *Seat) say(not [16]byte) {
	s.mu.Lock()
	h := s.self
	s.mu.Unlock()
	h.Not = not
	b, err := bus.Encode(h)
	if err == nil {
		err = s.conn.nc.Publish(s.subject, b)
	}
	if err != nil {
		s.conn.cfg.Log.Warn("bus seat not announced", "step", s.subject, "err", err)
	}
}

// hear is one message, of this process or of another.
func (s *Seat) hear(m *nats.Msg) {
	other, err := bus.Decode[bus.Here](m.Data)
	if err != nil || len(other.Host) > maxHostBytes {
		s.conn.cfg.Log.Warn("bus seat: a message that is none", "step", s.subject, "err", err)
		return
	}
	s.mu.Lock()
	self := s.self
	s.mu.Unlock()
	switch {
	case other.Instance == self.Instance:
		select {
		case s.echo <- struct{}{}:
		default:
		}
		return
	case other.Not == self.Instance && before(other, self):
		s.lose(other)
		return
	case s.mayStay(other):
		return
	case before(other, self):
		s.lose(other)
	default:
		s.say(other.Instance)
	}
}

// mayStay says whether the other one is of the same kind. What cannot be found out now is asked when he is heard again.
func (s *Seat) mayStay(other bus.Here) bool {
	if s.same == nil {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), hereEvery)
	defer cancel()
	same, err := s.same(ctx, other.Instance)
	if err != nil {
		s.conn.cfg.Log.Warn("bus seat: is the other one of this database?", "step", s.subject, "err", err)
	}
	return same || err != nil
}

// before says which of two has the better right: who serves before who comes, then who has been there longer.
func before(a, b bus.Here) bool {
	if a.Settled != b.Settled {
		return a.Settled
	}
	return cmp.Or(cmp.Compare(a.Since, b.Since), bytes.Compare(a.Instance[:], b.Instance[:])) < 0
}

func (s *Seat) lose(to bus.Here) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.why != nil {
		return
	}
	s.why = fmt.Errorf("%w: process %d on host %q has been %q since %s; end one of the two, and if this one's folder or database is a copy, delete it",
		ErrTwice, to.PID, to.Host, s.subject, time.UnixMicro(to.Since).UTC().Format(time.RFC3339))
	close(s.lost)
}
