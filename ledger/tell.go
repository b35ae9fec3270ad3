package ledger

import (
	"context"
	"fmt"
	"slices"

	"github.com/persoline/persoline/ledger/internal/sqldb"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/statement"
)

// Hearer is a vault that heeds what officers say of the whole site: it knows for itself who may sign and what is frozen. A Vault that is
// none is told nothing.
type Hearer interface {
	Heed(ctx context.Context, q bus.HeedRequest) (bus.HeedReply, error)
}

// maxTells bounds how often a vault is told: the first time tells how much it knows, each other time it hears a batch more.
const maxTells = 1000

// siteWords is what every vault is told, in the order of the log: the officer register, whose genesis comes before all, and what was
// frozen and let go on. A freeze from before its place was noted (ord 0) is the ledger's alone.
func siteWords(ctx context.Context, tx sqldb.Tx) (words, register [][]byte, err error) {
	chain, err := registerChain(ctx, tx)
	if err != nil {
		return nil, nil, err
	}
	type placed struct {
		seq  int64
		word []byte
	}
	var all []placed
	if err := tx.Each(ctx, func(row sqldb.Row) error {
		var p placed
		err := row.Scan(&p.seq, &p.word)
		all = append(all, p)
		return err
	}, sqlSiteFreezes, reviewsRow); err != nil {
		return nil, nil, fmt.Errorf("reading what officers froze: %w", err)
	}
	at := map[[32]byte]int64{}
	if len(chain) > 1 && len(all) > 0 {
		if at, err = siteStatements(ctx, tx); err != nil {
			return nil, nil, err
		}
	}
	var after int64 // a change that is not in the log on its own is the site's own beginning
	for _, s := range chain {
		if seq, ok := at[s.Hash()]; ok {
			after = seq
		}
		for len(all) > 0 && all[0].seq < after {
			words, all = append(words, all[0].word), all[1:]
		}
		words, register = append(words, s.Encode()), append(register, s.Encode())
	}
	for _, p := range all {
		words = append(words, p.word)
	}
	return words, register, nil
}

// siteStatements is where the log has the statements about the site.
func siteStatements(ctx context.Context, tx sqldb.Tx) (at map[[32]byte]int64, err error) {
	at = map[[32]byte]int64{}
	err = tx.Each(ctx, func(row sqldb.Row) error {
		var seq int64
		var body []byte
		if err := row.Scan(&seq, &body); err != nil {
			return err
		}
		e, err := entry.ParseStatement(body)
		if err == nil {
			at[e.Hash] = seq
		}
		return err
	}, sqlEntriesAbout, siteSubject(), entry.KindStatement)
	if err != nil {
		return nil, fmt.Errorf("reading the log's statements about the site: %w", err)
	}
	return at, nil
}

// tell tells a vault what officers said that it does not know, and gives the officer register up to there: a vault is shown no register
// from which it could not tell who signed what it is told later.
func (l *Ledger) tell(ctx context.Context, d *door) (register [][]byte, err error) {
	var words [][]byte
	if err := l.db.View(ctx, func(tx sqldb.Tx) (err error) {
		words, register, err = siteWords(ctx, tx)
		return err
	}); err != nil {
		return nil, err
	}
	vault, ok := d.vault.(Hearer)
	if !ok {
		return register, nil
	}
	d.telling.Lock()
	defer d.telling.Unlock()
	for range maxTells {
		known := min(d.told, uint64(len(words)))
		part := words[known:]
		a, err := vault.Heed(ctx, bus.HeedRequest{Known: known, Words: part[:min(len(part), bus.MaxBatch)]})
		if err := d.heard(l.now(), err); err != nil {
			d.deaf.Store(true)
			return nil, fmt.Errorf("telling vault %q what officers said: %w", d.name, err)
		}
		d.told = a.Known
		if a.Known >= uint64(len(words)) { // more, when another process told it what came since
			d.deaf.Store(false)
			return register, nil
		}
	}
	return nil, fmt.Errorf("%w: vault %q does not take in what officers said", ErrRefused, d.name)
}

// tellAll tells every vault at once what was said just now, and gives those that did not hear it: they are told before they serve or
// open anything.
func (l *Ledger) tellAll(ctx context.Context) (untold []perso.Name) {
	for _, d := range l.doors {
		patience, cancel := context.WithTimeout(ctx, knockPatience)
		_, err := l.tell(patience, d)
		cancel()
		if err != nil {
			d.deaf.Store(true)
			l.log.WarnContext(ctx, "vault not told what officers said", "vault", d.name, "err", err)
			untold = append(untold, d.name)
		}
	}
	slices.Sort(untold)
	return untold
}

// forVaults says whether a vault is told of a statement.
func forVaults(kind string) bool {
	return slices.Contains([]string{statement.KindFreeze, statement.KindUnfreeze, statement.KindAdd, statement.KindRevoke}, kind)
}
