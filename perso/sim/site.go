package sim

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/persoline/persoline/keygen"
	"github.com/persoline/persoline/keygen/ceremony"
	"github.com/persoline/persoline/ledger"
	"github.com/persoline/persoline/ledger/ledgertest"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/order"
	"github.com/persoline/persoline/perso/product"
	"github.com/persoline/persoline/perso/profile"
	"github.com/persoline/persoline/perso/secret"
	"github.com/persoline/persoline/perso/statement"
)

const (
	siteName  = "sim"
	vaultName = "vault-1"
	lineName  = "line-1"
	logOrigin = "persoline.example/sim"
)

// site is what never changes: keys, certificates, officers, catalogues.
type site struct {
	token    Token
	made     *ceremony.Made
	register statement.Signed
	officers []officer
	kmc      []byte
	ki       [][]byte // of each unit, of a lot whose Ki are the operator's own
	cat      ledger.Catalogues
	product  product.Product
	lot      perso.Name
	release  statement.Release
	signed   []byte // release
	packages [][]byte
	work     ledger.Work
	log      *slog.Logger
}

type officer struct {
	id  perso.Name
	key ed25519.PrivateKey
}

// build makes everything up to the released lot. Nothing goes wrong yet.
func (w *World) build() error {
	w.check = newChecker(w)
	w.vault = &vaultHost{w: w, disk: newVaultDisk(w)}
	w.ledger = &ledgerHost{w: w}
	w.site = &site{log: slog.New(slog.DiscardHandler)}
	for _, step := range []struct {
		what string
		do   func(context.Context) error
	}{
		{"product", w.product}, {"ceremony", w.ceremony}, {"ledger", w.genesis}, {"policy", w.policy}, {"line", w.newLine}, {"goods-in", w.firstReel}, {"order", w.order},
	} {
		if err := step.do(context.Background()); err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
	}
	return nil
}

func (w *World) ceremony(ctx context.Context) (err error) {
	s, random := w.site, w.stream()
	s.token = w.cfg.NewToken(w.stream(), w.vault.hsmFails)
	s.kmc = make([]byte, 16)
	secrets := make([]secret.Bytes, 4)
	for i := range secrets {
		b := make([]byte, 16)
		if _, err := io.ReadFull(random, b); err != nil {
			return err
		}
		if i == 0 {
			copy(s.kmc, b)
		}
		secrets[i] = secret.New(b)
	}
	plan := ceremony.Plan{Env: perso.EnvTest, Site: siteName, Vault: vaultName, Origin: logOrigin,
		EUM: ceremony.EUM{Name: "Demonstration EUM", Country: "DE", OID: "2.999.1.1", IIN: "89049099"}, Dir: filepath.Join(w.cfg.Dir, "vault"), Now: w.clock(), Rand: random,
		KMCs:          map[perso.Name]secret.Bytes{s.product.Factory.KMC: secrets[0]},
		TransportKeys: w.operationalKeys("tk-auc-north", 32, map[perso.Name]secret.Bytes{"tk-auc-demo": secrets[1]}),
		WrapKeys:      map[perso.Name]secret.Bytes{"wk-smsr-demo": secrets[2]},
		ReceiveKeys:   w.receiveKeys(),
		OPs:           w.operationalKeys("op-north", 16, map[perso.Name]secret.Bytes{"op-demo-1": secrets[3]})}
	roles := []statement.Role{statement.RoleProduction, statement.RoleSecurity}
	if w.policed() {
		roles = append(roles, statement.RoleQuality)
	}
	for i, role := range roles {
		seed := make([]byte, ed25519.SeedSize)
		if _, err := io.ReadFull(random, seed); err != nil {
			return err
		}
		o := officer{id: perso.Name(fmt.Sprintf("officer-%d", i)), key: ed25519.NewKeyFromSeed(seed)}
		if role == statement.RoleQuality {
			w.quality = &quality{w: w, self: o, bad: map[*chip]bool{}}
		} else {
			s.officers = append(s.officers, o)
		}
		plan.Officers = append(plan.Officers, statement.Officer{ID: o.id, Person: "Person " + string(role), Role: role, Key: o.key.Public().(ed25519.PublicKey)})
	}
	if s.made, err = ceremony.MakeTest(ctx, s.token, plan); err != nil {
		return err
	}
	s.register = w.sign(s.made.Register.Body)
	if q := w.quality; q != nil {
		s.register.Sign(q.self.id, q.self.key)
	}
	return w.vault.start()
}

// sign has both officers sign.
func (w *World) sign(body []byte) statement.Signed {
	signed := statement.Signed{Body: body}
	for _, o := range w.site.officers {
		signed.Sign(o.id, o.key)
	}
	return signed
}

