// Package natsbus carries the bus over NATS: request and reply as micro services in queue groups, work orders on a JetStream
// work queue, blobs in a JetStream stream. It also embeds a server for the one-machine factory and says, in one place, what
// each zone's user may touch.
//
// The bus is transport, never truth (I3): every stream here may be deleted and is filled again from the ledger. Publishing
// waits for the server's answer, jobs are acknowledged twice, and an answer that did not come means "unknown, ask again".
//
// Used by perso/cmd only; the zones see the interfaces of perso/bus. Wire forms: NATS client protocol, ADR-32 (services),
// ADR-13 (pull), ADR-31 (direct get).
package natsbus

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/url"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
)

// Limits and times of a connection.
const (
	// replyTimeout bounds a round trip whose caller set no deadline: an act takes some hundred milliseconds in the HSM.
	replyTimeout = 10 * time.Second
	// dialTimeout bounds one attempt to connect; the server is on the same site.
	dialTimeout = 5 * time.Second
	// reconnectMin and reconnectMax bound the pause between attempts: soon back after a blip, no storm after an outage.
	reconnectMin = 100 * time.Millisecond
	reconnectMax = 5 * time.Second
	// reconnectBufferBytes holds what is published during a blip: a few of the largest messages.
	reconnectBufferBytes = 4 << 20
	// pingInterval and maxPingsOut find a dead connection within 30 s.
	pingInterval = 10 * time.Second
	maxPingsOut  = 2
	// closeTimeout bounds the draining at the end.
	closeTimeout = 10 * time.Second

	// DefaultAckWait is when a job of a dead worker is delivered again; a living one reports progress three times as often.
	DefaultAckWait = 15 * time.Second
	// DefaultMaxAckPending bounds the jobs that a line holds at once: more than it can have heads at work on.
	DefaultMaxAckPending = 8
	// DefaultWorkers bounds the handlers at work on one subject: the ledger commits up to bus.MaxBatch requests together.
	DefaultWorkers = bus.MaxBatch
)

// Config says whom to connect to and as whom. Zero values mean the defaults.
type Config struct {
	URL          string      // nats://host:port or tls://host:port
	NKeySeedFile string      // as written by GenerateUsers; read at each connect and not kept
	Name         string      // the user: UserLedger, UserVault, UserOffice; may be empty for a line
	Line         perso.Name  // of a line's connection
	InboxPrefix  string      // default InboxPrefix(Name)
	TLS          *tls.Config // needed off loopback
	Log          *slog.Logger

	AckWait       time.Duration
	MaxAckPending int
	Replicas      int            // of each stream: 1, or 3 in a cluster
	Workers       map[string]int // handlers at once by subject, where DefaultWorkers does not fit
}

// Conn is a connection that reconnects for ever. It implements bus.Requester, bus.Server, bus.Queue and bus.Store.
type Conn struct {
	cfg    Config
	nc     *nats.Conn
	js     jetstream.JetStream
	closed chan struct{}

	mu       sync.Mutex
	services map[*service]struct{}
	link     context.Context // ends when the connection is lost; then there is a new one
	cut      context.CancelFunc
}

// Connect waits for the first connection until ctx ends; a refused key is an error at once.
func Connect(ctx context.Context, cfg Config) (*Conn, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, fmt.Errorf("configuring the bus connection: %w", err)
	}
	key, err := nats.NkeyOptionFromSeed(cfg.NKeySeedFile)
	if err != nil {
		return nil, fmt.Errorf("reading bus key %q: %w", cfg.NKeySeedFile, err)
	}
	c := &Conn{cfg: cfg, closed: make(chan struct{}), services: map[*service]struct{}{}}
	c.link, c.cut = context.WithCancel(context.Background())
	first := make(chan error, 1) // the first thing that is known about the connection
	if c.nc, err = nats.Connect(cfg.URL, append(c.options(first), key)...); err != nil {
		return nil, fmt.Errorf("connecting to %q: %w", cfg.URL, err)
	}
	select {
	case err = <-first:
	case <-ctx.Done():
		err = errors.Join(ctx.Err(), c.nc.LastError())
	}
	if err == nil {
		c.js, err = jetstream.New(c.nc, jetstream.WithDefaultTimeout(replyTimeout))
	}
	if err != nil {
		c.nc.Close()
		return nil, fmt.Errorf("connecting to %q as %q: %w", cfg.URL, cfg.Name, err)
	}
	return c, nil
}

