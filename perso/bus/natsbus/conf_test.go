package natsbus

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
)

const standAlone = "../../../deploy/nats/nats.conf"

// loadStandAlone reads the delivered configuration with the server's own parser, beside keys and certificates of a site.
func loadStandAlone(t *testing.T, dir string, line perso.Name) (*server.Options, []User, *tls.Config) {
	t.Helper()
	users, err := GenerateUsers(dir, []perso.Name{line})
	if err != nil {
		t.Fatal(err)
	}
	client := writeCertificates(t, dir)
	text, err := os.ReadFile(standAlone)
	if err != nil {
		t.Fatal(err)
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	site := fmt.Sprintf("listen: %q\nstore: %q\ncertificate: %q\nprivate-key: %q\nauthority: %q\n",
		"127.0.0.1:-1", at("store"), at("bus.crt"), at("bus.key"), at("bus.crt"))
	for name, content := range map[string][]byte{"nats.conf": text, "site.conf": []byte(site)} {
		if err := os.WriteFile(at(name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	opts, err := server.ProcessConfigFile(at("nats.conf"))
	if err != nil {
		t.Fatal(err)
	}
	return opts, users, client
}

// writeCertificates makes one certificate that is authority, server and client, and returns the client's side of it.
func writeCertificates(t *testing.T, dir string) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bus"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	private := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
	for name, content := range map[string][]byte{"bus.crt": certificate, "bus.key": private} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(certificate)
	pair, err := tls.X509KeyPair(certificate, private)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{RootCAs: pool, ClientCAs: pool, Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13}
}

func TestStandAloneConfigurationEqualsEmbedded(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	got, users, client := loadStandAlone(t, dir, "line1")
	mutual := client.Clone()
	mutual.ClientAuth = tls.RequireAndVerifyClientCert
	want, err := ServerConfig{Dir: dir, Listen: "127.0.0.1:0", Users: users, TLS: mutual}.options()
	if err != nil {
		t.Fatal(err)
	}
	if !got.JetStream || !got.SyncAlways || got.TLSConfig.ClientAuth != tls.RequireAndVerifyClientCert {
		t.Errorf("JetStream %v, sync always %v, client certificates %v", got.JetStream, got.SyncAlways, got.TLSConfig.ClientAuth)
	}
	type limits struct{ payload, connections, store, memory int64 }
	limitsOf := func(o *server.Options) limits {
		return limits{int64(o.MaxPayload), int64(o.MaxConn), o.JetStreamMaxStore, o.JetStreamMaxMemory}
	}
	if limitsOf(got) != limitsOf(want) {
		t.Errorf("limits are %+v, want %+v", limitsOf(got), limitsOf(want))
	}
	if len(got.Nkeys) != len(want.Nkeys) || len(got.Users) > 0 || got.NoAuthUser != "" {
		t.Fatalf("%d users with keys, %d with passwords", len(got.Nkeys), len(got.Users))
	}
	for i, u := range want.Nkeys {
		if g := got.Nkeys[i]; g.Nkey != u.Nkey || !reflect.DeepEqual(g.Permissions, u.Permissions) {
			t.Errorf("user %q may\n%s, embedded\n%s", users[i].Name, describe(g.Permissions), describe(u.Permissions))
		}
	}
}

func describe(p *server.Permissions) string {
	if p == nil {
		return "everything"
	}
	return fmt.Sprintf("publish %+v, subscribe %+v, respond %+v", p.Publish, p.Subscribe, p.Response)
}

// A line and the ledger talk through a server that was started from the delivered file, over TLS.
func TestStandAloneServerWorks(t *testing.T) {
	t.Parallel()
	ctx, dir := soon(t), t.TempDir()
	opts, _, client := loadStandAlone(t, dir, "line1")
	opts.NoLog, opts.NoSigs = true, true
	srv, err := server.NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	e := &Embedded{srv}
	t.Cleanup(e.Shutdown)
	if !srv.ReadyForConnections(readyTimeout) {
		t.Fatal("not ready")
	}
	connect := func(cfg Config) *Conn {
		cfg.URL, cfg.TLS = e.URL(), client
		c, err := Connect(ctx, cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	ledger := connect(Config{Name: UserLedger, NKeySeedFile: SeedFile(dir, UserLedger)})
	line := connect(Config{Line: "line1", NKeySeedFile: SeedFile(dir, LineUser("line1"))})
	if err := ledger.EnsureStreams(ctx, "line1"); err != nil {
		t.Fatal(err)
	}
	if _, err := ledger.Serve(bus.LineWildcard(bus.LineAct), bus.QueueLedger,
		func(ctx context.Context, _ []byte) ([]byte, error) {
			from, err := bus.AskingLine(ctx)
			return []byte(from), err
		}); err != nil {
		t.Fatal(err)
	}
	if got, err := line.Request(ctx, bus.LineSubject("line1", bus.LineAct), nil); err != nil || string(got) != "line1" {
		t.Errorf("got %q, %v", got, err)
	}
	stranger := client.Clone()
	stranger.Certificates = nil
	short, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	cfg := Config{URL: e.URL(), TLS: stranger, Name: UserLedger, NKeySeedFile: SeedFile(dir, UserLedger)}
	if c, err := Connect(short, cfg); err == nil {
		c.Close()
		t.Error("connected without certificate")
	}
}
