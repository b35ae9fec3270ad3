package keygen_test

import (
	"bytes"
	"crypto/aes"
	"crypto/rand"
	"log/slog"
	"reflect"
	"strings"
	"testing"

	"github.com/persoline/persoline/hsm"
	"github.com/persoline/persoline/hsm/hsmfake"
	"github.com/persoline/persoline/keygen"
	"github.com/persoline/persoline/keygen/kisource"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/aka"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/order"
	"github.com/persoline/persoline/perso/order/kifile"
	"github.com/persoline/persoline/perso/order/kifile/sender"
	"github.com/persoline/persoline/perso/scp"
	"github.com/persoline/persoline/perso/secret"
	"github.com/persoline/persoline/perso/statement"
)

// customerRig is a vault with a lot whose Ki the operator sent, and the ledger's copy of his file.
type customerRig struct {
	*rig
	file *kifile.File
	said *bytes.Buffer // the vault's log
}

// newCustomerRig has the file made, spoilt by the operator if the test wants that, released, and the lot opened.
func newCustomerRig(t *testing.T, change func(*statement.CustomerKi), spoil ...func([]kifile.Row)) *customerRig {
	t.Helper()
	c := newRig(t).received(change, spoil...)
	c.openLot()
	return c
}

// received makes the rig's lot one with the operator's Ki.
func (r *rig) received(change func(*statement.CustomerKi), spoil ...func([]kifile.Row)) *customerRig {
	r.t.Helper()
	c := &customerRig{rig: r, said: new(bytes.Buffer)}
	c.cfg.Log = slog.New(slog.NewTextHandler(c.said, nil))
	c.reopenVault()
	c.file = c.sent(spoil...)
	c.release.KiSource = string(order.KiCustomer)
	c.release.Customer = statement.CustomerKi{Root: c.root(c.file), Rows: c.file.Rows(), ReceiveKey: "rk-1", Mode: string(kifile.ModeECB), Output: string(order.KiWrapped)}
	change(&c.release.Customer)
	c.plant(c.release)
	c.signed = c.sign(c.release, "ann", "bob")
	c.customer = func(u perso.Unit) *bus.CustomerKi { return c.row(c.file, u) }
	return c
}

func asReleased(*statement.CustomerKi) {}

