package ledger

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/persoline/persoline/ledger/internal/schema"
	"github.com/persoline/persoline/ledger/internal/sqldb"
	"github.com/persoline/persoline/ledger/internal/tree"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/record"
	"github.com/persoline/persoline/perso/statement"
)

// site is what the log's first entry says, and never changes.
type site struct {
	env      perso.Env
	name     perso.Name
	origin   string
	register [32]byte
	logKey   []byte
	stmtKey  []byte // of the vault's statements
}

// Init makes a ledger in an empty database: schema, entry 0, officer register. It is an explicit act, once per site.
func Init(ctx context.Context, db sqldb.DB, g entry.Genesis, register []statement.Signed) error {
	if _, err := statement.NewRegister(g.Register, register); err != nil {
		return fmt.Errorf("making a ledger: %w", err)
	}
	// Tables without an entry are a ledger whose making was interrupted: it goes on below.
	if err := schema.Init(ctx, db); err != nil && !errors.Is(err, schema.ErrExists) {
		return fmt.Errorf("making a ledger: %w", err)
	}
	err := db.Update(ctx, func(tx sqldb.Tx) error {
		t, err := tree.Open(ctx, tx)
		if err != nil {
			return err
		}
		if t.Size() != 0 {
			return fmt.Errorf("%w: the database holds a ledger of %d entries", ErrRefused, t.Size())
		}
		body, err := g.Encode()
		if err != nil {
			return err
		}
		items := []tree.Item{{Kind: entry.KindGenesis, Subject: siteSubject(), Body: body}}
		for i, s := range register {
			hash := s.Hash()
			kind, err := record.Kind(s.Body)
			if err != nil {
				return err
			}
			if _, err := tx.Exec(ctx, sqlAddStatement, hash[:], kind, int64(i), registerLot, s.Encode()); err != nil {
				return err
			}
			e, err := entry.Statement{What: kind, Hash: hash, At: g.At}.Encode()
			if err != nil {
				return err
			}
			items = append(items, tree.Item{Kind: entry.KindStatement, Subject: siteSubject(), Body: e})
		}
		_, _, err = t.Append(ctx, tx, items)
		return err
	})
	if err != nil {
		return fmt.Errorf("making a ledger: %w", err)
	}
	return nil
}

// loadSite reads entry 0, and the stamp from which time goes on.
func (l *Ledger) loadSite(ctx context.Context) error {
	return l.db.View(ctx, func(tx sqldb.Tx) error {
		kind, body, err := readEntry(ctx, tx, 0)
		if err != nil {
			return err
		}
		if kind != entry.KindGenesis {
			return fmt.Errorf("entry 0 is of kind %q: %w", kind, ErrRefused)
		}
		g, err := entry.ParseGenesis(body)
		if err != nil {
			return err
		}
		l.cat.Order.SIMsOnly = g.EUMCert == sha256.Sum256(nil) // the certificate of a site that has none
		l.site = site{env: g.Env, name: g.Site, origin: g.Origin, register: g.Register, logKey: g.LogKey, stmtKey: g.StmtKey}
		if err := tx.QueryRow(ctx, sqlSignedSize).Scan(&l.signed.stored); err != nil {
			return fmt.Errorf("reading how far the log was signed: %w", err)
		}
		return nil
	})
}

// stampAfter reads the time of the newest entry, so that stamps go on after it even when the host's clock was set back, or is
// behind that of another process's host.
func (l *Ledger) stampAfter(ctx context.Context, tx sqldb.Tx, newest int64) error {
	_, body, err := readEntry(ctx, tx, newest)
	if err != nil {
		return err
	}
	at, err := entry.TimeOf(body)
	if errors.Is(err, entry.ErrNoTime) {
		return nil
	} else if err != nil {
		return err
	}
	l.stampMu.Lock()
	defer l.stampMu.Unlock()
	if at.After(l.last) {
		l.last = at
	}
	return nil
}
