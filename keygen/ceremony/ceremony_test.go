package ceremony

import (
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/persoline/persoline/hsm"
	"github.com/persoline/persoline/hsm/hsmfake"
	"github.com/persoline/persoline/keygen"
	"github.com/persoline/persoline/keygen/journal"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/secret"
	"github.com/persoline/persoline/perso/statement"
)

var ctx = context.Background()

func plan(t *testing.T) Plan {
	key := func(n int, b byte) map[perso.Name]secret.Bytes {
		return map[perso.Name]secret.Bytes{"k-1": secret.New(bytes.Repeat([]byte{b}, n))}
	}
	officers := []statement.Officer{
		{ID: "ann", Person: "Ann", Role: statement.RoleProduction, Key: bytes.Repeat([]byte{1}, 32)},
		{ID: "bob", Person: "Bob", Role: statement.RoleSecurity, Key: bytes.Repeat([]byte{2}, 32)},
	}
	return Plan{Env: perso.EnvTest, Site: "S1", Vault: "V1", Origin: "factory.example/test", EUM: EUM{Name: "Test EUM", Country: "CH", OID: "2.999.5", IIN: "89049032"},
		Officers: officers, KMCs: key(16, 1), TransportKeys: key(32, 2), WrapKeys: key(16, 3), OPs: key(16, 4),
		Dir: filepath.Join(t.TempDir(), "vault"), Now: time.Date(2026, 11, 22, 8, 0, 0, 1, time.UTC), Rand: rand.NewChaCha8([32]byte{})}
}

// TestOfSIMsAlone: a site that makes no eUICCs has none of the EUM's keys and certificates, and all others.
func TestOfSIMsAlone(t *testing.T) {
	t.Parallel()
	token, p := hsmfake.New(rand.NewChaCha8([32]byte{})), plan(t)
	p.EUM = EUM{}
	made, err := MakeTest(ctx, token, p)
	if err != nil || len(made.EUMCert)+len(made.EISCert)+len(made.CICert) > 0 {
		t.Fatalf("certificates of %d, %d and %d bytes, %v", len(made.CICert), len(made.EUMCert), len(made.EISCert), err)
	}
	for k, want := range map[hsm.Key]bool{made.Keys.EUM: false, made.Keys.EIS: false, made.Keys.Log: true, made.Keys.Seal: true} {
		if has, err := token.Has(ctx, k); err != nil || has != want {
			t.Errorf("key %q: %v, %v", k, has, err)
		}
	}
	for _, name := range []string{FileCI, FileEUM, FileEIS} {
		if _, err := os.Stat(filepath.Join(p.Dir, name)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("file %q: %v", name, err)
		}
	}
}

func TestMakesATestVault(t *testing.T) {
	t.Parallel()
	token, p := hsmfake.New(rand.NewChaCha8([32]byte{})), plan(t)
	made, err := MakeTest(ctx, token, p)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range []struct {
		class hsm.Class
		id    string
	}{{hsm.ClassKMC, "k-1"}, {hsm.ClassTransport, "k-1"}, {hsm.ClassSMSR, "k-1"}, {hsm.ClassLog, "S1"}, {hsm.ClassReceipt, "S1"}, {hsm.ClassSeal, "S1"}} {
		name, err := hsm.NewKey("test", k.class, k.id)
		if err != nil {
			t.Fatal(err)
		}
		if has, err := token.Has(ctx, name); err != nil || !has {
			t.Errorf("key %q: %v, %v", name, has, err)
		}
	}
	for name, content := range map[string][]byte{FileCI: made.CICert, FileEUM: made.EUMCert, FileEIS: made.EISCert, FileRegister: made.Register.Body} {
		if b, err := os.ReadFile(filepath.Join(p.Dir, name)); err != nil || !bytes.Equal(b, content) {
			t.Errorf("file %q: %v", name, err)
		}
	}
	if made.RegisterPin != made.Register.Hash() || made.CAID != [4]byte{0x89, 0x04, 0x90, 0x32} {
		t.Errorf("pin or CA identifier wrong: %X", made.CAID)
	}
	sealed, err := journal.OPFolder(made.OPDir).SealedOP("k-1")
	if err != nil {
		t.Fatal(err)
	}
	op, err := token.Unseal(ctx, made.Keys.Seal, sealed, keygen.OPContext(perso.EnvTest, "k-1"))
	if err != nil || !op.Equal(p.OPs["k-1"]) {
		t.Errorf("sealed OP: %v", err)
	}
	if _, err := token.Unseal(ctx, made.Keys.Seal, sealed, keygen.OPContext(perso.EnvTest, "k-2")); err == nil {
		t.Error("a sealed OP opened under another name")
	}
	if _, err := journal.OpenMemory(made.MemoryDir); err != nil {
		t.Error(err)
	}
	if _, err := MakeTest(ctx, hsmfake.New(rand.NewChaCha8([32]byte{})), p); !errors.Is(err, fs.ErrExist) {
		t.Errorf("made over an existing vault: %v", err)
	}
}