// plant has the vault remember a file as one that it compared with all others, whatever is in it.
func (c *rig) plant(r statement.Release) {
	c.t.Helper()
	err := c.cfg.KiSets.KeepKi(keygen.KiSet{Order: order.ID(r.Order), Root: r.Customer.Root, Rows: r.Customer.Rows}, func(emit func(keygen.KiPrint) error) error {
		for row := range uint32(r.Customer.Rows) {
			if err := emit(keygen.KiPrint{Print: [16]byte{0xFF, byte(row)}, Row: row}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		c.t.Fatal(err)
	}
}

// sent is a file as the operator sends it, of Ki from the system: another generator keeps what it gave (residue_test.go).
func (c *customerRig) sent(spoil ...func([]kifile.Row)) *kifile.File {
	c.t.Helper()
	f, err := sender.Make(c.want(), sender.Key{Name: "rk-1", Mode: kifile.ModeECB, Value: secret.New(bytes.Clone(testRK))}, rand.Reader)
	if err != nil {
		c.t.Fatal(err)
	}
	rows := c.rows(f)
	for _, s := range spoil {
		s(rows)
	}
	return c.filed(rows)
}

// filed is a file of these rows.
func (c *customerRig) filed(rows []kifile.Row) *kifile.File {
	c.t.Helper()
	f, err := kifile.New(c.want(), kifile.Under{Key: "rk-1", Mode: kifile.ModeECB}, rows)
	if err != nil {
		c.t.Fatal(err)
	}
	return f
}

func (c *customerRig) want() kifile.Want {
	return kifile.Want{Order: "O-1", ICCIDs: c.release.ICCIDs, IMSIs: c.release.IMSIs, Total: c.release.Units()}
}

// rows are those of a file.
func (c *customerRig) rows(f *kifile.File) []kifile.Row {
	c.t.Helper()
	rows := make([]kifile.Row, c.release.Units())
	for u := range rows {
		var err error
		if rows[u], err = f.Row(perso.Unit(u)); err != nil {
			c.t.Fatal(err)
		}
	}
	return rows
}

func (c *customerRig) root(f *kifile.File) [32]byte {
	c.t.Helper()
	tree, err := f.Tree()
	if err != nil {
		c.t.Fatal(err)
	}
	root, err := tree.Root()
	if err != nil {
		c.t.Fatal(err)
	}
	return root
}

// row is what the ledger sends along with an item.
func (c *customerRig) row(f *kifile.File, u perso.Unit) *bus.CustomerKi {
	c.t.Helper()
	tree, err := f.Tree()
	if err != nil {
		c.t.Fatal(err)
	}
	pages, err := f.Pages(tree)
	if err != nil {
		c.t.Fatal(err)
	}
	row, proof, err := pages[0].Prove(u)
	if err != nil {
		c.t.Fatal(err)
	}
	return &bus.CustomerKi{Row: row.Bytes(), Proof: proof}
}

// ki is the operator's own knowledge of a unit's Ki.
func (c *customerRig) ki(u perso.Unit) []byte {
	c.t.Helper()
	row, err := c.file.Row(u)
	if err != nil {
		c.t.Fatal(err)
	}
	block, err := aes.NewCipher(testRK)
	if err != nil {
		c.t.Fatal(err)
	}
	ki := make([]byte, 16)
	block.Decrypt(ki, row.EKI)
	return ki
}

// export asks for the output of a good unit, or for its EIS keys.
func (c *customerRig) export(u *unit, outcome int64, row *bus.CustomerKi) ([]bus.WrappedKey, error) {
	q := bus.ExportRequest{Lot: testLot, Kind: bus.ExportOutput, Receiver: "auc-x", Checkpoint: c.note()}
	q.Items = []bus.ExportItem{{Claim: c.log.prove(u.seq), Outcome: c.log.prove(outcome), Customer: row}}
	reply, err := c.vault.Export(ctx, q)
	if err != nil {
		return nil, err
	}
	return reply.Results[0].Keys, nil
}

// The operator's Ki is on the card, and goes back to him under the transport key; the vault stores nothing for it, also when it
// starts anew.
func TestCustomerKi(t *testing.T) {
	t.Parallel()
	c := newCustomerRig(t, asReleased)
	u := c.claimUnit(newCard(t, testKMC, 1), 1, 0)
	if got := u.session(); !got.Good || !bytes.Equal(u.card.ki, c.ki(1)) {
		t.Fatalf("%+v, failed %+v, or another Ki on the card", got, got.Failed)
	}
	if u.stored.Ki != nil {
		t.Errorf("the claim keeps a Ki: %x", u.stored.Ki)
	}
	outcome := u.good()
	for range 2 {
		keys, err := c.export(u, outcome, c.row(c.file, 1))
		if err != nil {
			t.Fatal(err)
		}
		ki, kcv := decrypt(t, testK4, keys[0].Value), scp.KCV(c.ki(1))
		opc, err := aka.OPc(ki, testOP)
		if err != nil || !bytes.Equal(ki, c.ki(1)) || !bytes.Equal(keys[0].KCV, kcv[:]) || !bytes.Equal(decrypt(t, testK4, keys[1].Value), opc[:]) || !bytes.Equal(opc[:], u.card.opc) {
			t.Errorf("exported %+v, %v", keys[:2], err)
		}
		c.reopenVault()
		c.openLot()
	}
	if bytes.Contains(c.said.Bytes(), c.ki(1)) {
		t.Error("the log holds a Ki")
	}
}

// An operator who wants no Ki back gets the check value, OPc and codes.
func TestCustomerKiOmitted(t *testing.T) {
	t.Parallel()
	c := newCustomerRig(t, func(k *statement.CustomerKi) { k.Output = string(order.KiOmitted) })
	u := c.claimUnit(newCard(t, testKMC, 1), 0, 0)
	if got := u.session(); !got.Good {
		t.Fatalf("%+v", got)
	}
	keys, err := c.export(u, u.good(), c.row(c.file, 0))
	if err != nil {
		t.Fatal(err)
	}
	kcv := scp.KCV(c.ki(0))
	opc, err := aka.OPc(c.ki(0), testOP)
	if err != nil || len(keys) != 7+3 || keys[9].Kind != "aes-128" || keys[0].Name != "KI" || keys[0].Value != nil || !bytes.Equal(keys[0].KCV, kcv[:]) || keys[1].Name != "OPC" || !bytes.Equal(decrypt(t, testK4, keys[1].Value), opc[:]) {
		t.Errorf("exported %+v, %v", keys, err)
	}
	for _, k := range keys {
		if k.Value != nil && bytes.Equal(decrypt(t, testK4, k.Value), c.ki(0)) {
			t.Errorf("Ki leaves as %s", k.Name)
		}
	}
}

// A unit that is made again has the Ki that its ICCID and IMSI have in the operator's AuC; everything else of it is new.
func TestCustomerKiOfTheNextGeneration(t *testing.T) {
	t.Parallel()
	c := newCustomerRig(t, asReleased)
	first := c.claimUnit(newCard(t, testKMC, 1), 0, 0)
	first.serve(first.begin())
	loss := first.good(func(o *entry.Outcome) {
		o.Verdict, o.Reason, o.Receipt = perso.VerdictRejectLive, perso.ReasonContact, [32]byte{}
	})
	u := c.claimUnit(newCard(t, testKMC, 2), 0, 1, func(c *entry.Claim) { c.Gen, c.Loss = 1, uint64(loss) })
	u.loss = &loss
	if got := u.session(); !got.Good || !bytes.Equal(u.card.ki, c.ki(0)) {
		t.Fatalf("%+v", got)
	}
}

// Whoever owns the ledger can give the vault no row but the unit's own of the released file: neither for a card nor for an
// export.
func TestCustomerRowsRefused(t *testing.T) {
	t.Parallel()
	c := newCustomerRig(t, asReleased)
	good := c.claimUnit(newCard(t, testKMC, 1), 0, 0)
	if got := good.session(); !got.Good {
		t.Fatalf("%+v", got)
	}
	outcome := good.good()
	rows := c.rows(c.file)
	rows[0], rows[1] = rows[1], rows[0]
	swapped := c.filed(rows)
	edited := func(f func(*bus.CustomerKi)) func(perso.Unit) *bus.CustomerKi {
		return func(u perso.Unit) *bus.CustomerKi {
			k := c.row(c.file, u)
			f(k)
			return k
		}
	}
	chip := byte(2)
	for name, customer := range map[string]func(perso.Unit) *bus.CustomerKi{
		"no row":                  func(perso.Unit) *bus.CustomerKi { return nil },
		"the row of another unit": func(u perso.Unit) *bus.CustomerKi { return c.row(c.file, (u+1)%3) },
		"another file's":          func(u perso.Unit) *bus.CustomerKi { return c.row(c.sent(), u) },
		"rows that were swapped":  func(u perso.Unit) *bus.CustomerKi { return c.row(swapped, u) },
		"another check value":     edited(func(k *bus.CustomerKi) { k.Row[0] ^= 1 }),
		"another Ki":              edited(func(k *bus.CustomerKi) { k.Row[18] ^= 1 }),
		"a row cut short":         edited(func(k *bus.CustomerKi) { k.Row = k.Row[:18] }),
		"no proof":                edited(func(k *bus.CustomerKi) { k.Proof = nil }),
		"another's proof":         edited(func(k *bus.CustomerKi) { k.Proof[0][0] ^= 1 }),
		"a proof without end":     edited(func(k *bus.CustomerKi) { k.Proof = make(bus.Proof, 60) }),
	} {
		c.customer = customer
		before := c.said.Len()
		u := c.claimUnit(newCard(t, testKMC, chip), 1, 1)
		item := u.begin()
		if got := u.serve(item); !strings.Contains(got.Refused, "row of") || got.Window != nil {
			t.Errorf("%s: %+v", name, got)
		}
		if !strings.Contains(c.said.String()[before:], "act refused") {
			t.Errorf("%s: the log says %q", name, c.said.String()[before:])
		}
		before = c.said.Len()
		if keys, err := c.export(good, outcome, customer(0)); code(err) != bus.FaultRefused || keys != nil || !strings.Contains(c.said.String()[before:], "export refused") {
			t.Errorf("%s is exported: %+v, %v, the log says %q", name, keys, err, c.said.String()[before:])
		}
	}
	derived := newRig(t)
	derived.openLot()
	derived.customer = func(u perso.Unit) *bus.CustomerKi { return c.row(c.file, u) }
	u := derived.claimUnit(newCard(t, testKMC, 1), 0, 0)
	if got := u.serve(u.begin()); !strings.Contains(got.Refused, `lot of source "derived"`) {
		t.Errorf("a row for a lot that has none: %+v", got)
	}
}

// What the operator did wrong is found before a card has anything of it: a check value, a Ki of one byte repeated, a key that is
// not his.
func TestCustomerKiDoesNotFit(t *testing.T) {
	t.Parallel()
	weak := func(rows []kifile.Row) {
		block, err := aes.NewCipher(testRK)
		if err != nil {
			t.Fatal(err)
		}
		ki := bytes.Repeat([]byte{9}, 16)
		rows[1].KCV = scp.KCV(ki)
		block.Encrypt(rows[1].EKI, ki)
	}
	for name, x := range map[string]struct {
		change func(*statement.CustomerKi)
		spoil  func([]kifile.Row)
		want   string
		others bool // rows of other units are good
	}{
		"check value":         {asReleased, func(rows []kifile.Row) { rows[1].KCV[2] ^= 1 }, "check value", true},
		"weak":                {asReleased, weak, "weak", true},
		"another receive key": {func(k *statement.CustomerKi) { k.ReceiveKey = "rk-2" }, func([]kifile.Row) {}, "check value", false},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCustomerRig(t, x.change, x.spoil)
			u := c.claimUnit(newCard(t, testKMC, 1), 1, 0)
			got := u.session()
			if !strings.Contains(got.Refused, x.want) || u.card.ki != nil || !strings.Contains(c.said.String(), "act refused") {
				t.Errorf("%+v, Ki on the card %x", got, u.card.ki)
			}
			if bytes.Contains(c.said.Bytes(), c.ki(1)) || strings.Contains(got.Refused, string(c.ki(1))) {
				t.Error("a Ki is told")
			}
			if other := c.claimUnit(newCard(t, testKMC, 2), 0, 1).session(); other.Good != x.others {
				t.Errorf("another unit: %+v", other)
			}
		})
	}
}

// Before there is a lot the vault says which Ki do not fit, and no more.
func TestCheckKi(t *testing.T) {
	t.Parallel()
	c := newCustomerRig(t, asReleased)
	q := bus.CheckKiRequest{ReceiveKey: "rk-1", Mode: "AES-ECB"}
	for u := range perso.Unit(3) {
		q.Rows = append(q.Rows, c.row(c.file, u).Row)
	}
	before := c.token.Stats()[hsm.VerbDecryptECB]
	if a, err := c.vault.CheckKi(ctx, q); err != nil || a.Wrong != nil {
		t.Errorf("good rows: %+v, %v", a, err)
	}
	if n := c.token.Stats()[hsm.VerbDecryptECB] - before; n != 1 {
		t.Errorf("%d operations for one request", n)
	}
	changed := func(f func(*bus.CheckKiRequest)) bus.CheckKiRequest {
		x := q
		x.Rows = append(bus.Chunks{}, q.Rows...)
		f(&x)
		return x
	}
	a, err := c.vault.CheckKi(ctx, changed(func(q *bus.CheckKiRequest) {
		q.Rows[1] = bytes.Clone(q.Rows[1])
		q.Rows[1][2] ^= 1
	}))
	if err != nil || !reflect.DeepEqual(a.Wrong, []uint16{1}) || !strings.Contains(c.said.String(), "1 of 3 under") {
		t.Errorf("a wrong check value: %+v, %v", a, err)
	}
	if a, err := c.vault.CheckKi(ctx, changed(func(q *bus.CheckKiRequest) { q.ReceiveKey = "rk-2" })); err != nil || len(a.Wrong) != 3 {
		t.Errorf("another key: %+v, %v", a, err)
	}
	for name, x := range map[string]struct {
		q    bus.CheckKiRequest
		code bus.FaultCode
	}{
		"no such key": {changed(func(q *bus.CheckKiRequest) { q.ReceiveKey = "rk-9" }), bus.FaultRefused},
		"no key name": {changed(func(q *bus.CheckKiRequest) { q.ReceiveKey = "" }), bus.FaultBadMessage},
		"no mode":     {changed(func(q *bus.CheckKiRequest) { q.Mode = "DES" }), bus.FaultBadMessage},
		"no rows":     {changed(func(q *bus.CheckKiRequest) { q.Rows = nil }), bus.FaultBadMessage},
		"a long Ki":   {changed(func(q *bus.CheckKiRequest) { q.Rows[0] = make([]byte, 35) }), bus.FaultBadMessage},
		"a short row": {changed(func(q *bus.CheckKiRequest) { q.Rows[0] = make([]byte, 18) }), bus.FaultBadMessage},
		"too many":    {changed(func(q *bus.CheckKiRequest) { q.Rows = make(bus.Chunks, bus.MaxBatch+1) }), bus.FaultBadMessage},
	} {
		if a, err := c.vault.CheckKi(ctx, x.q); code(err) != x.code || a.Wrong != nil {
			t.Errorf("%s: %+v, %v", name, a, err)
		}
	}
}

// A receive key that is away is no verdict on a card: the act is asked again.
func TestCustomerKiWithoutItsKey(t *testing.T) {
	t.Parallel()
	c := newCustomerRig(t, asReleased)
	c.token.(*hsmfake.Token).Inject(func(_ uint64, v hsm.Verb, _ hsm.Key) hsmfake.Fault {
		if v == hsm.VerbDecryptECB {
			return hsmfake.Fault{Before: hsm.ErrDevice}
		}
		return hsmfake.Fault{}
	})
	u := c.claimUnit(newCard(t, testKMC, 1), 0, 0)
	item := u.begin()
	item.Claim, item.Act = c.log.prove(u.seq), c.log.prove(item.Act.Seq)
	q := bus.ServeRequest{Lot: testLot, Checkpoint: c.note(), Items: []bus.ServeItem{item}}
	if reply, err := c.vault.Serve(ctx, q); err == nil {
		t.Errorf("served without the key: %+v", reply)
	}
	c.token.(*hsmfake.Token).Inject(nil)
	c.openLot()
	if got := u.serve(item); len(got.Window) == 0 {
		t.Errorf("with the key: %+v", got)
	}
}

// With the lot's key the vault's way to its Ki is gone: what the ledger still has does not open here any more.
func TestDestroyCustomerKi(t *testing.T) {
	t.Parallel()
	g := newGraveOf(t, func(r *statement.Release) {
		r.KiSource = string(order.KiCustomer)
		r.Customer = statement.CustomerKi{Root: [32]byte{1}, Rows: 3, ReceiveKey: "rk-1", Mode: string(kifile.ModeECB), Output: string(order.KiWrapped)}
	})
	a, err := g.vault.DestroyLot(ctx, g.request())
	if err != nil {
		t.Fatal(err)
	}
	s, err := statement.DecodeSigned(a.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	if d, err := statement.ParseDestroyed(s.Body); err != nil || len(d.Keys) != 1 {
		t.Errorf("certificate of %q, %v", d.Keys, err)
	}
	if _, err := g.vault.OpenLot(ctx, g.openRequest()); code(err) != bus.FaultRefused {
		t.Errorf("opened: %v", err)
	}
	if seal, err := kisource.LotSealKey(perso.EnvTest, testLot); err != nil {
		t.Fatal(err)
	} else if has, err := g.token.Has(ctx, seal); has || err != nil {
		t.Errorf("a lot without random Ki has a seal key, %v", err)
	}
}