// LoadCatalogues reads what the folder deploy of the repository says of products, partners and profiles. Worlds only read it: many may
// have the same.
func LoadCatalogues(deploy string) (ledger.Catalogues, error) {
	folder := func(name string) fs.FS { return os.DirFS(filepath.Join(deploy, name)) }
	products, err := product.LoadDir(folder("products"))
	if err != nil {
		return ledger.Catalogues{}, err
	}
	partners, err := order.LoadSite(folder("partners"))
	if err != nil {
		return ledger.Catalogues{}, err
	}
	return ledger.Catalogues{Order: order.Catalogue{Products: products, Site: partners, Profiles: profile.Open(folder("profiles"))},
		Scripts: folder("products"), CertBytes: keygen.CertValueBytes}, nil
}

func (w *World) product(context.Context) error {
	w.site.cat = w.cfg.Catalogues
	p, ok := w.site.cat.Order.Products.Get(product.SKU(cmp.Or(w.cfg.Product, "m2m-200s-mff2")))
	if !ok {
		return fmt.Errorf("the product is not in the catalogue")
	}
	w.site.product = p
	return nil
}

func (w *World) genesis(ctx context.Context) error {
	db, err := ledgertest.Memory(ctx)
	if err != nil {
		return err
	}
	w.ledger.disk = db
	m := w.site.made
	g := entry.Genesis{Env: perso.EnvTest, Site: siteName, Origin: logOrigin, At: w.clock(), Register: m.RegisterPin, LogKey: m.LogKey, StmtKey: m.StmtKey,
		EUMCert: sha256.Sum256(m.EUMCert), EISCert: sha256.Sum256(m.EISCert)}
	if err := ledger.Init(ctx, db, g, []statement.Signed{w.site.register}); err != nil {
		return err
	}
	return w.ledger.start()
}

// euicc says whether the product has EIDs, certificates and an SM-SR.
func (w *World) euicc() bool { return w.site.product.Family.EUICC() }

// operational says whether the chips have a second profile.
func (w *World) operational() bool {
	return w.cfg.Operational && w.site.product.AIDs.ISDP2 != product.AID{}
}

// operationalKeys adds a key of the second provider; none where no lot needs one, so that other runs stay as they were.
func (w *World) operationalKeys(name perso.Name, size int, keys map[perso.Name]secret.Bytes) map[perso.Name]secret.Bytes {
	if w.operational() {
		keys[name] = secret.New(bytes.Repeat([]byte{0x4E}, size))
	}
	return keys
}

// order takes an order in and releases it.
func (w *World) order(ctx context.Context) error {
	fields := map[string]any{"version": 1, "order": "SIM-1", "customer": "Demonstration Meters", "product": string(w.site.product.SKU), "key_origin": string(w.site.product.KeyOrigin),
		"quantity": w.cfg.Units, "spares": w.cfg.Spares, "remake": w.cfg.Remake, "ki_source": cmp.Or(w.cfg.KiSource, "derived"),
		"eid": map[string]any{"first": "89049099002000000000000000000080"}, "iccid": map[string]any{"first": "8988001020001000004"},
		"imsi": map[string]any{"first": "001010200100000", "mnc_digits": 2}, "auth": map[string]any{"algorithm": "milenage", "op_key": "op-demo-1"},
		"transport_key": "tk-auc-demo", "sm_sr": "smsr-demo", "bootstrap_provider": "provider-demo", "delivery": map[string]any{"target": "auc-demo"}}
	if !w.euicc() {
		for _, name := range []string{"eid", "sm_sr", "key_origin"} {
			delete(fields, name)
		}
	}
	if w.operational() {
		fields["operational"] = map[string]any{"provider": "provider-north", "iccid": "allocate", "imsi": "allocate",
			"auth": map[string]any{"algorithm": "milenage", "op_key": "op-north"}, "transport_key": "tk-auc-north", "delivery": map[string]any{"target": "auc-north"}}
	}
	file, err := json.Marshal(fields)
	if err != nil {
		return err
	}
	ki, err := w.sendKi(ctx, file)
	if err != nil {
		return err
	}
	a, err := w.ledger.core.Submit(ctx, bus.SubmitRequest{File: file, Ki: ki})
	if err != nil || len(a.Faults)+len(a.KiFaults) > 0 {
		return fmt.Errorf("submitting: %v %v %w", a.Faults, a.KiFaults, err)
	}
	d, err := w.ledger.core.Draft(ctx, bus.DraftRequest{Order: a.Order})
	if err != nil {
		return err
	}
	o, err := order.Parse(bytes.NewReader(file))
	if err != nil {
		return err
	}
	packages, err := w.site.cat.Order.Packages(o)
	if err != nil {
		return err
	}
	for _, p := range packages {
		w.site.packages = append(w.site.packages, p.Bytes)
	}
	w.site.signed = w.sign(d.Body).Encode()
	if w.site.release, err = statement.ParseRelease(d.Body); err != nil {
		return err
	}
	r, err := w.ledger.core.Release(ctx, bus.SignedRequest{Signed: bytes.Clone(w.site.signed)})
	if err != nil {
		return err
	}
	w.site.lot = r.Lot
	w.check.dirty = true
	work, err := w.ledger.core.WorkOrders(ctx)
	if err != nil || len(work) != 1 {
		return fmt.Errorf("%d work orders: %w", len(work), err)
	}
	w.site.work = work[0]
	return nil
}
