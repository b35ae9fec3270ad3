package attack

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"strings"
	"testing"

	"github.com/persoline/persoline/ledger/ledgertest"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/order"
	"github.com/persoline/persoline/perso/order/kifile"
	"github.com/persoline/persoline/perso/order/kifile/sender"
	"github.com/persoline/persoline/perso/secret"
)

// The operator's receive key. The attacker of these tests has that, too.
const (
	receiveKey  perso.Name = "rk-provider-demo"
	receiveByte byte       = 4
)

// draw is a file of Ki, by whoever has the receive key.
func (s *site) draw(want kifile.Want) *kifile.File {
	s.Helper()
	f, err := sender.Make(want, sender.Key{Name: receiveKey, Mode: kifile.ModeECB, Value: secret.New(bytes.Repeat([]byte{receiveByte}, 16))}, rand.Reader)
	s.must(err)
	return f
}

// wanted is what the released order wants of a file.
func (s *site) wanted() kifile.Want {
	r := s.release
	return kifile.Want{Order: order.ID(r.Order), ICCIDs: r.ICCIDs, IMSIs: r.IMSIs, Total: r.Units()}
}

// sendKi sends the Ki that an order wants, none for one that wants none.
func (s *site) sendKi(file []byte) *bus.KiFileRef {
	s.Helper()
	o, err := order.Parse(bytes.NewReader(file))
	s.must(err)
	if o.KiSource != order.KiCustomer {
		return nil
	}
	s.ki = s.draw(kifile.Want{Order: o.ID, ICCIDs: o.ICCID, IMSIs: o.IMSI, Total: o.Total()})
	text, err := s.ki.Encode()
	s.must(err)
	ref := bus.KiFileRef{Hash: sha256.Sum256(text), Size: uint64(len(text))}
	_, err = s.ledger.KiPart(s.ctx, bus.KiPartRequest{File: ref, Data: text})
	s.must(err)
	return &ref
}

func newCustomerSite(t *testing.T) *site {
	t.Helper()
	db, err := ledgertest.Memory(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s := bareSite(t, db)
	s.orderLot(map[string]any{"ki_source": "customer"})
	return s
}

// page is the one page of a file with some of its rows changed.
func (s *site) page(f *kifile.File, change func([]kifile.Row)) kifile.Page {
	s.Helper()
	rows := make([]kifile.Row, f.Rows())
	for u := range rows {
		var err error
		rows[u], err = f.Row(perso.Unit(u))
		s.must(err)
	}
	change(rows)
	f, err := kifile.New(s.wanted(), kifile.Under{Key: receiveKey, Mode: kifile.ModeECB}, rows)
	s.must(err)
	tree, err := f.Tree()
	s.must(err)
	pages, err := f.Pages(tree)
	s.must(err)
	return pages[0]
}

// TestCustomerKi: whoever writes the ledger's rows, even with the operator's own key, puts no Ki on a card but the one that
// the officers released for it.
func TestCustomerKi(t *testing.T) {
	t.Parallel()
	honest := newCustomerSite(t)
	honest.makeGood(newChip(t, 1))
	honest.restart()
	honest.makeGood(newChip(t, 2))
	for name, c := range map[string]struct {
		attack func(*site)
		want   string
	}{
		"two units' Ki exchanged": {func(s *site) {
			s.sql(`UPDATE customer_ki_page SET eki = $1`, s.page(s.ki, func(r []kifile.Row) { r[0], r[1] = r[1], r[0] }).Rows())
		}, "not the released one"},
		"Ki that the attacker knows": {func(s *site) {
			mine := s.page(s.ki, func(r []kifile.Row) { r[0], _ = s.draw(s.wanted()).Row(0) })
			s.sql(`UPDATE customer_ki_page SET eki = $1, hashes = $2`, mine.Rows(), mine.Upper())
		}, "not the released one"},
		"and its root put into what was signed": {func(s *site) {
			mine := s.draw(s.wanted())
			tree, err := mine.Tree()
			s.must(err)
			root, err := tree.Root()
			s.must(err)
			page := s.page(mine, func([]kifile.Row) {})
			s.sql(`UPDATE customer_ki_page SET eki = $1`, page.Rows())
			forged := s.release
			forged.Customer.Root = root
			body, err := forged.Encode()
			s.must(err)
			s.sql(`UPDATE statement SET signed = $1 WHERE kind = 'release'`, bytes.Replace(s.signed.Encode(), s.signed.Body, body, 1))
			s.restart()
		}, "not the one that the lot was released by"},
		"another receive key put into what was signed": {func(s *site) {
			s.sql(`UPDATE statement SET signed = $1 WHERE kind = 'release'`, bytes.Replace(s.signed.Encode(), []byte("receive_key "+string(receiveKey)), []byte("receive_key rk-mine"), 1))
			s.restart()
		}, "not the one that the lot was released by"},
		"no Ki": {func(s *site) { s.sql(`DELETE FROM customer_ki_page`) }, "Ki is not in the ledger"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newCustomerSite(t)
			c.attack(s)
			if said := s.wantNotGood(newChip(t, 1)); !strings.Contains(said, c.want) {
				t.Errorf("the attack ends with %q, want %q", said, c.want)
			}
		})
	}
}

