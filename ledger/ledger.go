package ledger

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/persoline/persoline/ledger/internal/schema"
	"github.com/persoline/persoline/ledger/internal/sqldb"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/order"
)

// Signer lets the log grow: it signs a new size and root after checking that they continue what it signed before.
type Signer interface {
	Checkpoint(ctx context.Context, q bus.CheckpointRequest) (bus.CheckpointReply, error)
}

// Vault serves acts of released lots.
type Vault interface {
	OpenLot(ctx context.Context, q bus.OpenLotRequest) (bus.OpenLotReply, error)
	Challenges(ctx context.Context, q bus.VaultChallengesRequest) (bus.VaultChallengesReply, error)
	Serve(ctx context.Context, q bus.ServeRequest) (bus.ServeReply, error)
}

// Catalogues are the office's own data: partners, products, and the folder of the products' scripts.
type Catalogues struct {
	Order     order.Catalogue
	Scripts   fs.FS
	CertBytes int // length of the value of CERT.ECASD.ECKA as the vault makes it
}

// Config is what a ledger needs.
type Config struct {
	DB sqldb.DB
	// Vault and Signer are the log vault: the only one of the site that signs checkpoints. It makes lots like any other.
	Vault  Vault
	Signer Signer
	// LogVault is its name, Others are the site's further vaults, Assigner gives lots to either. A site with one vault
	// needs none of them: every lot is that one's.
	LogVault   perso.Name
	Others     []OtherVault
	Assigner   Assigner
	Now        func() time.Time
	Rand       io.Reader // nonces that hide what is committed to
	Log        *slog.Logger
	Catalogues Catalogues
	// AtVault is how many batches of acts are at one vault at once: while it works on one, checkpoint and proofs of the next
	// are made, and answers to the last are committed. More make batches small: twice the checkpoints, syncs and messages.
	// 0 means defaultAtVault.
	AtVault int
}

// DB is a ledger's database; its conformance suite is ledger/ledgertest.
type DB = sqldb.DB

// Server says where a ledger's database server is.
type Server = sqldb.Server

// CreateSQLite makes the file of a new ledger and refuses an existing one; OpenSQLite opens one and refuses a missing one.
// OpenServer opens a database on a PostgreSQL or CockroachDB server, in which there may be no ledger yet.
var (
	CreateSQLite = sqldb.CreateSQLite
	OpenSQLite   = sqldb.OpenSQLite
	OpenServer   = sqldb.OpenServer
)

// Errors that callers act on.
var (
	// ErrNotFound says that the ledger knows no such thing.
	ErrNotFound = errors.New("not in the ledger")
	// ErrRefused says that a request was understood and may not be granted.
	ErrRefused = errors.New("refused")
	// ErrNotTheLedger says that the log vault signed another history than this database holds. It is an ErrRefused.
	ErrNotTheLedger = fmt.Errorf("%w: this database is a copy that fell behind or went another way, or was put back to an older state; run the ledger on the one in which it ran last", ErrRefused)
)

// Limits of waiting and trying.
const (
	// maxCommitTries bounds how often one batch is tried again because the head moved: more means another writer that
	// never pauses, which is an incident.
	maxCommitTries = 8
	// commitPatience bounds one group commit; the longest is a goods-in list of a whole wafer lot.
	commitPatience = 2 * time.Minute
	// servePatience bounds one batch at the vault: a checkpoint, and the acts twice with the opening of the lot between
	// them, each repeated for twenty seconds by the vault's client.
	servePatience = 100 * time.Second
	// maxServeTries bounds how often an act is served again because its certificate lost the compare-and-set.
	maxServeTries = 3
	// maxFailures is how many contacts of one chip may fail after writing began; a chip that breaks off more often is bad.
	maxFailures = 3
	// maxPlainTries is how many contacts a chip gets that was never claimed (bad contact on good chips is common).
	maxPlainTries = 3
	// sessionLease is how long an unfinished session keeps its chip from opening another one at another head.
	sessionLease = 60 * time.Second
	// holdFor tells a head when to ask again while every identity left is in work elsewhere.
	holdFor = 100 * time.Millisecond
	// frozenFor tells a head when to ask again while its lot or line is frozen: people's time, and not much load.
	frozenFor = 2 * time.Second
	// maxAnswerBytes bounds the answers of one act: a window of 80 read-backs, so that 32 acts fit one message to the vault.
	maxAnswerBytes = 20 << 10
	// maxStateBytes bounds what the line brings back of the vault's, which makes no more of it.
	maxStateBytes = 32 << 10
	// defaultAtVault keeps one vault busy.
	defaultAtVault = 3
	// maxLots bounds the lots kept in memory.
	maxLots = 256
)

