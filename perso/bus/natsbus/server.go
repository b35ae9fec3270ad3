package natsbus

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

const (
	// readyTimeout bounds the start: streams are read from disk.
	readyTimeout = 30 * time.Second
	// maxConnections is two for each user: the old one may not be noticed dead yet.
	maxConnections = 2 * maxUsers
	// maxPayloadBytes is above bus.MaxMessageBytes with headers.
	maxPayloadBytes = 1 << 20
	// memoryStoreBytes is next to nothing, because nothing of ours is kept in memory only.
	memoryStoreBytes = 1 << 20
	// handshakeSeconds bounds authentication and TLS of a new connection; a loaded machine needs more than the default.
	handshakeSeconds = 10
)

// ServerConfig says where the embedded server listens and who may come.
type ServerConfig struct {
	Dir    string      // for the streams; the same again keeps them
	Listen string      // host:port, port 0 for a free one
	Users  []User      // from GenerateUsers
	TLS    *tls.Config // needed off loopback; it must ask for client certificates
	Log    *slog.Logger
}

// Embedded is a NATS server in this process, for the one-machine factory and for tests. Its permissions are the same as
// those of deploy/nats/nats.conf.
type Embedded struct{ srv *server.Server }

// StartServer returns when the server takes connections.
func StartServer(cfg ServerConfig) (*Embedded, error) {
	opts, err := cfg.options()
	if err != nil {
		return nil, fmt.Errorf("configuring the bus server: %w", err)
	}
	srv, err := server.NewServer(opts)
	if err != nil {
		return nil, fmt.Errorf("making the bus server: %w", err)
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	srv.SetLoggerV2(serverLog{cfg.Log}, false, false, false)
	srv.Start()
	e := &Embedded{srv}
	if !srv.ReadyForConnections(readyTimeout) {
		e.Shutdown()
		return nil, fmt.Errorf("starting the bus server at %q: not ready after %v", cfg.Listen, readyTimeout)
	}
	if js := srv.JetStreamConfig(); js == nil || !js.SyncAlways {
		e.Shutdown()
		return nil, errors.New("starting the bus server: JetStream does not sync every write")
	}
	return e, nil
}

func (cfg ServerConfig) options() (*server.Options, error) {
	host, portText, err := net.SplitHostPort(cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("parsing the address to listen on: %w", err)
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("parsing the port to listen on: %w", err)
	}
	mutual := cfg.TLS != nil && cfg.TLS.ClientAuth == tls.RequireAndVerifyClientCert
	if !mutual && (cfg.TLS != nil || !loopback(host)) {
		return nil, fmt.Errorf("listening on %q: %w", cfg.Listen, ErrPlain)
	}
	if cfg.Dir == "" || len(cfg.Users) == 0 || len(cfg.Users) > maxUsers {
		return nil, fmt.Errorf("folder %q and %d users: want a folder and 1 to %d users", cfg.Dir, len(cfg.Users), maxUsers)
	}
	opts := &server.Options{
		ServerName: "persoline", Host: host, Port: int(port), NoSigs: true, MaxConn: maxConnections, MaxPayload: maxPayloadBytes,
		JetStream: true, StoreDir: filepath.Join(cfg.Dir, "streams"), SyncAlways: true, DisableJetStreamBanner: true,
		JetStreamMaxStore: storeBytes, JetStreamMaxMemory: memoryStoreBytes,
		AuthTimeout: handshakeSeconds, TLSTimeout: handshakeSeconds, TLSConfig: cfg.TLS,
	}
	if port == 0 {
		opts.Port = server.RANDOM_PORT
	}
	for _, u := range cfg.Users {
		p, err := permissionsOf(u.Name)
		if err != nil {
			return nil, err
		}
		opts.Nkeys = append(opts.Nkeys, &server.NkeyUser{Nkey: u.Public, Permissions: p})
	}
	return opts, nil
}

// URL is what clients on this machine connect to.
func (e *Embedded) URL() string { return e.srv.ClientURL() }

// Ready reports whether the server takes connections.
func (e *Embedded) Ready() bool { return e.srv.Running() && e.srv.ReadyForConnections(time.Second) }

// Shutdown stops the server and waits until its files are closed.
func (e *Embedded) Shutdown() {
	e.srv.Shutdown()
	e.srv.WaitForShutdown()
}

// serverLog gives the server's own words to the program's log: what is worth a look as warnings, the rest as debug.
type serverLog struct{ log *slog.Logger }

func (l serverLog) Noticef(format string, v ...any) { l.debug(format, v) }
func (l serverLog) Debugf(format string, v ...any)  { l.debug(format, v) }
func (l serverLog) Tracef(format string, v ...any)  { l.debug(format, v) }
func (l serverLog) Warnf(format string, v ...any)   { l.warn(format, v) }
func (l serverLog) Errorf(format string, v ...any)  { l.warn(format, v) }
func (l serverLog) Fatalf(format string, v ...any)  { l.warn(format, v) }

func (l serverLog) debug(format string, v []any) {
	l.log.Debug("bus server reports", "step", fmt.Sprintf(format, v...))
}

func (l serverLog) warn(format string, v []any) {
	l.log.Warn("bus server warns", "err", fmt.Sprintf(format, v...))
}
