// Package export makes what leaves the house for a finished lot: the output file for the operator, and beside it for eUICCs the
// EIS batch for the subscription manager that the officers released, for SIMs the list of cards for whoever puts them into devices.
//
// An export is a function of the ledger (I8): of good claims, their outcomes and their certificates, in unit order, of
// the release, the order, and the site's partner and product files. Its times are the ledger's. Made again it has the same
// bytes; the one thing that cannot be computed again, the EUM's signature, is kept in the claim before it is used. Keys
// come from the vault under the receiver's key, unit by unit against the proof that the unit is good (I7); this package
// never sees one in clear.
//
// An export is a folder <out>/<lot>/<kind> with a manifest of its files, whose hash goes into the log when the folder is
// on disk and before anybody is told. It is called by the ledger's program. OUTPUT.md describes the output file; the EIS
// is perso/eis (SGP.02, ES1.RegisterEIS).
package export

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/persoline/persoline/ledger/bundle/folder"
	"github.com/persoline/persoline/ledger/bundle/layout"
	"github.com/persoline/persoline/ledger/internal/sqldb"
	"github.com/persoline/persoline/ledger/internal/tree"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/order"
	"github.com/persoline/persoline/perso/product"
)

// Kinds of exports; each is a folder's name and the What of its log entry.
const (
	WhatEIS    = "eis"
	WhatOutput = "output"
	WhatCards  = "cards"
	// WhatOperational is the output file of the operational profile's operator.
	WhatOperational = "operational"
)

// Ledger is the core: the signed log, the vault's door, and the record of what was handed out.
type Ledger interface {
	Signed(ctx context.Context) (log *tree.Log, note []byte, err error)
	// Ready opens a lot at its vault, and shows the vault the signed log.
	Ready(ctx context.Context, lot perso.Name, log *tree.Log, note []byte) error
	// RecordExport logs an export once per lot and kind; another hash for the same is refused.
	RecordExport(ctx context.Context, e entry.Export) error
}

// Vault gives wrapped keys and signatures of good units.
type Vault interface {
	Info(ctx context.Context) (bus.VaultInfoReply, error)
	Export(ctx context.Context, q bus.ExportRequest) (bus.ExportReply, error)
}

// Config wires the exports of a site.
type Config struct {
	DB       sqldb.DB
	Ledger   Ledger
	Vault    Vault
	Site     order.Site
	Products product.Catalogue
	Out      string // folder that holds a folder per lot
}

// All makes every export that a lot of its product has, in the order in which they are handed out.
func (c Config) All(ctx context.Context, lot perso.Name) (made []Result, err error) {
	f, err := c.readLot(ctx, lot)
	if err != nil {
		return nil, fmt.Errorf("exporting lot %q: %w", lot, err)
	}
	kinds := []func(context.Context, perso.Name) (Result, error){c.EIS, c.Output}
	if f.release.HasOperational() {
		kinds = append(kinds, c.Operational)
	}
	if !f.release.EUICC() {
		kinds = []func(context.Context, perso.Name) (Result, error){c.Output, c.Cards}
	}
	for _, make := range kinds {
		r, err := make(ctx, lot)
		if err != nil {
			return made, err
		}
		made = append(made, r)
	}
	return made, nil
}

// Result is an export that lies ready and is on record.
type Result struct {
	Dir   string
	Units uint64
	Hash  [32]byte // of its manifest
}

// What callers act on.
var (
	// ErrNotComplete: units may still become good.
	ErrNotComplete = errors.New("lot is not complete")
	// ErrNotAccepted: quality did not accept it, and nothing of it is handed out.
	ErrNotAccepted = errors.New("quality has signed: not accepted")
	// ErrDiffers: what would be written now is not what was handed out or signed before.
	ErrDiffers = errors.New("export differs from the one before")
	// ErrUnknown: the ledger has no such lot, or no longer the order behind it.
	ErrUnknown = errors.New("not in the ledger")
)

// Manifest reads the manifest of an export that lies ready. It wraps fs.ErrNotExist when there is none.
func Manifest(out string, lot perso.Name, what string) ([]byte, error) {
	return os.ReadFile(filepath.Join(out, string(lot), what, layout.Manifest))
}

// job is one export being made.
type job struct {
	Config
	what string
	lot  lotFacts
	log  *tree.Log
	note []byte
	dir  *folder.Folder

	placed bool // its folder was not there before
}

// run makes one export: write is given the good units page by page in unit order, finish ends it.
func (c Config) run(ctx context.Context, name perso.Name, what string, receiver func(lotFacts) perso.Name, begin func(context.Context, *job) (writer, error)) (Result, error) {
	fail := func(err error) (Result, error) {
		return Result{}, fmt.Errorf("making the %s export of lot %q: %w", what, name, err)
	}
	j := &job{Config: c, what: what}
	var err error
	if j.lot, err = c.readLot(ctx, name); err != nil {
		return fail(err)
	}
	if j.log, j.note, err = c.Ledger.Signed(ctx); err != nil {
		return fail(err)
	}
	parent := filepath.Join(c.Out, string(name))
	if err := os.MkdirAll(parent, 0o750); err != nil {
		return fail(err)
	}
	if j.dir, err = folder.New(parent); err != nil {
		return fail(err)
	}
	r, err := j.write(ctx, begin)
	if err == nil {
		r.Dir = filepath.Join(parent, what)
		err = j.publish(ctx, r)
	}
	if err != nil {
		return fail(errors.Join(err, j.dir.Remove()))
	}
	// COMMIT POINT: the files are on disk; from the log entry on they count as handed out.
	e := entry.Export{Lot: name, What: what, Receiver: receiver(j.lot), Units: r.Units, Hash: r.Hash}
	if err := c.Ledger.RecordExport(ctx, e); err != nil {
		return fail(errors.Join(err, j.takeBack(r, err)))
	}
	return r, nil
}

