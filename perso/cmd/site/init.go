package site

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/persoline/persoline/hsm"
	"github.com/persoline/persoline/hsm/softhsm"
	"github.com/persoline/persoline/keygen/ceremony"
	"github.com/persoline/persoline/ledger"
	"github.com/persoline/persoline/lineside/journal"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus/natsbus"
	"github.com/persoline/persoline/perso/checkpoint"
	"github.com/persoline/persoline/perso/cmd/cli/keyfile"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/order"
	"github.com/persoline/persoline/perso/order/k4"
	"github.com/persoline/persoline/perso/product"
	"github.com/persoline/persoline/perso/secret"
	"github.com/persoline/persoline/perso/statement"
)

// InitPlan says what test site to make.
type InitPlan struct {
	Dir       string
	Name      perso.Name
	Lines     []Line
	Vaults    int    // 0 is one
	Catalogue string // folder with products and partners to copy
	Database  *Database
}

// Partners' keys that a test site makes up, as if the chip maker, the operator and the SM-SR had sent them. They are kept
// in the folder "partners" for those partners' side of a test: nothing in the factory reads them.
const partnersDir = "partners"

// keyBytes is the length of AES-128 keys and of OP.
const keyBytes = 16

// Init makes a test site: token, keys, throw-away officers, certificates, ledger. It refuses a folder that exists.
func Init(ctx context.Context, p InitPlan, log *slog.Logger) (s *Site, err error) {
	vaults := numberedVaults(p.Vaults)
	if err := errors.Join(checkLines(p.Lines), checkVaults(vaults, p.Lines)); err != nil {
		return nil, fmt.Errorf("making site %q: %w", p.Dir, err)
	}
	if _, err := catalogues(p.Catalogue); err != nil { // before anything is made: a folder that is half a site is in the way
		return nil, fmt.Errorf("making site %q: reading the catalogue %q: %w", p.Dir, p.Catalogue, err)
	}
	if err := errors.Join(p.Database.validate(), p.Database.checkVacant(ctx, p.Dir)); err != nil {
		return nil, fmt.Errorf("making site %q: %w", p.Dir, err)
	}
	if err := os.Mkdir(p.Dir, 0o755); errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("making site %q: a folder or file of that name is there already; choose another", p.Dir)
	} else if err != nil {
		return nil, fmt.Errorf("making site %q: %w", p.Dir, err)
	}
	dir, err := filepath.Abs(p.Dir)
	if err != nil {
		return nil, fmt.Errorf("making site %q: %w", p.Dir, err)
	}
	listen, err := freeAddress()
	if err != nil {
		return nil, err
	}
	s = &Site{Dir: dir, Config: Config{Version: configVersion, Env: perso.EnvTest, Site: p.Name, Origin: "persoline.example/" + string(p.Name) + "/log",
		Listen: listen, Lines: p.Lines, Vaults: vaults, Database: p.Database, Token: "persoline-" + string(p.Name)}}
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"making folders", s.makeDirs},
		{"copying the catalogue", func() error { return s.copyCatalogue(p.Catalogue) }},
		{"making the lines' journals", s.makeJournals},
		{"making the vaults' folders", s.makeVaults},
		{"making bus users", func() error { _, err := natsbus.GenerateUsers(s.busDir(), s.lineNames()); return err }},
		{"holding the key ceremony", func() error { return s.ceremony(ctx, log) }},
	} {
		if err := step.do(); err != nil {
			return nil, fmt.Errorf("making site %q: %s: %w", p.Dir, step.what, err)
		}
	}
	return s, nil
}

// Catalogue's folders: products with their scripts, and the partners whom the site delivers to. A site uses nothing else of
// the folder that they come from.
const (
	catalogueProducts = "products"
	cataloguePartners = "partners"
	catalogueProfiles = "profiles" // may be missing: then no product is made that loads a package
)

func (s *Site) copyCatalogue(from string) error {
	var errs []error
	for _, d := range []string{catalogueProducts, cataloguePartners, catalogueProfiles} {
		if _, err := os.Stat(filepath.Join(from, d)); d == catalogueProfiles && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		errs = append(errs, os.CopyFS(s.path("catalogue", d), os.DirFS(filepath.Join(from, d))))
	}
	return errors.Join(errs...)
}

func (s *Site) makeDirs() error {
	var errs []error
	for _, d := range []string{"bus", "vault", "vault/token", "ledger", "line", "officers", partnersDir, "out", "log"} {
		errs = append(errs, os.Mkdir(s.path(d), 0o700))
	}
	return errors.Join(errs...)
}

// makeJournals makes each line's journal: an explicit act, since a line that lost its journal could use a presentation
// number twice.
func (s *Site) makeJournals() error {
	var errs []error
	for _, l := range s.Config.Lines {
		errs = append(errs, os.Mkdir(s.lineDir(l.Name), 0o700), journal.Create(s.lineDir(l.Name), 1))
	}
	return errors.Join(errs...)
}

