// Package audit verifies an audit bundle offline: with the bundle, this code and a few public keys, and nothing else. It
// reads no database and talks to nobody.
//
// The way of a verification, a file each:
//
//	files.go     the files are exactly those that were sealed
//	log.go       the entries are the log that was signed (merkle.go: its hash tree)
//	officers.go  each statement was signed by two officers who could sign it then
//	replay.go    the entries, replayed in order, break no rule: lot.go, unit.go, session.go, line.go, lost.go
//	rows.go      what the replay keeps by the million, without pointers (index.go, spread.go)
//	held.go      it continues every checkpoint that was kept outside
//	exception.go what a person must look at, and who has
//	forget.go    whose words are not there, and who signed that they be deleted
//	receipts.go  what the vault says that it served is what the log says that it was asked
//
// Every refusal is a Finding with the place where it was found and the invariant that it breaks (architecture, section 2).
// Without pins the keys come out of the bundle itself; then the report shows their fingerprints, and it is for a person to
// compare them with what the key ceremony wrote down.
//
// What it cannot see: the MAC of a receipt (its key never leaves the HSM; the signed head of the chain stands for it), and
// whatever an opening that two officers had deleted after delivery had said.
//
// Format: ledger/FORMAT.md. Hashing: RFC 6962; files: C2SP tlog-tiles; checkpoint: C2SP tlog-checkpoint and signed-note.
package audit

import (
	"crypto/ed25519"
	"fmt"
	"io/fs"
	"time"

	"github.com/persoline/persoline/ledger/bundle/layout"
	"github.com/persoline/persoline/perso/checkpoint"
	"github.com/persoline/persoline/perso/entry"
)

// Options are what the auditor knows from elsewhere. Zero values are taken from the bundle and reported as not pinned.
type Options struct {
	RegisterPin  [32]byte          // hash of the officer register's genesis
	LogKey       ed25519.PublicKey // signs checkpoints
	StatementKey ed25519.PublicKey // signs receipt heads and bundle seals

	Held      []Held               // checkpoints that were kept outside the site
	Witnesses []checkpoint.Witness // who may have cosigned them
	Quorum    int                  // how many of the witnesses must have cosigned the bundle's checkpoint

	// Watch is told each entry of package entry, in order, after it was judged; nil for nobody.
	Watch func(seq int64, at time.Time, e any)
	// Wants narrows what Watch is told when nothing is judged: by what the entry begins with. It is asked by many at once.
	Wants func(kind string, body []byte) bool
	// Unjudged leaves the rules out, and the receipts: files, seal, checkpoint, tree and what was held outside are verified, which
	// shows that a bundle is the one that was judged before, in a fraction of the time.
	Unjudged bool
}

// auditor is one verification under way.
type auditor struct {
	opt     Options
	files   *files
	report  Report
	genesis entry.Genesis
	seal    layout.SealBody

	waiting  []held // for the log to reach their size
	heldSame uint64
	words    []word
	history
}

// Verify checks a bundle. An error means that there is no bundle to speak of; everything else is in the report, which is
// good only if Report.OK says so.
func Verify(fsys fs.FS, o Options) (Report, error) {
	a := &auditor{opt: o, files: &files{fsys: fsys}, history: newHistory()}
	var err error
	if a.genesis, err = firstEntry(fsys); err != nil {
		return Report{}, fmt.Errorf("opening audit bundle: %w", err)
	}
	a.keys()
	if !a.checkFiles() {
		return a.report, nil // what follows would be about other bytes than were sealed
	}
	a.checkCertificates()
	if o.Unjudged {
		a.checkLog()
		return a.report, nil
	}
	a.readOfficers()
	a.readRestored()
	a.readForget()
	a.checkLog()
	a.checkReceipts()
	a.checkRestored()
	a.checkLosses()
	a.checkShredded()
	a.checkReviews()
	a.checkAbsent()
	a.checkEnds()
	a.checkUnused()
	a.summarize()
	return a.report, nil
}

// keys settles which keys everything is checked with, and says which of them were known before.
func (a *auditor) keys() {
	g := &a.genesis
	a.report.Env, a.report.Site, a.report.Origin = g.Env, g.Site, g.Origin
	pin := func(name string, pinned, own []byte) []byte {
		known := len(pinned) > 0
		differs := known && string(pinned) != string(own)
		a.report.Keys = append(a.report.Keys, Key{Name: name, Fingerprint: own, Pinned: known && !differs, Differs: differs})
		if differs {
			a.find(logPlace(0, entry.KindGenesis), "", "%s is %x, pinned is %x", name, own, pinned)
			return pinned
		}
		return own
	}
	var register []byte
	if a.opt.RegisterPin != [32]byte{} {
		register = a.opt.RegisterPin[:]
	}
	copy(a.opt.RegisterPin[:], pin(KeyRegister, register, g.Register[:]))
	a.opt.LogKey = pin("log key", a.opt.LogKey, g.LogKey)
	a.opt.StatementKey = pin("statement key", a.opt.StatementKey, g.StmtKey)
}

// verify checks a signature of the statement key.
func (a *auditor) verify(body, sig []byte) bool {
	return len(a.opt.StatementKey) == ed25519.PublicKeySize && ed25519.Verify(a.opt.StatementKey, body, sig)
}
