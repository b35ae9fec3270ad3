package export_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"math/big"
	"os"
	"testing"
	"time"

	"github.com/persoline/persoline/ledger/audit/audittest"
	"github.com/persoline/persoline/ledger/export"
	"github.com/persoline/persoline/ledger/internal/schema"
	"github.com/persoline/persoline/ledger/internal/sqldb"
	"github.com/persoline/persoline/ledger/internal/tree"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/checkpoint"
	"github.com/persoline/persoline/perso/eis"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/order"
	"github.com/persoline/persoline/perso/order/k4"
	"github.com/persoline/persoline/perso/order/kifile"
	"github.com/persoline/persoline/perso/product"
	"github.com/persoline/persoline/perso/record"
	"github.com/persoline/persoline/perso/statement"
)

// house is a ledger with one complete lot, and a vault with software keys that checks what the real one would.
type house struct {
	*audittest.Site
	db       sqldb.DB
	log      *tree.Log
	out      string
	units    []made
	site     order.Site
	products product.Catalogue
	release  statement.Release
	pages    []kifile.Page // of a customer's own Ki

	key       *ecdsa.PrivateKey
	cert      []byte
	sign      func(digest []byte) []byte
	signed    int
	exported  map[string]entry.Export
	forgotten bool // the vault has forgotten the lot
	short     bool // the vault gives one answer too few
	tells     bool // the vault gives Ki that are to be left out
	layout    k4.Layout
	otherHead bool // the vault gives another head of the envelope with the second page

	calls, breakAfter int
	broken            error
	placesOf          int  // how many places of a package the vault tells
	otherPlaces       bool // and they differ from unit to unit
}

// made is what a unit should be exported as.
type made struct {
	unit             perso.Unit
	eid, iccid, imsi string
	cert             []byte
	at               time.Time
	claim, outcome   int64
	chip             []byte
	index            perso.EIDIndex
}

// tdesCode is the length of a code under Triple DES.
const tdesCode = 8

func newHouse(t *testing.T, units uint64, change ...func(*statement.Release)) *house {
	t.Helper()
	return newHouseOf(t, units, func(_ *house, r *statement.Release) {
		for _, f := range change {
			f(r)
		}
	})
}

