package keygen

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/persoline/persoline/hsm"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/checkpoint"
	"github.com/persoline/persoline/perso/statement"
)

// MaxClockSkew is how far the ledger's stamp of an act may be off the vault's own clock: wider than NTP trouble,
// narrower than anything that would matter in a certificate or a release.
const MaxClockSkew = 5 * time.Minute

// MaxOpenLots bounds the lots whose OP and challenge key are in memory. The lot opened longest ago gives way; the
// ledger opens it again when it is told that it is not open.
const MaxOpenLots = 32

// CAIDBytes is the length of the CA identifier (tag 42) in certificates: the maker's IIN, 8 digits in BCD.
const CAIDBytes = 4

// DefaultCertMargin is how much longer than a release the site's certificates must be valid: the time in which what was made
// is delivered, and a receiver who looks at it late still finds them valid.
const DefaultCertMargin = 30 * 24 * time.Hour

// Config is what a vault is made of.
type Config struct {
	Env  perso.Env
	Site perso.Name
	Name perso.Name // of this vault; each vault of a site has its own receipt chain
	// LogVault names the one vault of the site that signs its log; empty: this one.
	LogVault perso.Name
	// Origin names the log whose checkpoints it signs.
	Origin string
	Token  Token
	Keys   Keys

	Journal Journal
	Memory  Memory
	// Life keeps a state that was lost, put back or copied from being served with; *life.Life is it.
	Life Life
	OPs  OPStore
	// Words keeps what officers said of the site, as this vault heard it (words.go).
	Words Words
	// Shredder and Graves destroy lots' keys and remember it; nil in a vault that does not.
	Shredder Shredder
	Graves   Graves
	// KiSets keeps the prints of customers' Ki; of the vault that signs the log. Nil in one that takes no customer's Ki.
	KiSets KiSets
	// Assignments is the log vault's; nil in any other, and in one that never had another beside it. What was given away binds
	// it for ever, also when it is the only vault again.
	Assignments Assignments
	// Sole says that the site has no other vault now: this one assigns no lots, and makes each that it gave to no other.
	Sole bool

	// RegisterPin is the hash of the officer register's genesis, written down in the ceremony. Zero is refused.
	RegisterPin [32]byte
	// EUMCert and EISCert are DER, of Keys.EUM and Keys.EIS. A vault that makes no eUICC has neither, nor their keys.
	EUMCert    []byte
	EISCert    []byte
	CertMargin time.Duration // both must outlive a release of eUICCs by this; 0 means DefaultCertMargin
	CAID       [CAIDBytes]byte

	ActsPerSecond int // of one lot; 0 means DefaultActsPerSecond

	// Side runs do for 0 to n-1, as many side by side as the token has sessions for, and returns when all are done; nil: one
	// after the other.
	Side func(n int, do func(i int))

	Now func() time.Time
	Log *slog.Logger
}

// Life says whether this process is the vault, and the only one (package life). Present is asked before each answer, and costs
// nothing most of the time; Look asks the HSM. Turn makes what Memory holds by now safe from being put back to what was before.
// Birth tells the vault from one of its name whose state was made anew. Hear is Turn, and notes how much the vault heard of officers;
// Heard is what was noted last.
type Life interface {
	Present(ctx context.Context) error
	Look(ctx context.Context) error
	Turn(ctx context.Context) error
	Birth() [16]byte
	Hear(ctx context.Context, w statement.Words) error
	Heard() statement.Words
}

// Vault serves the bus messages of the vault. Make it with New; it is safe for concurrent use: requests on different lots
// run side by side, those on one lot one after the other, because its receipts form one chain.
type Vault struct {
	cfg     Config
	log     ed25519.PublicKey
	stmt    ed25519.PublicKey
	eum     *ecdsa.PublicKey
	eumSKI  [skiBytes]byte
	certs   certificates
	signing sync.Mutex // one checkpoint at a time
	opening sync.Mutex // one lot at a time; taken before the mutex of a lot, that before mu
	// intaking is for one file of Ki at a time; taken before opening.
	intaking sync.Mutex
	intake   *kiIntake // under intaking; nil while none is under way

	hearing sync.Mutex          // one batch of words at a time
	told    map[[32]byte]uint64 // which word each statement was that was heard; under hearing
	// answering is held by each batch that answers, to read, from its look at what is frozen until its receipts are durable; and by
	// who hears a word, while that becomes what binds. Taken after the mutex of a lot, before mu.
	answering sync.RWMutex

	mu       sync.Mutex
	standing standing
	memory   Recollection // what Config.Memory holds
	// assigned is what Config.Assignments holds
	assigned map[perso.Name]Assignment
	lots     map[perso.Name]*lot
	order    []perso.Name // open lots, longest open first
	remain   *lot         // the destroyed lot whose receipts were asked for last; under opening
	notes    [heldNotes]heldNote
	noted    int // notes that were ever held
}

// heldNotes are the checkpoints that were signed or verified last: batches in flight come against the newest few.
const heldNotes = 4

type heldNote struct {
	note []byte
	cp   checkpoint.Checkpoint
}

