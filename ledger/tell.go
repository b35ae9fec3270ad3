package ledger

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"

	"github.com/persoline/persoline/ledger/internal/sqldb"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/record"
	"github.com/persoline/persoline/perso/statement"
)

// Hearer is a vault that heeds what officers say of the whole site: it knows for itself who may sign and what is frozen. A Vault that is
// none is told nothing.
type Hearer interface {
	Heed(ctx context.Context, q bus.HeedRequest) (bus.HeedReply, error)
}

// maxTells bounds how often a vault is told: the first time tells how much it knows, each other time it hears a batch more.
const maxTells = 1000

// maxTellBytes bounds the words of a batch: a message, less what it is wrapped in, of which each word takes 5 bytes. One word always fits
// (statement.MaxSignedBytes).
const maxTellBytes = bus.MaxMessageBytes - 8<<10

// errApart says that a vault heard other words than the log has.
var errApart = fmt.Errorf("%w: the vault and this ledger do not agree what officers said", ErrRefused)

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
// from which it could not tell who signed what it is told later. A vault that heard other words than the log has is told nothing more:
// that is an error, and somebody has to see to it.
func (l *Ledger) tell(ctx context.Context, d *door) (register [][]byte, err error) {
	d.telling.Lock()
	defer d.telling.Unlock()
	vault, ok := d.vault.(Hearer)
	for range maxTells {
		var words [][]byte
		if err := l.db.View(ctx, func(tx sqldb.Tx) (err error) {
			words, register, err = siteWords(ctx, tx)
			return err
		}); err != nil {
			return nil, err
		}
		if !ok {
			d.deaf.Store(false)
			return register, nil
		}
		done, err := l.tellMore(ctx, d, vault, words)
		if err != nil {
			d.deaf.Store(true)
			return nil, fmt.Errorf("telling vault %q what officers said: %w", d.name, err)
		}
		if done {
			d.deaf.Store(false)
			return register, nil
		}
	}
	return nil, fmt.Errorf("%w: vault %q does not take in what officers said", ErrRefused, d.name)
}

// tellMore asks a vault how much it knows, or tells it a batch. It knows all of words when it is done. d.telling is held.
func (l *Ledger) tellMore(ctx context.Context, d *door, vault Hearer, words [][]byte) (done bool, err error) {
	rows, err := rowsOf(words)
	if err != nil {
		return false, err
	}
	all := uint64(len(words))
	known := min(d.told, all)
	a, err := vault.Heed(ctx, bus.HeedRequest{Known: known, Words: oneMessage(words[known:]), Chain: rows[known].Chain})
	if err := d.heard(l.now(), err); err != nil {
		return false, err
	}
	// It may know more than we read, when another process told it what came since. But no vault is told what the log does not have: so
	// what it said that it knows, before we read, we must have read.
	beyond := d.told > all && a.Known > all
	d.told = a.Known
	switch {
	case a.Taken:
		return a.Known == all, nil
	case a.Known < known:
		return false, nil
	case !a.Same || beyond:
		return false, outOfStep(ctx, vault, words, rows, known)
	}
	return false, nil
}

// oneMessage is as many of the words as a message takes.
func oneMessage(words [][]byte) [][]byte {
	n, room := 0, maxTellBytes
	for n < min(len(words), bus.MaxBatch) {
		if room -= len(words[n]); room < 0 {
			break
		}
		n++
	}
	return words[:n]
}

// rowsOf names the first 0, 1, 2... of the words.
func rowsOf(words [][]byte) (rows []statement.Words, err error) {
	rows = make([]statement.Words, 1, len(words)+1)
	for i, w := range words {
		s, err := statement.DecodeSigned(w)
		if err != nil {
			return nil, fmt.Errorf("reading word %d of the officers: %w", i, err)
		}
		rows = append(rows, rows[i].And(s.Hash()))
	}
	return rows, nil
}

// outOfStep says which is the first word that a vault heard otherwise than the log has it: it is among the first differ words, or right
// after them.
func outOfStep(ctx context.Context, vault Hearer, words [][]byte, rows []statement.Words, differ uint64) error {
	var asked error
	same := func(n uint64) bool {
		a, err := vault.Heed(ctx, bus.HeedRequest{Known: n, Chain: rows[n].Chain})
		asked = cmp.Or(asked, err)
		return a.Same
	}
	// The longest row that both have: none has always the same words.
	first := uint64(sort.Search(int(differ), func(i int) bool { return !same(uint64(i) + 1) }))
	a, err := vault.Heed(ctx, bus.HeedRequest{Known: first, Chain: rows[first].Chain})
	if err := cmp.Or(asked, err); err != nil {
		return fmt.Errorf("finding the word in which it differs: %w", err)
	}
	if first == uint64(len(words)) {
		return fmt.Errorf("%w: the vault heard statement %x as word %d, which this ledger has not: the ledger was put back without it; hand it in again as it was signed, before any other statement about the site, or put back the ledger that has it (ledger/RESTORE.md)",
			errApart, a.Next, first)
	}
	s, err := statement.DecodeSigned(words[first])
	if err != nil {
		return err
	}
	kind, err := record.Kind(s.Body)
	if err != nil {
		return err
	}
	return fmt.Errorf("%w: word %d of the officers is %s %x here, and statement %x there: the vault hears nothing more from this ledger; put back the ledger that has what it heard (ledger/RESTORE.md), or give up this vault (keygen/life/LIFE.md)",
		errApart, first, kind, s.Hash(), a.Next)
}

// tellAll tells every vault at once what was said just now, and gives those that did not hear it: they are told before they serve or
// open anything.
func (l *Ledger) tellAll(ctx context.Context) (untold []perso.Name, apart []bus.VaultApart) {
	for _, d := range l.doors {
		patience, cancel := context.WithTimeout(ctx, knockPatience)
		_, err := l.tell(patience, d)
		cancel()
		if err != nil {
			d.deaf.Store(true)
			l.log.WarnContext(ctx, "vault not told what officers said", "vault", d.name, "err", err)
			untold = append(untold, d.name)
		}
		if errors.Is(err, errApart) {
			apart = append(apart, bus.VaultApart{Vault: d.name, Why: err.Error()})
		}
	}
	slices.Sort(untold)
	return untold, apart
}

// forVaults says whether a vault is told of a statement.
func forVaults(kind string) bool {
	return slices.Contains([]string{statement.KindFreeze, statement.KindUnfreeze, statement.KindShort, statement.KindAdd, statement.KindRevoke}, kind)
}
