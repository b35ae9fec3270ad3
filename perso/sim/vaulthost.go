package sim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/persoline/persoline/keygen"
	"github.com/persoline/persoline/keygen/journal"
	"github.com/persoline/persoline/keygen/life"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/order"
)

// The vault's client in the ledger repeats a question that nobody answered, as the product's does.
const (
	vaultTries  = 4
	vaultAnswer = 5 * time.Second
)

var errDisk = errors.New("injected disk fault")

// vaultHost is the vault's machine, HSM included. Disk and HSM outlive the core.
type vaultHost struct {
	w        *World
	disk     *vaultDisk
	core     *keygen.Vault // nil while it is down
	handlers map[string]bus.Handler
	dying    string // why it dies as soon as the request in hand is over
}

// start makes the vault from what the ceremony left and the disk holds.
func (h *vaultHost) start() error {
	w, m := h.w, h.w.site.made
	l, err := life.Begin(context.Background(), life.Config{Owner: life.Owner{Env: perso.EnvTest, Site: siteName, Vault: vaultName}, Token: w.site.token,
		Store: h.disk, Folder: "vault", Now: w.clock, Log: w.site.log})
	if err != nil {
		return err
	}
	core, err := keygen.New(context.Background(), keygen.Config{Env: perso.EnvTest, Site: siteName, Name: vaultName, Origin: logOrigin, Token: w.site.token, Keys: m.Keys,
		Journal: h.disk, Memory: h.disk, KiSets: h.disk, Words: h.disk, Life: l, OPs: journal.OPFolder(m.OPDir), RegisterPin: m.RegisterPin, EUMCert: m.EUMCert, EISCert: m.EISCert, CAID: m.CAID,
		Now: w.clock, Log: w.site.log})
	if err != nil {
		return err
	}
	h.handlers = map[string]bus.Handler{}
	if _, err := keygen.Register(h, core); err != nil {
		return err
	}
	h.core = core
	return nil
}

// Serve is bus.Server's.
func (h *vaultHost) Serve(subject, _ string, handle bus.Handler) (stop func() error, err error) {
	h.handlers[subject] = handle
	return func() error { return nil }, nil
}

// carryOut does what a request asks for; ok is false when no answer comes.
func (h *vaultHost) carryOut(q question) (answer []byte, ok bool) {
	if h.core == nil {
		return nil, false
	}
	answer, err := h.handlers[q.subject](context.Background(), q.data)
	if err != nil {
		panic(fmt.Sprintf("encoding the reply to %s: %v", q.subject, err))
	}
	h.w.heard = append(h.w.heard, q.data, answer)
	if h.dying != "" {
		h.crash(h.dying)
		return nil, false
	}
	h.w.check.served(q, answer)
	return answer, true
}

// atOnce asks without passing time.
func (h *vaultHost) atOnce(q question) ([]byte, error) {
	w, f := h.w, &h.w.cfg.Faults
	for range vaultTries {
		if h.core == nil {
			break
		}
		if w.chance(f.VaultLost) {
			w.note("vault", "%s lost", verbOf(q.subject))
			continue
		}
		answer, ok := h.carryOut(q)
		if ok && w.chance(f.VaultDoubled) {
			answer, ok = h.carryOut(q)
		}
		if !ok || w.chance(f.VaultLost) {
			w.note("vault", "answer to %s lost", verbOf(q.subject))
			continue
		}
		return answer, nil
	}
	return nil, bus.ErrNoAnswer
}

// ask sends a question and calls done once, with the first answer that comes in time.
func (h *vaultHost) ask(q question, done func(answer []byte, err error)) {
	h.try(q, 1, done)
}

func (h *vaultHost) try(q question, n int, done func([]byte, error)) {
	w, f := h.w, &h.w.cfg.Faults
	settled := false
	verb := verbOf(q.subject)
	copies := 1
	if w.chance(f.VaultDoubled) {
		copies = 2
	}
	for range copies {
		if w.chance(f.VaultLost) {
			w.note("vault", "%s lost", verb)
			continue
		}
		w.after(w.between(time.Millisecond, 20*time.Millisecond), "vault", verb, func() {
			answer, ok := h.carryOut(q)
			if !ok || w.chance(f.VaultLost) {
				w.note("vault", "answer to %s lost", verb)
				return
			}
			w.after(w.between(time.Millisecond, 5*time.Millisecond), "vault", "", func() {
				if !settled {
					settled = true
					done(answer, nil)
				}
			})
		})
	}
	w.after(vaultAnswer, "vault", "", func() {
		switch {
		case settled:
		case n == vaultTries:
			settled = true
			w.note("vault", "no answer to %s", verb)
			done(nil, bus.ErrNoAnswer)
		default:
			settled = true
			h.try(q, n+1, done)
		}
	})
}

