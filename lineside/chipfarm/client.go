package chipfarm

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"

	"github.com/persoline/persoline/lineside/card"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
)

// Client is the machine that a line works with: a connection to a farm process, made anew when it broke. It is safe for
// concurrent use, one order at a time for each head.
//
// Errors: card.ErrMute when the chip has lost contact, also when that is because the connection broke; ErrLost when it
// broke in another order; ErrRefused when the handler does not do that. An order whose context ended may still be
// carried out.
type Client struct {
	address string

	mu   sync.Mutex
	link *link // nil when there is none
}

// Dial connects to a farm at unix:/path or tcp:127.0.0.1:port.
func Dial(ctx context.Context, address string) (*Client, error) {
	c := &Client{address: address}
	if _, err := c.connect(ctx); err != nil {
		return nil, err
	}
	return c, nil
}

// Close ends the connection, unless the farm did before: chips that it powered lose their power.
func (c *Client) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.link == nil {
		return nil
	}
	err := c.link.conn.Close()
	c.link = nil
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// Load brings the next chip under the head; a chip that lies there already stays. False says that the reel is empty.
func (c *Client) Load(ctx context.Context, head uint16) (loaded bool, err error) {
	a, err := c.call(ctx, request{Op: opLoad, Head: head})
	return a.Loaded, err
}

// Contact powers the chip under the head. An empty ATR is a mute chip.
func (c *Client) Contact(ctx context.Context, head uint16) (atr []byte, err error) {
	a, err := c.call(ctx, request{Op: opContact, Head: head})
	return a.ATR, err
}

// Transmit sends one command.
func (c *Client) Transmit(ctx context.Context, head uint16, apdu []byte) ([]byte, error) {
	a, err := c.call(ctx, request{Op: opTransmit, Head: head, APDUs: [][]byte{apdu}})
	if err == nil && len(a.Responses) != 1 {
		err = fmt.Errorf("transmitting: farm gave %d answers: %w", len(a.Responses), ErrLost)
	}
	if err != nil {
		return nil, err
	}
	return a.Responses[0], nil
}

// Play sends a window in one message; see card.PlayVia for its rules.
func (c *Client) Play(ctx context.Context, head uint16, window []bus.Play) (responses [][]byte, err error) {
	a, err := c.call(ctx, windowRequest(head, window))
	return a.Responses, err
}

// Lift takes the power away.
func (c *Client) Lift(ctx context.Context, head uint16) error {
	_, err := c.call(ctx, request{Op: opLift, Head: head})
	return err
}

// Bin puts the chip away; once it is there, again does nothing.
func (c *Client) Bin(ctx context.Context, head uint16, bin perso.Bin) error {
	_, err := c.call(ctx, request{Op: opBin, Head: head, Bin: bin})
	return err
}

// Counters are the handler's own: chips taken from the reel, and chips in each bin.
func (c *Client) Counters(ctx context.Context) (in uint64, inBins map[perso.Bin]uint64, err error) {
	a, err := c.call(ctx, request{Op: opCounters})
	return a.In, a.Counters, err
}

// Inspect powers a chip that lies in a bin, in a test reader, and runs plain commands on it.
func (c *Client) Inspect(ctx context.Context, chip Ref, apdus [][]byte) ([][]byte, error) {
	a, err := c.call(ctx, request{Op: opInspect, Index: chip.Index, Chip: chip.ID.Bytes(), APDUs: apdus})
	return a.Responses, err
}

// Examine puts a chip that lies in a bin into the PC/SC test reader, in the place of the one before.
func (c *Client) Examine(ctx context.Context, chip Ref) error {
	_, err := c.call(ctx, request{Op: opExamine, Index: chip.Index, Chip: chip.ID.Bytes()})
	return err
}

// Bins lists what lies in each bin, in the order in which it came there.
func (c *Client) Bins(ctx context.Context) (map[perso.Bin][]Place, error) {
	all := map[perso.Bin][]Place{}
	for _, bin := range bins {
		for {
			a, err := c.call(ctx, request{Op: opBins, Bin: bin, Index: uint32(len(all[bin]))})
			if err != nil {
				return nil, err
			}
			all[bin] = append(all[bin], a.Places...)
			if len(a.Places) == 0 || uint32(len(all[bin])) >= a.Total {
				break
			}
		}
	}
	return all, nil
}