// lay brings a file before the vault as a ledger does.
func (s *site) lay(f *kifile.File) (bus.KeepKiReply, error) {
	s.Helper()
	q := bus.CheckKiRequest{ReceiveKey: f.ReceiveKey, Mode: string(f.Mode), Order: string(f.Order)}
	for u := range f.Rows() {
		row, err := f.Row(perso.Unit(u))
		s.must(err)
		q.Rows = append(q.Rows, row.Bytes())
	}
	_, err := s.vault.CheckKi(s.ctx, q)
	s.must(err)
	return s.vault.KeepKi(s.ctx, bus.KeepKiRequest{Order: string(f.Order), Root: s.rootOf(f), Rows: f.Rows()})
}

func (s *site) rootOf(f *kifile.File) [32]byte {
	s.Helper()
	tree, err := f.Tree()
	s.must(err)
	root, err := tree.Root()
	s.must(err)
	return root
}

// TestOneKiTwice (I1): a ledger in an enemy's hand shows officers a second lot with a Ki that another lot has, and they sign it, since
// they see no Ki. The vault opens it for nothing that the ledger does: it knows the Ki of each lot itself, for ever.
func TestOneKiTwice(t *testing.T) {
	t.Parallel()
	s := newCustomerSite(t)
	r := s.release
	r.Lot, r.Order, r.EIDs, r.ICCIDs, r.IMSIs = "LOT-2", "OTHER-2", behind(t, r.EIDs), behind(t, r.ICCIDs), behind(t, r.IMSIs)
	want := kifile.Want{Order: "OTHER-2", ICCIDs: r.ICCIDs, IMSIs: r.IMSIs, Total: r.Units()}
	rows := make([]kifile.Row, r.Units())
	fresh := s.draw(want)
	for u := range rows {
		var err error
		rows[u], err = fresh.Row(perso.Unit(u))
		s.must(err)
	}
	stolen, err := s.ki.Row(1)
	s.must(err)
	rows[2] = stolen
	f, err := kifile.New(want, kifile.Under{Key: receiveKey, Mode: kifile.ModeCBC}, rows) // another mode, the same Ki
	s.must(err)
	open := func(root [32]byte, mode kifile.Mode) error {
		q := r
		q.Customer.Root, q.Customer.Mode = root, string(mode)
		_, err := s.vault.OpenLot(s.ctx, s.opening(s.sign(q, "ann", "bob")))
		return err
	}
	refused(t, open(s.rootOf(f), kifile.ModeCBC), "never held against")
	a, err := s.lay(f)
	if err != nil || a.Count != 1 || a.Same[0] != (bus.SameKi{Row: 2, Order: s.release.Order, There: 1}) {
		t.Errorf("laid before the vault: %+v, %v", a, err)
	}
	refused(t, open(s.rootOf(f), kifile.ModeCBC), "never held against")
	refused(t, open(s.rootOf(s.ki), kifile.ModeECB), "never held against") // the other lot's file, as it is
	r.Order = s.release.Order
	refused(t, open(s.rootOf(s.ki), kifile.ModeECB), "has Ki of lot")
	r.Order = "OTHER-2"
	_, err = s.vault.DropKi(s.ctx, bus.DropKiRequest{Order: s.release.Order})
	refused(t, err, "was released with its Ki")
	s.startVault()
	if a, err := s.lay(f); err != nil || a.Count != 1 {
		t.Errorf("before a vault that was restarted: %+v, %v", a, err)
	}
	if a, err := s.lay(fresh); err != nil || a.Count != 0 {
		t.Errorf("an honest file: %+v, %v", a, err)
	}
	if err := open(s.rootOf(fresh), kifile.ModeECB); err != nil {
		t.Errorf("an honest lot: %v", err)
	}
}