// makeVaults makes the folders of all vaults but the log vault, whose the ceremony makes.
func (s *Site) makeVaults() error {
	var errs []error
	for _, v := range s.VaultNames()[1:] {
		errs = append(errs, s.makeVaultState(v))
	}
	return errors.Join(errs...)
}

// freeAddress finds a loopback port that nobody listens on now.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("finding a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// ceremony makes the token, the vault and the ledger's first entry, and pins what must be pinned.
func (s *Site) ceremony(ctx context.Context, log *slog.Logger) (err error) {
	if s.Config.Module, err = softhsm.FindModule(); err != nil {
		return err
	}
	token, err := s.newToken(ctx, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, token.Close()) }()
	cats, err := catalogues(s.path("catalogue"))
	if err != nil {
		return err
	}
	plan, keys, err := s.plan(cats.Order)
	if err != nil {
		return err
	}
	made, err := ceremony.MakeTest(ctx, token, plan)
	if err != nil {
		return err
	}
	for _, k := range keys {
		k.Sign(&made.Register)
	}
	vkey, err := checkpoint.VerifierKey(s.Config.Origin, made.LogKey)
	if err != nil {
		return err
	}
	s.Config.Pin, s.Config.LogKey, s.Config.CAID = hex.EncodeToString(made.RegisterPin[:]), vkey, hex.EncodeToString(made.CAID[:])
	if err := s.initLedger(ctx, made, plan.Now); err != nil {
		return err
	}
	return s.save("site.json") // last: a site without site.json was never finished
}

