// Package ceremony makes the vault of a test environment in one call: keys in the token, certificates from a CI that is
// thrown away, imported keys, the officer register's genesis to be signed, and the vault's folders.
//
// It is honest about what it is: one process and one person see everything, imported keys were in clear memory, and the
// certificate issuer exists only while it runs. Therefore it refuses the environment production. A production ceremony,
// with custodians, key components, a signed transcript and requests to the GSMA CI, is the work of package conduct
// (CEREMONY.md); it ends in the same vault folders.
//
// Callers: perso/cmd, perso/sim and tests. Specifications: SGP.14 and SGP.02 (certificates of CI and EUM, their
// extensions as far as the public test PKI shows them), RFC 5280.
package ceremony

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/persoline/persoline/hsm"
	"github.com/persoline/persoline/keygen"
	"github.com/persoline/persoline/keygen/journal"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/checkpoint"
	"github.com/persoline/persoline/perso/secret"
	"github.com/persoline/persoline/perso/statement"
)

// Token is what a ceremony needs of the HSM beside what the vault uses.
type Token interface {
	keygen.Token
	Import(ctx context.Context, k hsm.Key, value secret.Bytes) error
	Seal(ctx context.Context, k hsm.Key, plaintext secret.Bytes, aad []byte) ([]byte, error)
}

// Plan says what to make. Imported keys are the caller's to wipe.
type Plan struct {
	Env    perso.Env // must be test
	Site   perso.Name
	Vault  perso.Name
	Origin string // of the log, e.g. "factory.example/test-log"
	EUM    EUM    // zero of a site that makes no eUICCs: it has no such keys and certificates

	Officers []statement.Officer

	KMCs          map[perso.Name]secret.Bytes // chip makers' keys, AES-128
	TransportKeys map[perso.Name]secret.Bytes // K4, AES-128 to AES-256
	TDESKeys      map[perso.Name]secret.Bytes // K4 of Triple DES, 16 or 24 bytes
	Envelopes     bool                        // a receiver has an RSA key: make the key that signs envelopes
	WrapKeys      map[perso.Name]secret.Bytes // of SM-SRs, AES-128
	ReceiveKeys   map[perso.Name]secret.Bytes // of operators who send their own Ki, AES-128 to AES-256
	OPs           map[perso.Name]secret.Bytes // operator keys, 16 bytes or, with TUAK, 32

	Dir  string    // must not exist yet; everything is written below it
	Now  time.Time // of the ceremony
	Rand io.Reader // for the throw-away CI and for nonces
}

// EUM is the maker as its certificates name it.
type EUM struct {
	Name    string // organization
	Country string // two letters
	OID     string // dotted, registered identifier
	IIN     string // 8 digits
}

// certifies says whether the site makes eUICCs: it signs their certificates and their EIS.
func (p Plan) certifies() bool { return p.EUM != EUM{} }

// Made is what a site needs to run: the vault's configuration but for token, clock and logger, and what must be pinned
// elsewhere.
type Made struct {
	Keys        keygen.Keys
	RegisterPin [32]byte
	// Register is the genesis of the officer register, to be signed by each officer in it.
	Register statement.Signed
	LogKey   ed25519.PublicKey
	StmtKey  ed25519.PublicKey
	CICert   []byte // DER; this and the next two are nothing of a site that makes no eUICCs
	EUMCert  []byte // DER
	EISCert  []byte // DER
	CAID     [keygen.CAIDBytes]byte
	// Folders below Plan.Dir.
	JournalDir, MemoryDir, OPDir string
}

// Folders and files below Plan.Dir.
const (
	FolderJournal  = "journal"
	FolderMemory   = "memory"
	FolderOPs      = "op"
	FileCI         = "ci.der"
	FileEUM        = "eum.der"
	FileEIS        = "eis.der"
	FileRegister   = "register-genesis.txt"
	FileLogKey     = "log.vkey"
	FileStatements = "statement.pub"
	FileEnvelope   = "envelope.pub.pem" // only where the site signs envelopes
)

// ErrProduction refuses to make production keys.
var ErrProduction = errors.New("this ceremony makes test keys only")

// MakeTest carries the plan out. After an error the token may hold some of the keys: a test token is thrown away.
func MakeTest(ctx context.Context, token Token, p Plan) (*Made, error) {
	if p.Env != perso.EnvTest {
		return nil, fmt.Errorf("making vault %q for environment %q: %w", p.Vault, p.Env, ErrProduction)
	}
	c := &ceremony{ctx: ctx, token: token, plan: p, made: &Made{}}
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"making folders", c.folders}, {"making the site's keys", c.generate}, {"importing partners' keys", c.imports},
		{"sealing operator keys", c.sealOPs}, {"issuing certificates", c.certificates}, {"writing the officer register", c.register},
		{"writing public artefacts", c.publish},
	} {
		if err := step.do(); err != nil {
			return nil, fmt.Errorf("%s: %w", step.what, err)
		}
	}
	return c.made, nil
}

// ceremony is one run.
type ceremony struct {
	ctx   context.Context
	token Token
	plan  Plan
	made  *Made
}

func (c *ceremony) folders() error {
	dir := c.plan.Dir
	c.made.JournalDir, c.made.MemoryDir, c.made.OPDir = filepath.Join(dir, FolderJournal), filepath.Join(dir, FolderMemory), filepath.Join(dir, FolderOPs)
	for _, d := range []string{dir, c.made.JournalDir, c.made.OPDir} {
		if err := os.Mkdir(d, 0o700); err != nil {
			return err
		}
	}
	_, err := journal.CreateMemory(c.made.MemoryDir)
	return err
}

