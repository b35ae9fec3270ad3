// Package entry is the vocabulary of the log: what the ledger writes for each change, what the vault proves a claim
// against, what the line checks a verdict with, what the auditor replays.
//
// Each kind is a struct with Encode and a Parse function; the encoding is a canonical record, hashed as stored. Personal
// and commercial data are not in entries: subscription identities follow from the unit index and the release, and the
// release and the order enter as hashes of texts that hold a 32-byte nonce, so an opening can be deleted while the tree
// stays valid. Any zone may use it. Format: ledger/FORMAT.md.
package entry

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/record"
)

// Kinds of log entries.
const (
	KindGenesis     = "log-genesis"
	KindOrder       = "order"
	KindRefused     = "order-refused"
	KindStatement   = "statement"
	KindStock       = "stock"
	KindClaim       = "claim"
	KindAct         = "act"
	KindCertificate = "certificate"
	KindOutcome     = "outcome"
	KindPresent     = "presentation"
	KindBin         = "bin"
	KindCount       = "count"
	KindExport      = "export"
	KindAlarm       = "alarm"
)

// Genesis is entry 0 of every log: which site, environment, register and keys it belongs to.
type Genesis struct {
	Env      perso.Env
	Site     perso.Name
	Origin   string
	At       time.Time
	Register [32]byte // hash of the officer register's genesis
	LogKey   []byte   // Ed25519 public key
	StmtKey  []byte   // Ed25519 public key of vault statements (receipt heads, bundle seals)
	EUMCert  [32]byte // SHA-256 of CERT.EUM DER (signs CERT.ECASD.ECKA)
	EISCert  [32]byte // SHA-256 of the EUM's EIS signing certificate
}

// Encode gives the canonical bytes.
func (e Genesis) Encode() ([]byte, error) {
	return record.New(KindGenesis).Str("env", string(e.Env)).Str("site", string(e.Site)).Str("origin", e.Origin).Time("at", e.At).
		Hex("register", e.Register[:]).Hex("log_key", e.LogKey).Hex("statement_key", e.StmtKey).Hex("eum_cert", e.EUMCert[:]).Hex("eis_cert", e.EISCert[:]).Bytes()
}

// ParseGenesis reads a genesis entry.
func ParseGenesis(b []byte) (Genesis, error) {
	r, err := record.Parse(b, KindGenesis)
	if err != nil {
		return Genesis{}, parsing(KindGenesis, err)
	}
	var e Genesis
	e.Env, err = perso.ParseEnv(r.Raw("env"))
	r.Check(err)
	e.Site = r.Name("site")
	e.Origin, e.At, e.Register, e.LogKey, e.StmtKey = r.Raw("origin"), r.Time("at"), r.Hash("register"), r.Hex("log_key"), r.Hex("statement_key")
	e.EUMCert, e.EISCert = r.Hash("eum_cert"), r.Hash("eis_cert")
	return e, done(r, KindGenesis)
}

// Order says that an order was accepted. Commit = SHA-256(nonce ‖ canonical order), the opening stays outside the log.
type Order struct {
	Commit [32]byte
	Good   uint64
	Spares uint64
	At     time.Time
}

// Encode gives the canonical bytes.
func (e Order) Encode() ([]byte, error) {
	return record.New(KindOrder).Hex("commit", e.Commit[:]).Uint("good", e.Good).Uint("spares", e.Spares).Time("at", e.At).Bytes()
}

// ParseOrder reads an order entry.
func ParseOrder(b []byte) (Order, error) {
	r, err := record.Parse(b, KindOrder)
	if err != nil {
		return Order{}, parsing(KindOrder, err)
	}
	e := Order{Commit: r.Hash("commit"), Good: r.Uint("good", 32), Spares: r.Uint("spares", 32), At: r.Time("at")}
	return e, done(r, KindOrder)
}

// MaxRefusedFaults bounds the faults named in one refusal; the count is kept in full.
const MaxRefusedFaults = 32

// Refused says that an order file was refused and why. File is the SHA-256 of the bytes as received.
type Refused struct {
	File   [32]byte
	Size   uint64
	Count  uint64
	Faults []string // field and rule, never a value
	At     time.Time
}

// Encode gives the canonical bytes.
func (e Refused) Encode() ([]byte, error) {
	w := record.New(KindRefused).Hex("file", e.File[:]).Uint("size", e.Size).Uint("faults", e.Count).Time("at", e.At)
	for i, f := range e.Faults {
		if i == MaxRefusedFaults {
			break
		}
		w.Str("fault", f)
	}
	return w.Bytes()
}