func (cfg Config) complete() (Config, error) {
	if cfg.Name == "" && cfg.Line != "" {
		cfg.Name = LineUser(cfg.Line)
	}
	if cfg.Line != "" && cfg.Name != LineUser(cfg.Line) {
		return cfg, fmt.Errorf("user %q is not the one of line %q", cfg.Name, cfg.Line)
	}
	if _, err := permissionsOf(cfg.Name); err != nil {
		return cfg, err
	}
	u, err := url.Parse(cfg.URL)
	if err != nil {
		return cfg, fmt.Errorf("parsing the URL: %w", err)
	}
	if cfg.TLS == nil && !loopback(u.Hostname()) {
		return cfg, fmt.Errorf("connecting to %q: %w", cfg.URL, ErrPlain)
	}
	if cfg.InboxPrefix == "" {
		cfg.InboxPrefix = InboxPrefix(cfg.Name)
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.AckWait == 0 {
		cfg.AckWait = DefaultAckWait
	}
	if cfg.MaxAckPending == 0 {
		cfg.MaxAckPending = DefaultMaxAckPending
	}
	if cfg.Replicas == 0 {
		cfg.Replicas = 1
	}
	return cfg, nil
}

// ErrPlain refuses traffic that would leave the machine unencrypted.
var ErrPlain = errors.New("off loopback the bus needs TLS with certificates at both ends")

func loopback(host string) bool {
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}

func (c *Conn) options(first chan<- error) []nats.Option {
	log := c.cfg.Log
	tell := func(err error) {
		select {
		case first <- err:
		default: // Connect has heard something already
		}
	}
	options := []nats.Option{
		nats.Name(c.cfg.Name), nats.CustomInboxPrefix(c.cfg.InboxPrefix), nats.Timeout(dialTimeout),
		nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1), nats.CustomReconnectDelay(reconnectDelay),
		nats.IgnoreAuthErrorAbort(), // a key that is refused today may be listed again after the next reload
		nats.ReconnectBufSize(reconnectBufferBytes), nats.PingInterval(pingInterval), nats.MaxPingsOutstanding(maxPingsOut),
		nats.DrainTimeout(closeTimeout),
		nats.ConnectHandler(func(*nats.Conn) { tell(nil) }),
		nats.ReconnectHandler(func(*nats.Conn) {
			log.Info("bus connected again")
			tell(nil)
		}),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil { // nil: Close
				log.Warn("bus disconnected", "err", err)
			}
			c.disconnected()
		}),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) {
			log.Debug("bus not reached", "err", err)
			if errors.Is(err, nats.ErrAuthorization) {
				tell(err)
			}
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			log.Warn("bus error", "err", err)
		}),
		nats.ClosedHandler(func(*nats.Conn) { close(c.closed) }),
	}
	if c.cfg.TLS != nil {
		options = append(options, nats.Secure(c.cfg.TLS))
	}
	return options
}

// reconnectDelay doubles up to the maximum and spreads the clients, so that they do not all come back at once.
func reconnectDelay(attempts int) time.Duration {
	delay := reconnectMax
	if attempts < 6 { // 100 ms · 2⁵ is the last below the maximum
		delay = reconnectMin << max(attempts, 0)
	}
	return delay/2 + rand.N(delay/2)
}

// Request asks and waits until ctx ends, or replyTimeout where ctx has no end.
func (c *Conn) Request(ctx context.Context, subject string, data []byte) ([]byte, error) {
	if len(data) > bus.MaxMessageBytes {
		return nil, bus.Refuse(bus.FaultBadMessage, "request of %d bytes exceeds %d", len(data), bus.MaxMessageBytes)
	}
	msg, err := c.roundTrip(ctx, subject, data)
	if err != nil {
		return nil, fmt.Errorf("requesting %q: %w", subject, err)
	}
	return msg.Data, nil
}

func (c *Conn) roundTrip(ctx context.Context, subject string, data []byte) (*nats.Msg, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	ctx, cut := context.WithCancel(ctx)
	defer cut()
	c.mu.Lock()
	link := c.link
	c.mu.Unlock()
	defer context.AfterFunc(link, cut)() // the answer would have come on the connection that is lost
	msg, err := c.nc.RequestWithContext(ctx, subject, data)
	return msg, unanswered(err)
}

// disconnected ends the requests under way, so that they are asked again as soon as there is a connection. Those from now
// on wait for the next one.
func (c *Conn) disconnected() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut()
	c.link, c.cut = context.WithCancel(context.Background())
}

// bounded gives ctx an end when it has none.
func bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, replyTimeout)
}

// unanswered marks the errors after which nobody knows whether the thing was done.
func unanswered(err error) error {
	for _, unknown := range []error{
		context.DeadlineExceeded, context.Canceled, nats.ErrTimeout, nats.ErrNoResponders, nats.ErrDisconnected,
		nats.ErrConnectionClosed, nats.ErrConnectionDraining, nats.ErrReconnectBufExceeded, jetstream.ErrNoStreamResponse,
	} {
		if errors.Is(err, unknown) {
			return fmt.Errorf("%w: %w", bus.ErrNoAnswer, err)
		}
	}
	return err
}

// Close ends the services, lets what is under way finish, and disconnects.
func (c *Conn) Close() error {
	c.mu.Lock()
	open := make([]*service, 0, len(c.services))
	for s := range c.services {
		open = append(open, s)
	}
	c.mu.Unlock()
	var errs []error
	for _, s := range open {
		errs = append(errs, s.stop())
	}
	if err := c.nc.Drain(); err != nil {
		c.nc.Close() // not connected: nothing to drain
	}
	<-c.closed // at the latest after nats.DrainTimeout
	return errors.Join(errs...)
}