// At is one head of the farm as a card.Transport and card.Player.
func (c *Client) At(head uint16) Head { return Head{client: c, head: head} }

// Head is one head of a farm.
type Head struct {
	client *Client
	head   uint16
}

// Transmit is Client.Transmit at this head.
func (h Head) Transmit(ctx context.Context, apdu []byte) ([]byte, error) {
	return h.client.Transmit(ctx, h.head, apdu)
}

// Play is Client.Play at this head.
func (h Head) Play(ctx context.Context, window []bus.Play) ([][]byte, error) {
	return h.client.Play(ctx, h.head, window)
}

// call sends a request and waits for its reply, which may come with an error.
func (c *Client) call(ctx context.Context, q request) (reply, error) {
	if err := context.Cause(ctx); err != nil { // else a quick farm's answer would be taken
		return reply{}, fmt.Errorf("asking chip farm: %w", err)
	}
	l, err := c.connect(ctx)
	if err != nil {
		return reply{}, err
	}
	a, err := l.call(ctx, q)
	if err != nil {
		if ctx.Err() == nil && (q.Op == opTransmit || q.Op == opPlay) {
			err = fmt.Errorf("%w: %w", card.ErrMute, err) // the farm takes the power when the connection is gone
		}
		return reply{}, fmt.Errorf("asking chip farm: %w", err)
	}
	switch a.Outcome {
	case outcomeDone:
		return a, nil
	case outcomeMute:
		return a, fmt.Errorf("%w: %s", card.ErrMute, a.Text)
	case outcomeRefused:
		return a, fmt.Errorf("%w: %s", ErrRefused, strings.TrimSuffix(a.Text, ": "+ErrRefused.Error())) // which the farm's own error ends with
	}
	return a, fmt.Errorf("chip farm failed: %s", a.Text)
}

// connect gives the connection, a new one when the old one broke.
func (c *Client) connect(ctx context.Context) (*link, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.link != nil && !c.link.broken() {
		return c.link, nil
	}
	network, where, err := endpoint(c.address)
	if err != nil {
		return nil, err
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, network, where)
	if err != nil {
		return nil, fmt.Errorf("connecting to chip farm: %w: %w", ErrLost, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() }) // a farm that does not greet is no reason to hang
	in := bufio.NewReaderSize(conn, receiveBytes)
	err = shakeHands(in, conn)
	if !stop() || err != nil {
		_ = conn.Close() // the connection was never used
		return nil, fmt.Errorf("connecting to chip farm: %w: %w", ErrLost, err)
	}
	c.link = &link{conn: conn, waiting: map[uint32]chan reply{}, over: make(chan struct{})}
	go c.link.receive(in)
	return c.link, nil
}

// link is one connection with its requests under way.
type link struct {
	conn net.Conn
	out  sender

	mu      sync.Mutex
	last    uint32
	waiting map[uint32]chan reply
	over    chan struct{} // closed when the connection is gone
}

func (l *link) call(ctx context.Context, q request) (reply, error) {
	answer := make(chan reply, 1)
	l.mu.Lock()
	l.last++
	q.ID = l.last
	l.waiting[q.ID] = answer
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		delete(l.waiting, q.ID)
		l.mu.Unlock()
	}()
	if err := l.out.send(l.conn, q); errors.Is(err, errUnsent) {
		return reply{}, err
	} else if err != nil {
		_ = l.conn.Close() // half a frame may be out: nothing can follow it
		return reply{}, fmt.Errorf("%w: %w", ErrLost, err)
	}
	select {
	case a := <-answer:
		return a, nil
	case <-l.over:
	case <-ctx.Done():
		return reply{}, context.Cause(ctx)
	}
	select {
	case a := <-answer: // it came before the end
		return a, nil
	default:
		return reply{}, ErrLost
	}
}

// receive hands replies to those who wait for them, until the connection ends.
func (l *link) receive(in *bufio.Reader) {
	defer close(l.over)
	defer func() { _ = l.conn.Close() }()
	for {
		a, err := readFrame[reply](in, bus.MaxMessageBytes)
		if err != nil {
			return
		}
		l.mu.Lock()
		answer := l.waiting[a.ID]
		delete(l.waiting, a.ID) // so that a second one waits for nobody
		l.mu.Unlock()
		if answer != nil {
			answer <- a
		}
	}
}

func (l *link) broken() bool {
	select {
	case <-l.over:
		return true
	default:
		return false
	}
}
