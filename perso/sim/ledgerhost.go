package sim

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/persoline/persoline/keygen"
	"github.com/persoline/persoline/ledger"
	"github.com/persoline/persoline/ledger/ledgertest"
	"github.com/persoline/persoline/perso/bus"
)

// maxActsAtOnce is how many acts may wait for the vault, each alone: as many as the core is told to send at once. One more
// would wait inside it.
const maxActsAtOnce = 3

var errDown = errors.New("the machine is down")

// ledgerHost is the ledger's machine. The disk outlives the core.
type ledgerHost struct {
	w    *World
	disk ledgertest.DB
	db   *gate
	core *ledger.Ledger // nil while it is down

	handlers map[string]bus.Handler
	calls    []*call // that wait for the vault
	acts     int
	waiting  []func()
	skew     time.Duration // of this machine's clock
}

// maxSkew is how far the ledger's clock may be off, forward or back: half of what the vault bears.
const maxSkew = keygen.MaxClockSkew / 2

func (h *ledgerHost) clock() time.Time { return h.w.clock().Add(h.skew) }

// gate is the database as one life of the ledger sees it: it fails on command, and for good once that life is over.
type gate struct {
	*ledgertest.FaultDB
	over bool
}

// Update refuses a ledger that is dead already.
func (g *gate) Update(ctx context.Context, f func(ledgertest.Tx) error) error {
	if g.over {
		return errDown
	}
	return g.FaultDB.Update(ctx, f)
}

// View refuses a ledger that is dead already.
func (g *gate) View(ctx context.Context, f func(ledgertest.Tx) error) error {
	if g.over {
		return errDown
	}
	return g.FaultDB.View(ctx, f)
}

// start opens the ledger over what is on the disk.
func (h *ledgerHost) start() error {
	w := h.w
	g := &gate{}
	g.FaultDB = ledgertest.WithFaults(h.disk, func(op ledgertest.Op) ledgertest.Fault { return h.storage(g, op) })
	v := vaultClient{h}
	core, err := ledger.Open(context.Background(), ledger.Config{DB: g, Vault: v, Signer: v, Now: h.clock, Rand: w.stream(), Log: w.site.log, Catalogues: w.site.cat,
		AtVault: maxActsAtOnce})
	if err != nil {
		return err
	}
	h.db, h.core, h.acts, h.calls, h.waiting = g, core, 0, nil, nil
	h.handlers = map[string]bus.Handler{
		bus.LineSubject(lineName, bus.LineChallenges): bus.Answer(core.Challenges),
		bus.LineSubject(lineName, bus.LineAct):        bus.Answer(core.Act),
		bus.LineSubject(lineName, bus.LinePresent):    bus.Answer(core.Present),
		bus.LineSubject(lineName, bus.LineBin):        bus.Answer(core.Bin),
		bus.LineSubject(lineName, bus.LineCount):      bus.Answer(core.Count),
		bus.OfficeSubject(bus.OfficeReceive):          bus.Answer(core.Receive),
		bus.OfficeSubject(bus.OfficeStatus):           bus.Answer(core.Status),
		bus.OfficeSubject(bus.OfficeWord):             bus.Answer(core.Word),
	}
	return nil
}

// storage decides what becomes of a transaction. A process that dies at its commit has written it, or it has not.
func (h *ledgerHost) storage(g *gate, op ledgertest.Op) ledgertest.Fault {
	w := h.w
	w.check.dirty = w.check.dirty || op.Write
	switch {
	case !op.Write && w.chance(w.cfg.Faults.Read):
		w.stats.StorageFaults++
		w.note("ledger", "storage fault: read lost")
		return ledgertest.Lost
	case !op.Write || !w.chance(w.cfg.Faults.Commit):
		return ledgertest.None
	}
	w.stats.StorageFaults++
	faults := []ledgertest.Fault{ledgertest.Lost, ledgertest.AmbiguousLost, ledgertest.AmbiguousWritten, ledgertest.Twice, ledgertest.Written, ledgertest.Lost}
	i := w.rng.IntN(len(faults))
	g.over = i >= 4 // the last two are deaths
	w.note("ledger", "storage fault: %v%s", faults[i], map[bool]string{true: ", and dies"}[g.over])
	return faults[i]
}

// call is one request that the ledger works on. It stops wherever it waits for the vault.
type call struct {
	subject string
	request []byte
	next    func() (question, bool)
	stop    func()
	yield   func(question) bool
	answer  []byte // of the vault, to the question that it stopped with
	err     error
	reply   []byte
	done    func(reply []byte)
}

type question struct {
	subject string
	data    []byte
}

type callKey struct{}

// serve takes a request from the bus. done is called unless the ledger dies.
func (h *ledgerHost) serve(subject string, data []byte, done func(reply []byte)) {
	if h.core == nil {
		return
	}
	isAct := strings.HasSuffix(subject, "."+bus.LineAct)
	if isAct && h.acts == maxActsAtOnce {
		h.waiting = append(h.waiting, func() { h.serve(subject, data, done) })
		return
	}
	if isAct {
		h.acts++
	}
	c := &call{subject: subject, request: data, done: done}
	handler := h.handlers[subject]
	c.next, c.stop = iter.Pull(func(yield func(question) bool) {
		c.yield = yield
		reply, err := handler(context.WithValue(context.Background(), callKey{}, c), data)
		if err != nil {
			panic(fmt.Sprintf("encoding the reply to %s: %v", subject, err))
		}
		c.reply = reply
	})
	h.calls = append(h.calls, c)
	h.resume(c)
}