// ParseRefused reads a refusal.
func ParseRefused(b []byte) (Refused, error) {
	r, err := record.Parse(b, KindRefused)
	if err != nil {
		return Refused{}, parsing(KindRefused, err)
	}
	e := Refused{File: r.Hash("file"), Size: r.Uint("size", 63), Count: r.Uint("faults", 32), At: r.Time("at")}
	for r.More() && len(e.Faults) < MaxRefusedFaults {
		e.Faults = append(e.Faults, r.Raw("fault"))
	}
	return e, done(r, KindRefused)
}

// Statement says that officers' signed words were accepted; What is the statement's kind, Hash its body's SHA-256.
type Statement struct {
	What string
	Hash [32]byte
	Lot  perso.Name // empty when it concerns no lot
	At   time.Time
}

// Encode gives the canonical bytes.
func (e Statement) Encode() ([]byte, error) {
	return record.New(KindStatement).Str("what", e.What).Hex("hash", e.Hash[:]).Str("lot", string(e.Lot)).Time("at", e.At).Bytes()
}

// ParseStatement reads a statement entry.
func ParseStatement(b []byte) (Statement, error) {
	r, err := record.Parse(b, KindStatement)
	if err != nil {
		return Statement{}, parsing(KindStatement, err)
	}
	e := Statement{What: r.Raw("what"), Hash: r.Hash("hash")}
	e.Lot = r.OptName("lot")
	e.At = r.Time("at")
	return e, done(r, KindStatement)
}

// Kinds lists every kind of entry that a log has.
func Kinds() []string {
	return []string{KindGenesis, KindOrder, KindRefused, KindStatement, KindStock, KindBooking, KindClaim, KindAct, KindCertificate, KindOutcome,
		KindPresent, KindBin, KindCount, KindExport, KindForbidden, KindAlarm}
}

// Stock says that a goods-in list of chips was received: File is its SHA-256, Chips its count.
type Stock struct {
	Reel  perso.Name
	File  [32]byte
	Chips uint64
	At    time.Time
}

// Encode gives the canonical bytes.
func (e Stock) Encode() ([]byte, error) {
	return record.New(KindStock).Str("reel", string(e.Reel)).Hex("file", e.File[:]).Uint("chips", e.Chips).Time("at", e.At).Bytes()
}

// ParseStock reads a stock entry.
func ParseStock(b []byte) (Stock, error) {
	r, err := record.Parse(b, KindStock)
	if err != nil {
		return Stock{}, parsing(KindStock, err)
	}
	var e Stock
	e.Reel = r.Name("reel")
	e.File, e.Chips, e.At = r.Hash("file"), r.Uint("chips", 32), r.Time("at")
	return e, done(r, KindStock)
}

// Hash is SHA-256 of an encoded entry, used where one record points to another (it is not the leaf hash).
func Hash(b []byte) [32]byte { return sha256.Sum256(b) }

func done(r *record.Reader, kind string) error { return parsing(kind, r.Done()) }

func parsing(kind string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("parsing %s entry: %w", kind, err)
}

func eid(r *record.Reader, key string) id.EID {
	e, err := id.ParseEID(r.Raw(key))
	r.Check(err)
	return e
}

// optionalEID reads an EID; "-" is the zero value (the product is no eUICC).
func optionalEID(r *record.Reader, key string) (e id.EID) {
	if v := r.Str(key); v != "" {
		var err error
		e, err = id.ParseEID(v)
		r.Check(err)
	}
	return e
}

// chip reads a chip id; "-" is the zero value (nothing readable lay there).
func chip(r *record.Reader, key string) (c id.ChipID) {
	if v := r.Str(key); v != "" {
		var err error
		c, err = id.ParseChipID(v)
		r.Check(err)
		if err == nil && strings.ToLower(v) != v {
			r.Check(fmt.Errorf("chip id %q is not lower-case", v))
		}
	}
	return c
}

func chipText(c id.ChipID) string {
	if c.IsZero() {
		return ""
	}
	return c.String()
}

// ErrNoTime says that an entry carries no time.
var ErrNoTime = errors.New("entry has no time")

// TimeOf reads the field "at" of an entry of any kind.
func TimeOf(b []byte) (time.Time, error) {
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "at "); ok {
			t, err := time.Parse(record.TimeForm, strings.TrimSuffix(v, "\n"))
			if err != nil {
				return time.Time{}, fmt.Errorf("reading the time of an entry: %w", err)
			}
			return t, nil
		}
	}
	return time.Time{}, ErrNoTime
}