// New checks that the parts belong together: the certificates to the keys, the memory to this vault.
func New(ctx context.Context, cfg Config) (*Vault, error) {
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("configuring vault %q: %w", cfg.Name, err)
	}
	v := &Vault{cfg: cfg, lots: map[perso.Name]*lot{}}
	var err error
	if v.log, err = v.ed25519Key(ctx, cfg.Keys.Log); err != nil {
		return nil, err
	}
	if v.stmt, err = v.ed25519Key(ctx, cfg.Keys.Statement); err != nil {
		return nil, err
	}
	if cfg.certifies() {
		if v.eum, v.eumSKI, err = v.ownCertificate(ctx, cfg.Keys.EUM, cfg.EUMCert); err != nil {
			return nil, err
		}
		if _, _, err = v.ownCertificate(ctx, cfg.Keys.EIS, cfg.EISCert); err != nil {
			return nil, err
		}
	}
	if v.memory, err = cfg.Memory.Recall(); err != nil {
		return nil, fmt.Errorf("recalling what vault %q signed: %w", cfg.Name, err)
	}
	if v.memory.Lots == nil {
		v.memory.Lots = map[perso.Name]Issued{}
	}
	if err = v.recallWords(); err != nil {
		return nil, err
	}
	if cfg.Assignments != nil {
		if v.assigned, err = cfg.Assignments.Assigned(); err != nil {
			return nil, fmt.Errorf("recalling what vault %q assigned: %w", cfg.Name, err)
		}
	}
	return v, nil
}

// certifies says whether the vault makes eUICCs: it has both certificates, or neither.
func (c Config) certifies() bool { return len(c.EUMCert) > 0 || len(c.EISCert) > 0 }

func (c Config) check() error {
	if _, err := perso.ParseEnv(string(c.Env)); err != nil {
		return err
	}
	for _, n := range []perso.Name{c.Site, c.Name} {
		if _, err := perso.ParseName(string(n)); err != nil {
			return err
		}
	}
	switch {
	case c.Origin == "" || c.Token == nil || c.Journal == nil || c.Memory == nil || c.Life == nil || c.OPs == nil || c.Words == nil || c.Now == nil || c.Log == nil:
		return errors.New("a part is missing")
	case c.RegisterPin == [32]byte{}:
		return errors.New("no officer register is pinned")
	case c.LogVault != "" && c.LogVault != c.Name && c.Assignments != nil:
		return fmt.Errorf("vault %q signs the log, so this one assigns no lots", c.LogVault)
	case c.LogVault != "" && c.LogVault != c.Name && c.Sole:
		return fmt.Errorf("vault %q signs the log, so this one is not the only vault", c.LogVault)
	case c.CertMargin < 0:
		return fmt.Errorf("certificate margin %v is negative", c.CertMargin)
	}
	keys := []hsm.Key{c.Keys.Log, c.Keys.Statement, c.Keys.Receipt, c.Keys.Seal}
	if c.certifies() {
		keys = append(keys, c.Keys.EUM, c.Keys.EIS)
	}
	for _, k := range keys {
		if k.Env() != string(c.Env) {
			return fmt.Errorf("key %q is not of environment %q", k, c.Env)
		}
	}
	return nil
}

func (v *Vault) ed25519Key(ctx context.Context, k hsm.Key) (ed25519.PublicKey, error) {
	pub, err := v.cfg.Token.Public(ctx, k)
	if err != nil {
		return nil, fmt.Errorf("reading public key: %w", err)
	}
	key, ok := pub.(ed25519.PublicKey)
	if !ok {
		return nil, fmt.Errorf("key %q is no Ed25519 key: the token cannot sign checkpoints", k)
	}
	return key, nil
}

// ownCertificate checks that a certificate is of a key in the token, and gives the key and its identifier.
func (v *Vault) ownCertificate(ctx context.Context, k hsm.Key, der []byte) (own *ecdsa.PublicKey, ski [skiBytes]byte, err error) {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, ski, fmt.Errorf("parsing certificate of %q: %w", k, err)
	}
	pub, err := v.cfg.Token.Public(ctx, k)
	if err != nil {
		return nil, ski, fmt.Errorf("reading public key: %w", err)
	}
	own, ok := pub.(*ecdsa.PublicKey)
	if !ok || !own.Equal(cert.PublicKey) {
		return nil, ski, fmt.Errorf("certificate is not of key %q", k)
	}
	if len(cert.SubjectKeyId) != skiBytes {
		return nil, ski, fmt.Errorf("certificate of %q has a key identifier of %d bytes, not %d", k, len(cert.SubjectKeyId), skiBytes)
	}
	return own, [skiBytes]byte(cert.SubjectKeyId), nil
}

// Info says who the vault is.
func (v *Vault) Info(context.Context, bus.Empty) (bus.VaultInfoReply, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return bus.VaultInfoReply{
		Env: v.cfg.Env, Vault: v.cfg.Name, Origin: v.cfg.Origin, LogKey: v.log, StmtKey: v.stmt,
		EUMCert: v.cfg.EUMCert, EISCert: v.cfg.EISCert, Register: v.cfg.RegisterPin,
		LogSize: v.memory.Size, LogRoot: v.memory.Root,
	}, nil
}