// resume lets a call go on until it waits again or is done.
func (h *ledgerHost) resume(c *call) {
	q, more := c.next()
	if more && !h.db.over {
		life := h.db
		h.w.vault.ask(q, func(answer []byte, err error) {
			if h.db != life || h.core == nil {
				return
			}
			c.answer, c.err = answer, err
			h.resume(c)
		})
		return
	}
	if h.db.over {
		h.crash("died at a commit")
		return
	}
	h.forget(c)
	h.w.heard = append(h.w.heard, c.reply)
	h.w.check.replied(c.subject, c.request, c.reply)
	c.done(c.reply)
	if len(h.waiting) > 0 && h.acts < maxActsAtOnce {
		first := h.waiting[0]
		h.waiting = h.waiting[1:]
		first()
	}
}

func (h *ledgerHost) forget(c *call) {
	for i := range h.calls {
		if h.calls[i] == c {
			h.calls = append(h.calls[:i], h.calls[i+1:]...)
			break
		}
	}
	if strings.HasSuffix(c.subject, "."+bus.LineAct) {
		h.acts--
	}
}

// crash ends this life: calls under way come to nothing, and a new life begins some time later.
func (h *ledgerHost) crash(why string) {
	if h.core == nil {
		return
	}
	w := h.w
	w.stats.LedgerCrashes++
	w.note("ledger", "down: %s", why)
	h.db.over = true
	h.core, h.handlers = nil, nil
	for _, c := range h.calls {
		c.answer, c.err = nil, errDown
		for more := true; more; {
			_, more = c.next() // what it does now reaches neither database nor bus
		}
	}
	h.calls, h.waiting, h.acts = nil, nil, 0
	w.after(w.between(100*time.Millisecond, 5*time.Second), "ledger", "starts again", h.restart)
}

// restart opens the ledger again, on a machine whose clock may have been set.
func (h *ledgerHost) restart() {
	h.skew = h.w.between(-maxSkew, maxSkew)
	if err := h.start(); err != nil {
		h.w.note("ledger", "does not start: %v", err)
		h.w.after(time.Second, "ledger", "starts again", h.restart)
	}
}

// vaultClient is the vault as the ledger's core sees it: every message goes through the codec.
type vaultClient struct{ h *ledgerHost }

// Request waits for the vault by giving control back. A checkpoint is asked for, and officers' words are told, with a lock held:
// that is answered, or not, at once.
func (v vaultClient) Request(ctx context.Context, subject string, data []byte) ([]byte, error) {
	c, _ := ctx.Value(callKey{}).(*call)
	if c == nil || subject == bus.VaultSubject(vaultName, bus.VaultCheckpoint) || subject == bus.VaultSubject(vaultName, bus.VaultHeed) {
		return v.h.w.vault.atOnce(question{subject, data})
	}
	if v.h.db == nil || v.h.db.over || !c.yield(question{subject, data}) {
		return nil, errDown
	}
	return c.answer, c.err
}

// OpenLot is ledger.Vault's.
func (v vaultClient) OpenLot(ctx context.Context, q bus.OpenLotRequest) (bus.OpenLotReply, error) {
	return bus.Call[bus.OpenLotReply](ctx, v, bus.VaultSubject(vaultName, bus.VaultOpenLot), q)
}

// Heed is ledger.Hearer's.
func (v vaultClient) Heed(ctx context.Context, q bus.HeedRequest) (bus.HeedReply, error) {
	return bus.Call[bus.HeedReply](ctx, v, bus.VaultSubject(vaultName, bus.VaultHeed), q)
}

// Challenges is ledger.Vault's.
func (v vaultClient) Challenges(ctx context.Context, q bus.VaultChallengesRequest) (bus.VaultChallengesReply, error) {
	return bus.Call[bus.VaultChallengesReply](ctx, v, bus.VaultSubject(vaultName, bus.VaultChallenges), q)
}

// Serve is ledger.Vault's.
func (v vaultClient) Serve(ctx context.Context, q bus.ServeRequest) (bus.ServeReply, error) {
	return bus.Call[bus.ServeReply](ctx, v, bus.VaultSubject(vaultName, bus.VaultServe), q)
}

// CheckKi is ledger.KiChecker's.
func (v vaultClient) CheckKi(ctx context.Context, q bus.CheckKiRequest) (bus.CheckKiReply, error) {
	return bus.Call[bus.CheckKiReply](ctx, v, bus.VaultSubject(vaultName, bus.VaultCheckKi), q)
}

// KeepKi is ledger.KiChecker's.
func (v vaultClient) KeepKi(ctx context.Context, q bus.KeepKiRequest) (bus.KeepKiReply, error) {
	return bus.Call[bus.KeepKiReply](ctx, v, bus.VaultSubject(vaultName, bus.VaultKeepKi), q)
}

// DropKi is ledger.KiChecker's.
func (v vaultClient) DropKi(ctx context.Context, q bus.DropKiRequest) (bus.Empty, error) {
	return bus.Call[bus.Empty](ctx, v, bus.VaultSubject(vaultName, bus.VaultDropKi), q)
}

// Checkpoint is ledger.Signer's.
func (v vaultClient) Checkpoint(ctx context.Context, q bus.CheckpointRequest) (bus.CheckpointReply, error) {
	return bus.Call[bus.CheckpointReply](ctx, v, bus.VaultSubject(vaultName, bus.VaultCheckpoint), q)
}