func (c *ceremony) generate() (err error) {
	if c.made.Keys, err = keygen.SiteKeys(c.plan.Env, c.plan.Site); err != nil {
		return err
	}
	k := c.made.Keys
	keys := []hsm.Key{k.Log, k.Statement, k.Receipt, k.Seal, k.KiPrint}
	if c.plan.certifies() {
		keys = append(keys, k.EUM, k.EIS)
	}
	if c.plan.Envelopes {
		keys = append(keys, k.Envelope)
	}
	for _, key := range keys {
		if err := c.token.Generate(c.ctx, key); err != nil {
			return err
		}
	}
	if c.made.LogKey, err = c.ed25519Key(k.Log); err != nil {
		return err
	}
	c.made.StmtKey, err = c.ed25519Key(k.Statement)
	return err
}

func (c *ceremony) ed25519Key(k hsm.Key) (ed25519.PublicKey, error) {
	pub, err := c.token.Public(c.ctx, k)
	if err != nil {
		return nil, err
	}
	key, ok := pub.(ed25519.PublicKey)
	if !ok {
		return nil, fmt.Errorf("token makes no Ed25519 key for %q", k)
	}
	return key, nil
}

func (c *ceremony) p256Key(k hsm.Key) (*ecdsa.PublicKey, error) {
	pub, err := c.token.Public(c.ctx, k)
	if err != nil {
		return nil, err
	}
	key, ok := pub.(*ecdsa.PublicKey)
	if !ok {
		return nil, fmt.Errorf("token makes no P-256 key for %q", k)
	}
	return key, nil
}

// publicPEM is a public key as receivers get it.
func (c *ceremony) publicPEM(k hsm.Key) ([]byte, error) {
	pub, err := c.token.Public(c.ctx, k)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), nil
}

// kmcBytes: the diversification of chip keys (KDF3) is defined here for AES-128 masters.
const kmcBytes = 16

func (c *ceremony) imports() error {
	for _, set := range []struct {
		class hsm.Class
		keys  map[perso.Name]secret.Bytes
	}{{hsm.ClassKMC, c.plan.KMCs}, {hsm.ClassTransport, c.plan.TransportKeys},
		{hsm.ClassTransport3DES, c.plan.TDESKeys}, {hsm.ClassSMSR, c.plan.WrapKeys}, {hsm.ClassReceive, c.plan.ReceiveKeys}} {
		for name, value := range set.keys {
			if set.class == hsm.ClassKMC && value.Len() != kmcBytes {
				return fmt.Errorf("chip maker's key %q has %d bytes, not %d", name, value.Len(), kmcBytes)
			}
			key, err := hsm.NewKey(string(c.plan.Env), set.class, string(name))
			if err != nil {
				return err
			}
			if err := c.token.Import(c.ctx, key, value); err != nil {
				return err
			}
		}
	}
	return nil
}

// Lengths of operator keys: OP and OPc of Milenage, TOP and TOPc of TUAK.
const opBytes, topBytes = 16, 32

func (c *ceremony) sealOPs() error {
	for name, op := range c.plan.OPs {
		if n := op.Len(); n != opBytes && n != topBytes {
			return fmt.Errorf("operator key %q has %d bytes, neither %d nor %d", name, n, opBytes, topBytes)
		}
		sealed, err := c.token.Seal(c.ctx, c.made.Keys.Seal, op, keygen.OPContext(c.plan.Env, name))
		if err != nil {
			return err
		}
		if err := journal.OPFolder(c.made.OPDir).Put(name, sealed); err != nil {
			return err
		}
	}
	return nil
}

// register writes the genesis. Its hash does not depend on the signatures, so it can be pinned at once.
func (c *ceremony) register() error {
	g := statement.Genesis{Env: c.plan.Env, Site: c.plan.Site, At: c.plan.Now, Officers: c.plan.Officers}
	if _, err := io.ReadFull(c.plan.Rand, g.Nonce[:]); err != nil {
		return err
	}
	body, err := g.Encode()
	c.made.Register = statement.Signed{Body: body}
	c.made.RegisterPin = c.made.Register.Hash()
	return err
}

// publish writes what others need, each file once.
func (c *ceremony) publish() error {
	vkey, err := checkpoint.VerifierKey(c.plan.Origin, c.made.LogKey)
	if err != nil {
		return err
	}
	files := map[string][]byte{
		FileRegister: c.made.Register.Body,
		FileLogKey:   []byte(vkey + "\n"), FileStatements: []byte(hex.EncodeToString(c.made.StmtKey) + "\n"),
	}
	if c.plan.certifies() {
		files[FileCI], files[FileEUM], files[FileEIS] = c.made.CICert, c.made.EUMCert, c.made.EISCert
	}
	if c.plan.Envelopes {
		if files[FileEnvelope], err = c.publicPEM(c.made.Keys.Envelope); err != nil {
			return err
		}
	}
	for name, content := range files {
		if err := writeOnce(filepath.Join(c.plan.Dir, name), content); err != nil {
			return err
		}
	}
	d, err := os.Open(c.plan.Dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func writeOnce(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Sync(), f.Close())
}