func (s *Site) initLedger(ctx context.Context, made *ceremony.Made, now time.Time) (err error) {
	db, err := s.newDatabase(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	g := entry.Genesis{Env: s.Config.Env, Site: s.Config.Site, Origin: s.Config.Origin, At: now, Register: made.RegisterPin, LogKey: made.LogKey,
		StmtKey: made.StmtKey, EUMCert: sha256.Sum256(made.EUMCert), EISCert: sha256.Sum256(made.EISCert)}
	if err := ledger.Init(ctx, db, g, []statement.Signed{made.Register}); err != nil {
		return err
	}
	return s.firstBackup(ctx, db)
}

// newToken makes a SoftHSM token with a random PIN in a file: allowed in a test environment only.
func (s *Site) newToken(ctx context.Context, log *slog.Logger) (*hsm.Token, error) {
	raw := make([]byte, keyBytes)
	if _, err := io.ReadFull(rand.Reader, raw); err != nil {
		return nil, err
	}
	pin := []byte(hex.EncodeToString(raw))
	if err := writeFile(s.path("vault", "pin"), pin, 0o600); err != nil {
		return nil, err
	}
	user := secret.New(pin)
	defer user.Wipe()
	if err := softhsm.Init(s.tokenDir(), s.Config.Token, user, user); err != nil {
		return nil, err
	}
	return s.openToken(ctx, log)
}

func (s *Site) tokenDir() string { return s.path("vault", "token") }

// openToken logs in to the vault's token with the PIN from its file.
func (s *Site) openToken(ctx context.Context, log *slog.Logger) (*hsm.Token, error) {
	return s.OpenToken(ctx, 0, log)
}

// plan is the ceremony's plan: throw-away officers, and the keys that the catalogue's partners would have sent.
func (s *Site) plan(cat order.Catalogue) (ceremony.Plan, []keyfile.Key, error) {
	p := ceremony.Plan{Env: s.Config.Env, Site: s.Config.Site, Vault: s.logVault(), Origin: s.Config.Origin,
		KMCs: map[perso.Name]secret.Bytes{}, TransportKeys: map[perso.Name]secret.Bytes{}, TDESKeys: map[perso.Name]secret.Bytes{}, WrapKeys: map[perso.Name]secret.Bytes{}, ReceiveKeys: map[perso.Name]secret.Bytes{}, OPs: map[perso.Name]secret.Bytes{},
		Dir: s.keysDir(), Now: time.Now().UTC(), Rand: rand.Reader}
	if eum := cat.Site.EUM; makesEUICCs(cat) {
		p.EUM = ceremony.EUM{Name: eum.Name, Country: "DE", OID: string(eum.OID), IIN: eum.IIN}
	}
	keys, err := s.makeOfficers()
	if err != nil {
		return p, nil, err
	}
	for _, k := range keys {
		p.Officers = append(p.Officers, k.Officer)
	}
	return p, keys, s.partnersKeys(cat, &p)
}

// makeOfficers draws the keys of everybody who is in a test site's register from its genesis, and leaves them in the site's folder.
func (s *Site) makeOfficers() (keys []keyfile.Key, err error) {
	for _, o := range slices.Concat(DemoOfficers, []statement.Officer{DemoQuality, DemoOrderDesk}) {
		key, err := keyfile.New(o, rand.Reader)
		if err == nil {
			err = keyfile.Create(s.OfficerKey(o.ID), key)
		}
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// makesEUICCs says whether the site is to have the EUM's keys: a product of its catalogue needs them.
func makesEUICCs(cat order.Catalogue) bool {
	return slices.ContainsFunc(cat.Products.SKUs(), func(sku product.SKU) bool {
		p, _ := cat.Products.Get(sku)
		return p.Makeable && p.Family.EUICC()
	})
}

// keysDir is the vault's folder that the ceremony makes.
func (s *Site) keysDir() string { return s.path("vault", "keys") }

// DemoOfficers are the throw-away officers of a test site who release, close and destroy. They are roles, not people.
var DemoOfficers = []statement.Officer{
	{ID: "production-officer", Person: "Test production officer", Role: statement.RoleProduction},
	{ID: "security-officer", Person: "Test security officer", Role: statement.RoleSecurity},
}

// The other throw-away persons of a test site: who signs for first articles and samples, and who signs for orders. A site that was
// made before they came has neither; a key ceremony may add its own.
var (
	DemoQuality   = statement.Officer{ID: "quality-officer", Person: "Test quality officer", Role: statement.RoleQuality}
	DemoOrderDesk = statement.Officer{ID: "order-desk", Person: "Test order desk", Role: statement.RoleOrderDesk}
)

// partnersKeys makes a key for each name that the catalogue mentions.
func (s *Site) partnersKeys(cat order.Catalogue, p *ceremony.Plan) error {
	var errs []error
	for _, sku := range cat.Products.SKUs() {
		if prod, _ := cat.Products.Get(sku); prod.Makeable {
			errs = append(errs, s.partnerKey(prod.Factory.KMC, keyBytes, p.KMCs))
		}
	}
	for _, provider := range cat.Site.Providers() {
		for _, held := range provider.OPKeys {
			errs = append(errs, s.partnerKey(held.Name, held.Kind.Bytes(), p.OPs))
		}
		for _, held := range provider.TransportKeys {
			errs = append(errs, s.transportKey(held, p))
		}
		for _, name := range provider.ReceiveKeys {
			errs = append(errs, s.partnerKey(name, keyBytes, p.ReceiveKeys))
		}
	}
	for _, smsr := range cat.Site.SMSRs() {
		errs = append(errs, s.partnerKey(smsr.WrapKey, keyBytes, p.WrapKeys))
	}
	return errors.Join(errs...)
}

// transportKey makes an operator's transport key of its kind.
func (s *Site) transportKey(k k4.Held, p *ceremony.Plan) error {
	switch {
	case k.Kind == k4.RSA:
		p.Envelopes = true
		return s.receiverPair(k.Name)
	case k.Kind.TDES():
		return s.partnerKey(k.Name, k.Kind.Bytes(), p.TDESKeys)
	}
	return s.partnerKey(k.Name, k.Kind.Bytes(), p.TransportKeys)
}

// receiverPair makes an operator's RSA pair. The private key goes to the partner's side, the public one into this site's copy
// of the catalogue, in the place of the key of whoever wrote the file.
func (s *Site) receiverPair(name perso.Name) error {
	private := s.ReceiverKey(name)
	if _, err := os.Stat(private); err == nil {
		return nil // another provider names it too
	}
	key, err := rsa.GenerateKey(rand.Reader, k4.GoodRSABits)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := writeFile(private, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		return err
	}
	file := s.path("catalogue", "partners", string(name)+".json")
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var content map[string]any
	if err := json.Unmarshal(text, &content); err != nil {
		return fmt.Errorf("reading partner file %q: %w", filepath.Base(file), err)
	}
	if der, err = x509.MarshalPKIXPublicKey(key.Public()); err != nil {
		return err
	}
	content["public_key"] = base64.StdEncoding.EncodeToString(der)
	if text, err = json.MarshalIndent(content, "", "  "); err != nil {
		return err
	}
	return os.WriteFile(file, append(text, '\n'), 0o644)
}

// partnerKey draws one key, once, and leaves it with the partner's side.
func (s *Site) partnerKey(name perso.Name, bytes int, into map[perso.Name]secret.Bytes) error {
	if _, known := into[name]; known {
		return nil
	}
	raw := make([]byte, bytes)
	if _, err := io.ReadFull(rand.Reader, raw); err != nil {
		return err
	}
	if err := writeFile(s.PartnerKey(name), []byte(hex.EncodeToString(raw)+"\n"), 0o600); err != nil {
		return err
	}
	into[name] = secret.New(raw)
	return nil
}

// PartnerKey is the file with a partner's key, in hex, of a test site.
func (s *Site) PartnerKey(name perso.Name) string { return s.path(partnersDir, string(name)+".hex") }

// ReceiverKey is the PEM file with the private RSA key of a receiver, of a test site.
func (s *Site) ReceiverKey(name perso.Name) string { return s.path(partnersDir, string(name)+".pem") }