func TestCertificates(t *testing.T) {
	t.Parallel()
	made, err := MakeTest(ctx, hsmfake.New(rand.NewChaCha8([32]byte{})), plan(t))
	if err != nil {
		t.Fatal(err)
	}
	parse := func(der []byte) *x509.Certificate {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	ci, eum, eis := parse(made.CICert), parse(made.EUMCert), parse(made.EISCert)
	if err := errors.Join(ci.CheckSignatureFrom(ci), eum.CheckSignatureFrom(ci), eis.CheckSignatureFrom(ci)); err != nil {
		t.Error(err)
	}
	for _, c := range []struct {
		cert      *x509.Certificate
		use       x509.KeyUsage
		isCA      bool
		pathLen   int
		policy    asn1.ObjectIdentifier
		authority []byte
	}{
		{ci, x509.KeyUsageCertSign | x509.KeyUsageCRLSign, true, -1, policyCI, nil},
		{eum, x509.KeyUsageCertSign, true, 0, policyEUM, ci.SubjectKeyId},
		{eis, x509.KeyUsageDigitalSignature, false, 0, policyEUM, ci.SubjectKeyId},
	} {
		x := c.cert
		point := x.RawSubjectPublicKeyInfo[len(x.RawSubjectPublicKeyInfo)-65:]
		if ski := sha1.Sum(point); !bytes.Equal(x.SubjectKeyId, ski[:]) {
			t.Errorf("%s: subject key identifier %X", x.Subject, x.SubjectKeyId)
		}
		if x.KeyUsage != c.use || x.IsCA != c.isCA || c.isCA && x.MaxPathLen != c.pathLen || !bytes.Equal(x.AuthorityKeyId, c.authority) && c.authority != nil {
			t.Errorf("%s: usage %d, CA %v with %d, authority %X", x.Subject, x.KeyUsage, x.IsCA, x.MaxPathLen, x.AuthorityKeyId)
		}
		if len(x.PolicyIdentifiers) != 1 || !x.PolicyIdentifiers[0].Equal(c.policy) || len(x.UnhandledCriticalExtensions) != 0 {
			t.Errorf("%s: policies %v, unhandled %v", x.Subject, x.PolicyIdentifiers, x.UnhandledCriticalExtensions)
		}
		for _, e := range x.Extensions {
			if e.Id.Equal(oidPolicies) && !e.Critical {
				t.Errorf("%s: policies are not critical", x.Subject)
			}
			// 30 05 88 03 88 37 05: registered identifier 2.999.5
			if e.Id.Equal(oidSAN) && x != ci && !bytes.Equal(e.Value, []byte{0x30, 5, 0x88, 3, 0x88, 0x37, 5}) {
				t.Errorf("%s: subject alternative name %X", x.Subject, e.Value)
			}
		}
	}
}

func TestRefuses(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]func(*Plan){
		"production":       func(p *Plan) { p.Env = perso.EnvProduction },
		"IIN":              func(p *Plan) { p.EUM.IIN = "8904903" },
		"OID":              func(p *Plan) { p.EUM.OID = "2.x" },
		"chip maker's key": func(p *Plan) { p.KMCs["k-1"] = secret.New(make([]byte, 32)) },
		"wrap key":         func(p *Plan) { p.WrapKeys["k-1"] = secret.New(make([]byte, 32)) },
	} {
		token, p := hsmfake.New(rand.NewChaCha8([32]byte{})), plan(t)
		f(&p)
		made, err := MakeTest(ctx, token, p)
		if err == nil {
			t.Errorf("%s: made %+v", name, made)
		}
		if stats := token.Stats(); name == "production" && (!errors.Is(err, ErrProduction) || stats.Total() != 0) {
			t.Errorf("production: %v after %v", err, stats)
		}
	}
}