// newHouseOf is a house with another release, whose operator may have sent a file of Ki.
func newHouseOf(t *testing.T, units uint64, change func(*house, *statement.Release)) *house {
	t.Helper()
	h := &house{Site: audittest.New(), out: t.TempDir(), exported: map[string]entry.Export{}, products: audittest.Must(product.LoadDir(os.DirFS("../../deploy/products"))),
		site: audittest.Must(order.LoadSite(os.DirFS("../../deploy/partners")))}
	h.eisKey(t)
	r := h.NewRelease("L1", 0, units, 1)
	p, _ := h.products.Get("m2m-200s-mff2")
	r.ProductHash, r.SMSR, r.Delivery, r.TransportKey = p.Hash(), "smsr-demo", "auc-demo", "tk-auc-demo"
	change(h, &r)
	h.release = r
	h.layout = k4.Layout(cmp.Or(r.TransportMode, string(k4.AESECB)))
	lot := h.Admit(r, "prod", "sec")
	for u := range perso.Unit(units) {
		h.make(lot, u)
	}
	db, err := sqldb.OpenMemory(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	if h.db = db; schema.Init(t.Context(), db) != nil {
		t.Fatal("no schema")
	}
	if err := db.Update(t.Context(), func(tx sqldb.Tx) error { return h.load(t.Context(), tx, lot) }); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *house) eisKey(t *testing.T) {
	t.Helper()
	h.key = audittest.Must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := &x509.Certificate{SerialNumber: big.NewInt(1), SubjectKeyId: []byte("key identifier of 20")}
	h.cert = audittest.Must(x509.CreateCertificate(rand.Reader, template, template, &h.key.PublicKey, h.key))
	h.sign = func(digest []byte) []byte {
		r, s, err := ecdsa.Sign(rand.Reader, h.key, digest)
		if err != nil {
			t.Error(err)
		}
		return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	}
}

// make takes a unit to good, with a certificate whose bytes are known.
func (h *house) make(lot *audittest.Lot, u perso.Unit) {
	m := made{unit: u, cert: fmt.Appendf(nil, "certificate %d", u), claim: int64(len(h.Entries)),
		iccid: audittest.Must(lot.Release.ICCIDs.At(uint64(u))).String(), imsi: audittest.Must(lot.Release.IMSIs.At(uint64(u))).String()}
	c := lot.Claim(u, 0, 0, audittest.Chip(uint32(u)))
	c.Act("identify")
	c.Cert = sha256.Sum256(m.cert)
	h.Append(entry.Certificate{Lot: "L1", Unit: u, EID: c.Claim.EID, Cert: c.Cert, Key: audittest.Hash("key"), At: h.Tick()})
	c.Serve(c.Ask("proof"), "good")
	m.outcome = c.End(perso.VerdictGood, perso.ReasonNone)
	m.eid, m.chip, m.index = c.Claim.EID.String(), c.Claim.Chip.Bytes(), c.Claim.Index
	m.at = audittest.Must(entry.ParseOutcome(h.Entries[m.outcome])).At.Truncate(time.Second)
	h.units = append(h.units, m)
}

func (h *house) load(ctx context.Context, tx sqldb.Tx, lot *audittest.Lot) (err error) {
	if h.log, err = tree.Open(ctx, tx); err != nil {
		return err
	}
	for _, e := range h.Entries {
		if _, h.log, err = h.log.Append(ctx, tx, []tree.Item{{Kind: audittest.Must(record.Kind(e)), Subject: []byte{}, Body: e}}); err != nil {
			return err
		}
	}
	exec := func(query string, args ...any) {
		if _, e := tx.Exec(ctx, query, args...); err == nil && e != nil {
			err = e
		}
	}
	file, n := audittest.Must(os.ReadFile("../../deploy/samples/orders/small-20.json")), int64(len(h.units))
	exec(`INSERT INTO customer_order (order_id, hash, resolved, state, created) VALUES ('O', $1, $2, 'released', 1)`, []byte("o"), file)
	exec(`INSERT INTO statement (hash, kind, ord, lot, signed) VALUES ($1, $2, 0, 'L1', $3)`, lot.Hash[:], statement.KindRelease, h.Openings[0].Encode())
	exec(`INSERT INTO lot (lot, order_id, release_hash, state, good, spares, next_unit, next_eid, open_count, good_count, lost_count, challenge_next, issued, approved, created, completed)
		VALUES ('L1', 'O', $1, 'complete', $2, 1, $2, $2, 0, $2, 0, 0, 0, FALSE, 1, 1804000000000000)`, lot.Hash[:], n)
	for i, p := range h.pages {
		exec(`INSERT INTO customer_ki_page (order_id, page, eki, hashes) VALUES ('O', $1, $2, $3)`, int64(i), p.Rows(), p.Upper())
	}
	for _, m := range h.units {
		eid := audittest.Must(hex.DecodeString(m.eid))
		exec(`INSERT INTO claim (lot, unit, gen, eid_index, eid, chip, state, seq, loss_seq, outcome_seq, cert, sessions, failures, last_counter, line, head, number)
			VALUES ('L1', $1, 0, $2, $3, $4, 'good', $5, 0, $6, $7, 1, 0, 1, 'line-1', 1, $1)`, int64(m.unit), int64(m.index), eid, m.chip, m.claim, m.outcome, m.cert)
	}
	return err
}

func (h *house) config() export.Config {
	return export.Config{DB: h.db, Ledger: h, Vault: h, Site: h.site, Products: h.products, Out: h.out}
}

// call fails from a number of calls on.
func (h *house) call() error {
	h.calls++
	if h.calls > h.breakAfter {
		return h.broken
	}
	return nil
}

// Signed implements export.Ledger.
func (h *house) Signed(context.Context) (*tree.Log, []byte, error) {
	return h.log, h.Checkpoint(), h.call()
}

// OpenLot implements export.Ledger.
func (h *house) Ready(context.Context, perso.Name, *tree.Log, []byte) error {
	h.forgotten = false
	return nil
}

// RecordExport implements export.Ledger.
func (h *house) RecordExport(_ context.Context, e entry.Export) error {
	if err := h.call(); err != nil {
		return err
	}
	if before, ok := h.exported[e.What]; ok && before != e {
		return fmt.Errorf("on record is %+v", before)
	}
	h.exported[e.What] = e
	return nil
}

// Info implements export.Vault.
func (h *house) Info(context.Context) (bus.VaultInfoReply, error) {
	return bus.VaultInfoReply{EISCert: h.cert}, nil
}

// Export checks every proof, then wraps or signs.
func (h *house) Export(_ context.Context, q bus.ExportRequest) (bus.ExportReply, error) {
	if h.forgotten {
		return bus.ExportReply{}, bus.Refuse(bus.FaultLotNotOpen, "lot %q", q.Lot)
	}
	if err := h.call(); err != nil {
		return bus.ExportReply{}, err
	}
	cp, err := checkpoint.Open(q.Checkpoint, audittest.Origin, audittest.Public(h.LogKey))
	if err != nil || len(q.Items) > 128 {
		return bus.ExportReply{}, fmt.Errorf("%d items: %w", len(q.Items), err)
	}
	if _, err := bus.Encode(q); err != nil { // it must fit a message
		return bus.ExportReply{}, err
	}
	reply := bus.ExportReply{KCV: []byte{0xAB, 0xCD, 0xEF}}
	if h.layout == k4.Envelope && q.Kind == bus.ExportOutput {
		reply.KCV, reply.Envelope = nil, &bus.EnvelopeHead{Vendor: [32]byte{1}, Sealed: bytes.Clone(q.Key), Signature: []byte{2}}
		if h.otherHead && h.calls > 2 {
			reply.Envelope.Signature = []byte{3}
		}
	}
	for _, item := range q.Items {
		for _, p := range []bus.Proven{item.Claim, item.Outcome} {
			proof := make([]checkpoint.Hash, len(p.Proof))
			for i := range p.Proof {
				proof[i] = p.Proof[i]
			}
			if err := checkpoint.CheckInclusion(cp, p.Seq, p.Entry, proof); err != nil {
				return bus.ExportReply{}, err
			}
		}
		if err := h.checkRow(item); err != nil {
			return bus.ExportReply{}, err
		}
		reply.Results = append(reply.Results, h.result(q, item))
	}
	if h.short {
		reply.Results = reply.Results[1:]
	}
	return reply, nil
}

// checkRow demands the unit's own row of a customer's Ki, and none where there are none.
func (h *house) checkRow(item bus.ExportItem) error {
	if (item.Customer != nil) != (h.pages != nil) {
		return fmt.Errorf("a row came: %v", item.Customer != nil)
	}
	if item.Customer == nil {
		return nil
	}
	k := h.release.Customer
	row, err := kifile.ParseRow(item.Customer.Row)
	if err != nil {
		return err
	}
	return kifile.CheckRow(audittest.Must(entry.ParseClaim(item.Claim.Entry)).Unit, row, kifile.Proof{Root: k.Root, Rows: k.Rows, Hashes: item.Customer.Proof})
}

func (h *house) result(q bus.ExportRequest, item bus.ExportItem) (r bus.ExportResult) {
	u := audittest.Must(entry.ParseClaim(item.Claim.Entry)).Unit
	names := []string{"KI", "OPC", "PIN1", "PUK1", "PIN2", "PUK2", "ADM1"}
	switch {
	case q.Kind == bus.ExportOutput && h.layout == k4.Envelope:
		kinds := []string{"CREDENTIALS", "CODES"}
		if len(h.release.Packages) > 0 {
			kinds = append(kinds, "PROFILE")
		}
		for _, name := range kinds { // MAC, IV and a block
			r.Keys = append(r.Keys, bus.WrappedKey{Name: name, Value: bytes.Repeat(wrappedKey(name, u), 6)})
		}
		return r
	}
	switch q.Kind {
	case bus.ExportSign:
		h.signed++
		digest := sha256.Sum256(eis.SignedInfo(sha256.Sum256(item.Signed)))
		return bus.ExportResult{Signature: h.sign(digest[:])}
	case bus.ExportEIS:
		names = []string{"OTA.KIC", "OTA.KID", "OTA.KIK"}
	}
	for i, name := range names {
		k := bus.WrappedKey{Name: name, Value: wrappedKey(name, u)}
		if h.layout.BlockBytes() == tdesCode && i >= 2 {
			k.Value = k.Value[:tdesCode]
		}
		if q.Kind == bus.ExportEIS || i < 2 {
			k.KCV = []byte{1, 2, 3}
		}
		if name == "KI" && h.release.Customer.Output == string(order.KiOmitted) && !h.tells {
			k.Value = nil
		}
		r.Keys = append(r.Keys, k)
	}
	if q.Kind == bus.ExportOutput {
		r.Keys = append(r.Keys, h.places(u)...)
	}
	return r
}

// places are the keys that a card has from its package.
func (h *house) places(u perso.Unit) []bus.WrappedKey {
	all := []bus.WrappedKey{
		{Name: "ADM2", Value: wrappedKey("ADM2", u), Kind: "code"},
		{Name: "sd.01.01", Value: wrappedKey("sd.01.01", u), KCV: []byte{7, 8, 9}, Kind: "aes-128"},
		{Name: "cdma.key", Value: wrappedKey("cdma.key", u), Kind: "bytes-8"},
	}
	if h.otherPlaces && u > 0 {
		all[1].Kind = "3des-2key"
	}
	return all[:h.placesOf]
}

// wrappedKey stands for a key under the receiver's key.
func wrappedKey(name string, u perso.Unit) []byte {
	sum := sha256.Sum256(fmt.Appendf(nil, "wrapped %s %d", name, u))
	return sum[:16]
}

func hexOf(b []byte) string { return hex.EncodeToString(b) }