// takeBack removes what this job has put in its place when the ledger refuses to have it handed out: the lot was frozen, or a unit was
// given up, while the files were made. After any other error it may be on record, and lies ready.
func (j *job) takeBack(r Result, err error) error {
	var refused *bus.Fault
	if !j.placed || !errors.As(err, &refused) || refused.Code != bus.FaultRefused {
		return nil
	}
	return os.RemoveAll(r.Dir)
}

// writer turns pages of good units into files.
type writer interface {
	page(ctx context.Context, units []unit) error
	finish() error
}

func (j *job) write(ctx context.Context, begin func(context.Context, *job) (writer, error)) (Result, error) {
	w, err := begin(ctx, j)
	if err != nil {
		return Result{}, err
	}
	var r Result
	for after := int64(-1); ; {
		units, err := j.goodUnits(ctx, after)
		if err != nil {
			return r, err
		}
		if len(units) == 0 {
			break
		}
		if err := w.page(ctx, units); err != nil {
			return r, err
		}
		after, r.Units = int64(units[len(units)-1].claim.Unit), r.Units+uint64(len(units))
	}
	if r.Units != j.lot.good {
		return r, fmt.Errorf("%d good units in the signed log, %d on record", r.Units, j.lot.good)
	}
	if err := w.finish(); err != nil {
		return r, err
	}
	manifest, err := layout.EncodeManifest(j.dir.Files())
	if err != nil {
		return r, err
	}
	r.Hash = sha256.Sum256(manifest)
	return r, j.dir.Add(layout.Manifest, manifest)
}

// publish moves the folder to its place. One that is there already must hold the same; so must what the log says.
func (j *job) publish(ctx context.Context, r Result) error {
	recorded, err := j.recorded(ctx)
	if err != nil {
		return err
	}
	if recorded != nil && !bytes.Equal(recorded, r.Hash[:]) {
		return fmt.Errorf("%w: its manifest would be %x, on record is %x", ErrDiffers, r.Hash, recorded)
	}
	there, err := Manifest(j.Out, j.lot.release.Lot, j.what)
	if errors.Is(err, fs.ErrNotExist) {
		j.placed = true
		return j.dir.Publish(r.Dir)
	}
	if err != nil {
		return err
	}
	if sha256.Sum256(there) != r.Hash {
		return fmt.Errorf("%w: %q lies there", ErrDiffers, r.Dir)
	}
	return errors.Join(sameFiles(r.Dir, j.dir.Files()), j.dir.Remove())
}

// sameFiles demands that every file of an export is there as it was written: whoever took one away may take the folder
// away, and it is made again.
func sameFiles(dir string, files []layout.File) error {
	for _, f := range files {
		b, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(f.Path)))
		if err != nil || sha256.Sum256(b) != f.Hash {
			return fmt.Errorf("%w: file %q was changed or is gone; move the folder away to have it made again", ErrDiffers, f.Path)
		}
	}
	return nil
}

// ask has the vault serve one page; a lot that it has forgotten is opened again, a checkpoint that it did not see is shown.
func (j *job) ask(ctx context.Context, kind bus.ExportKind, receiver perso.Name, items []bus.ExportItem) (bus.ExportReply, error) {
	q := bus.ExportRequest{Lot: j.lot.release.Lot, Kind: kind, Receiver: receiver, Checkpoint: j.note, Items: items}
	if kind == bus.ExportOutput {
		q.Key = j.lot.receiver.DER()
	}
	a, err := j.Vault.Export(ctx, q)
	var fault *bus.Fault
	if errors.As(err, &fault) && (fault.Code == bus.FaultLotNotOpen || fault.Code == bus.FaultBehind) {
		if err := j.Ledger.Ready(ctx, q.Lot, j.log, j.note); err != nil {
			return bus.ExportReply{}, err
		}
		a, err = j.Vault.Export(ctx, q)
	}
	if err != nil {
		return bus.ExportReply{}, fmt.Errorf("asking the vault for %s of %d units: %w", kind, len(items), err)
	}
	if len(a.Results) != len(items) {
		return bus.ExportReply{}, fmt.Errorf("asking the vault for %s of %d units: %d answers", kind, len(items), len(a.Results))
	}
	return a, nil
}

// wanted is a key that an answer must hold, and its length under the receiver's key.
type wanted struct {
	name  string
	bytes int
}

// keysOf takes the keys out of an answer, which must hold exactly these.
func keysOf(r bus.ExportResult, want ...wanted) ([]bus.WrappedKey, error) {
	if len(r.Keys) != len(want) {
		return nil, fmt.Errorf("the vault gave %d keys, want %d", len(r.Keys), len(want))
	}
	for i, k := range r.Keys {
		if k.Name != want[i].name || len(k.Value) != want[i].bytes || (len(k.KCV) != 0 && len(k.KCV) != kcvBytes) {
			return nil, fmt.Errorf("the vault gave key %q of %d bytes, want %q of %d", k.Name, len(k.Value), want[i].name, want[i].bytes)
		}
	}
	return r.Keys, nil
}

const (
	keyBytes = 16 // a key of the card
	kcvBytes = 3
)

// second cuts a time for formats that know no fraction.
func second(t time.Time) time.Time { return t.UTC().Truncate(time.Second) }