func verbOf(subject string) string { return subject[strings.LastIndexByte(subject, '.')+1:] }

// crash loses what was only in memory.
func (h *vaultHost) crash(why string) {
	if h.core == nil {
		return
	}
	w := h.w
	w.stats.VaultCrashes++
	w.note("vault", "down: %s", why)
	h.core, h.handlers, h.dying = nil, nil, ""
	w.after(w.between(100*time.Millisecond, 5*time.Second), "vault", "starts again", h.restart)
}

func (h *vaultHost) restart() {
	if err := h.start(); err != nil {
		h.core, h.handlers, h.dying = nil, nil, ""
		h.w.note("vault", "does not start: %v", err)
		h.w.after(time.Second, "vault", "starts again", h.restart)
	}
}

// hsmFails decides over one HSM operation.
func (h *vaultHost) hsmFails() (undone, done bool) {
	w := h.w
	if !w.chance(w.cfg.Faults.HSM) {
		return false, false
	}
	w.stats.HSMFaults++
	done = w.rng.IntN(2) == 0
	w.note("hsm", "fails, done: %v", done)
	return !done, done
}

// vaultDisk is the vault's journal and memory. It keeps what was written, whatever the writer was told.
type vaultDisk struct {
	w        *World
	receipts map[perso.Name][][]byte
	memory   keygen.Recollection
	life     *life.Record // nil before the first
	words    [][]byte
	kis      map[order.ID]simKiSet
}

func newVaultDisk(w *World) *vaultDisk {
	return &vaultDisk{w: w, receipts: map[perso.Name][][]byte{}, memory: keygen.Recollection{Lots: map[perso.Name]keygen.Issued{}}, kis: map[order.ID]simKiSet{}}
}

// write does one durable write, or fails: before it or after it, and lives on or dies.
func (d *vaultDisk) write(what string, do func()) error {
	w := d.w
	if !w.chance(w.cfg.Faults.VaultWrite) {
		do()
		return nil
	}
	written, dies := w.rng.IntN(2) == 0, w.rng.IntN(2) == 0
	w.note("vault", "writing %s fails, written: %v", what, written)
	if written {
		do()
		dies = true // after a write of unknown outcome a vault must start anew
	}
	if dies {
		w.vault.dying = "died writing " + what
	}
	return errDisk
}

// Append is keygen.Journal's.
func (d *vaultDisk) Append(lot perso.Name, count uint64, records [][]byte) error {
	if have := uint64(len(d.receipts[lot])); have != count {
		return fmt.Errorf("appending receipts behind %d: there are %d", count, have)
	}
	return d.write("receipts", func() {
		for _, r := range records {
			d.receipts[lot] = append(d.receipts[lot], bytes.Clone(r))
		}
	})
}

// Read is keygen.Journal's.
func (d *vaultDisk) Read(lot perso.Name, from uint64, each func([]byte) (bool, error)) error {
	for _, r := range d.receipts[lot][min(from, uint64(len(d.receipts[lot]))):] {
		if more, err := each(r); !more || err != nil {
			return err
		}
	}
	return nil
}

// Scratch is keygen.Journal's.
func (d *vaultDisk) Scratch() (keygen.Scratch, error) {
	return nil, errors.New("the index of a simulated lot does not leave memory")
}

// Recall is keygen.Memory's.
func (d *vaultDisk) Recall() (keygen.Recollection, error) {
	r := d.memory
	r.Lots = maps.Clone(r.Lots)
	return r, nil
}

// RememberCheckpoint is keygen.Memory's.
func (d *vaultDisk) RememberCheckpoint(size int64, root [32]byte) error {
	return d.write("a checkpoint", func() { d.memory.Size, d.memory.Root = size, root })
}

// RememberLot is keygen.Memory's.
func (d *vaultDisk) RememberLot(lot perso.Name, issued keygen.Issued) error {
	return d.write("a lot", func() { d.memory.Lots[lot] = issued })
}

// Heard is keygen.Words'.
func (d *vaultDisk) Heard() ([][]byte, error) { return d.words, nil }

// RememberWord is keygen.Words'.
func (d *vaultDisk) RememberWord(n uint64, word []byte) error {
	if have := uint64(len(d.words)); have != n {
		return fmt.Errorf("remembering word %d: there are %d", n, have)
	}
	return d.write("a word", func() { d.words = append(d.words, bytes.Clone(word)) })
}

// Life is life.Store's.
func (d *vaultDisk) Life() (r life.Record, found bool, err error) {
	if d.life == nil {
		return r, false, nil
	}
	return *d.life, true, nil
}

// RememberLife is life.Store's.
func (d *vaultDisk) RememberLife(r life.Record) error {
	if d.life == nil || d.life.Count == 0 { // the world is being made
		d.life = &r
		return nil
	}
	return d.write("its life", func() { d.life = &r })
}