// Ledger is the core. Make it with Open.
type Ledger struct {
	db       sqldb.DB
	doors    []*door // the log vault first
	signer   Signer
	assigner Assigner
	now      func() time.Time
	rand     io.Reader // under randMu
	log      *slog.Logger
	cat      Catalogues
	site     site

	commits combiner[Step]
	head    headState
	signed  signedState
	bodies  bodies

	kiTurn sync.Mutex // held while one is looked at

	randMu  sync.Mutex
	stampMu sync.Mutex
	last    time.Time

	lotMu sync.Mutex
	lots  map[perso.Name]*lot

	troubles troubles
	unerased atomic.Bool // something was deleted that may still stand in a file
}

// stamp gives the time of one transaction: it never goes back and never repeats, so that entries have one order.
func (l *Ledger) stamp() time.Time {
	l.stampMu.Lock()
	defer l.stampMu.Unlock()
	t := l.now().UTC().Truncate(time.Microsecond)
	if !t.After(l.last) {
		t = l.last.Add(time.Microsecond)
	}
	l.last = t
	return t
}

// Open opens an initialised ledger. The vault is not asked: a ledger opens while the vault is away.
func Open(ctx context.Context, c Config) (*Ledger, error) {
	l := &Ledger{db: c.DB, signer: c.Signer, assigner: c.Assigner, now: c.Now, rand: c.Rand, log: c.Log, cat: c.Catalogues, lots: map[perso.Name]*lot{},
		troubles: troubles{acts: map[perso.Session]*trouble{}}}
	l.unerased.Store(true) // by whoever had the database before, and was killed
	l.commits = combiner[Step]{max: bus.MaxBatch, flights: 1, patience: commitPatience, run: l.commitBatch}
	for _, v := range append([]OtherVault{{Name: c.LogVault, Vault: c.Vault}}, c.Others...) {
		d := &door{name: v.Name, vault: v.Vault, follower: v.Follower}
		d.deaf.Store(true) // who told it before, and what became of that, this process does not know
		d.serves = combiner[*act]{max: maxServeItems, flights: cmp.Or(c.AtVault, defaultAtVault), patience: servePatience,
			run: func(ctx context.Context, acts []*act) []error { return l.serveBatch(ctx, d, acts) }}
		l.doors = append(l.doors, d)
	}
	if len(c.Others) > 0 && (c.Assigner == nil || c.LogVault == "") {
		return nil, errors.New("opening ledger: several vaults, and no log vault that says which makes a lot")
	}
	if err := schema.Check(ctx, c.DB); err != nil {
		return nil, fmt.Errorf("opening ledger: %w", err)
	}
	if err := mayServe(ctx, c.DB); err != nil {
		return nil, fmt.Errorf("opening ledger: %w", err)
	}
	if err := l.reload(ctx, l.head.put); err != nil {
		return nil, fmt.Errorf("opening ledger: %w", err)
	}
	if err := l.loadSite(ctx); err != nil {
		return nil, fmt.Errorf("opening ledger: %w", err)
	}
	return l, nil
}

// Erase takes what was deleted out of the database's files, if there is anything: chips' answers that were kept for a
// verdict, and whatever else a step forgot for good. Commits wait meanwhile, so the caller bounds it by ctx, and comes again
// after an error.
func (l *Ledger) Erase(ctx context.Context) error {
	if !l.unerased.CompareAndSwap(true, false) {
		return nil
	}
	err := l.db.Erase(ctx)
	if err != nil {
		l.unerased.Store(true)
	}
	return err
}
