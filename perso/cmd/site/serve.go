package site

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"crypto/rand"

	"github.com/persoline/persoline/keygen"
	"github.com/persoline/persoline/ledger"
	"github.com/persoline/persoline/ledger/service"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/bus/natsbus"
	"github.com/persoline/persoline/perso/order"
	"github.com/persoline/persoline/perso/product"
	"github.com/persoline/persoline/perso/profile"
)

// Zones in the order in which they are started.
const (
	ZoneBus    = "bus"
	ZoneVault  = "vault"
	ZoneLedger = "ledger"
	ZoneFarm   = "farm"
	ZoneLine   = "line"
)

// lineNames lists the lines.
func (s *Site) lineNames() []perso.Name {
	var names []perso.Name
	for _, l := range s.Config.Lines {
		names = append(names, l.Name)
	}
	return names
}

// ServeBus runs the embedded bus server until the context ends.
func (s *Site) ServeBus(ctx context.Context, log *slog.Logger) error {
	users, err := natsbus.GenerateUsers(s.busDir(), s.lineNames())
	if err != nil {
		return err
	}
	srv, err := natsbus.StartServer(natsbus.ServerConfig{Dir: s.busDir(), Listen: s.Config.Listen, Users: users, Log: log})
	if err != nil {
		return err
	}
	<-ctx.Done()
	srv.Shutdown()
	return nil
}

// connect joins the bus as a user, for as long as it takes: zones may start in any order.
func (s *Site) connect(ctx context.Context, user string, line perso.Name, log *slog.Logger) (*natsbus.Conn, error) {
	c, err := natsbus.Connect(ctx, natsbus.Config{URL: s.url(), NKeySeedFile: natsbus.SeedFile(s.busDir(), user), Name: user, Line: line, Log: log})
	if err != nil {
		return nil, fmt.Errorf("joining the bus as %q: %w", user, err)
	}
	return c, nil
}

// OrderCatalogue is what this site can make, and for whom.
func (s *Site) OrderCatalogue() (order.Catalogue, error) { return OrderCatalogue(s.path("catalogue")) }

// OrderCatalogue loads products and partners of a folder that is no site's yet.
func OrderCatalogue(dir string) (order.Catalogue, error) {
	c, err := catalogues(dir)
	return c.Order, err
}

// ErrCatalogue says that a folder is no catalogue.
var ErrCatalogue = errors.New("a catalogue holds the folders products and partners")

// catalogues loads products and partners.
func catalogues(dir string) (ledger.Catalogues, error) {
	for _, d := range []string{catalogueProducts, cataloguePartners} {
		if _, err := os.ReadDir(filepath.Join(dir, d)); err != nil { // fs.FS would not name the folder
			return ledger.Catalogues{}, fmt.Errorf("%w: %w", ErrCatalogue, err)
		}
	}
	scripts := os.DirFS(filepath.Join(dir, catalogueProducts))
	products, err := product.LoadDir(scripts)
	if err != nil {
		return ledger.Catalogues{}, err
	}
	partners, err := order.LoadSite(os.DirFS(filepath.Join(dir, cataloguePartners)))
	if err != nil {
		return ledger.Catalogues{}, err
	}
	profiles := profile.Open(os.DirFS(filepath.Join(dir, catalogueProfiles)))
	return ledger.Catalogues{Order: order.Catalogue{Products: products, Site: partners, Profiles: profiles}, Scripts: scripts, CertBytes: keygen.CertValueBytes}, nil
}

// ServeLedger runs the ledger until the context ends. A database that says its state is unknown ends it too: starting
// again is the recovery.
func (s *Site) ServeLedger(ctx context.Context, log *slog.Logger) (err error) {
	cats, err := catalogues(s.path("catalogue"))
	if err != nil {
		return err
	}
	db, err := s.OpenDatabase(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	conn, err := s.connect(ctx, natsbus.UserLedger, "", log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	seat, err := s.sitAsLedger(ctx, conn, db)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, seat.Leave()) }()
	ctx, unseat := context.WithCancelCause(ctx)
	defer func() { err = errors.Join(err, whyEnded(ctx, unseat)) }()
	go unseatWith(ctx, seat, unseat)
	if err := conn.EnsureStreams(ctx, s.lineNames()...); err != nil {
		return err
	}
	logVault := service.Vault{Bus: conn, Name: s.logVault()}
	c := ledger.Config{DB: db, Vault: logVault, Signer: logVault, LogVault: logVault.Name, Assigner: logVault, Now: time.Now, Rand: rand.Reader, Log: log, Catalogues: cats}
	for _, name := range s.VaultNames()[1:] {
		v := service.Vault{Bus: conn, Name: name}
		c.Others = append(c.Others, ledger.OtherVault{Name: name, Vault: v, Follower: v})
	}
	l, err := ledger.Open(ctx, c)
	if err != nil {
		return err
	}
	go mustContinue(ctx, l, unseat)
	vaults := service.Vaults{Log: logVault, Of: l.VaultOf}
	return service.Run(ctx, service.Config{Ledger: l, Bus: conn, Exporter: s.exporter(l, db, vaults, cats), Lines: s.lineNames(), Vaults: s.VaultNames(), Log: log})
}

// sitAsLedger takes the ledger's seat on the bus. A file has one process; those of one server's database know one another by it.
func (s *Site) sitAsLedger(ctx context.Context, conn *natsbus.Conn, db ledger.DB) (*natsbus.Seat, error) {
	if s.Config.Database == nil {
		return conn.Sit(ctx, bus.HereLedger, nil)
	}
	var instance [16]byte
	if _, err := io.ReadFull(rand.Reader, instance[:]); err != nil {
		return nil, err
	}
	if err := ledger.Register(ctx, db, instance, time.Now()); err != nil {
		return nil, err
	}
	return conn.SitAs(ctx, bus.HereLedger, instance, func(ctx context.Context, other [16]byte) (bool, error) {
		return ledger.Registered(ctx, db, other)
	})
}

// unseatWith ends the context when the seat is lost.
func unseatWith(ctx context.Context, seat *natsbus.Seat, end context.CancelCauseFunc) {
	select {
	case <-seat.Lost():
		end(seat.Err())
	case <-ctx.Done():
	}
}

// mustContinue ends a ledger that does not continue the log which the log vault signed, before anybody reads from it what is not
// true any more. While the vault is away nobody can tell; then it is found at the first entry.
func mustContinue(ctx context.Context, l *ledger.Ledger, end context.CancelCauseFunc) {
	if _, _, err := l.Signed(ctx); errors.Is(err, ledger.ErrNotTheLedger) {
		end(err)
	}
}

// whyEnded gives the context's resources back, and says what ended it, but for a parent that ended.
func whyEnded(ctx context.Context, end context.CancelCauseFunc) error {
	end(context.Canceled)
	if why := context.Cause(ctx); !errors.Is(why, context.Canceled) {
		return why
	}
	return nil
}
