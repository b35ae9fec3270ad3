package natsbus

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/bus/bustest"
)

const patience = 20 * time.Second

func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// site is an embedded server with its users.
type site struct {
	dir   string
	users []User
	srv   *Embedded
}

func newSite(t testing.TB, lines ...perso.Name) *site {
	t.Helper()
	s := &site{dir: t.TempDir()}
	var err error
	if s.users, err = GenerateUsers(s.dir, lines); err != nil {
		t.Fatal(err)
	}
	s.start(t, "127.0.0.1:0")
	t.Cleanup(func() { s.srv.Shutdown() })
	return s
}

func (s *site) start(t testing.TB, listen string) {
	t.Helper()
	var err error
	if s.srv, err = StartServer(ServerConfig{Dir: s.dir, Listen: listen, Users: s.users}); err != nil {
		t.Fatal(err)
	}
}

func (s *site) connect(t testing.TB, user string) *Conn {
	t.Helper()
	cfg := Config{URL: s.srv.URL(), NKeySeedFile: SeedFile(s.dir, user), Name: user, AckWait: bustest.AckWait}
	if name, ok := strings.CutPrefix(user, lineUserPrefix); ok {
		cfg.Line = perso.Name(name)
	}
	c, err := Connect(soon(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// zones is a carrier that does each thing as the user whose business it is, so that the suite also shows that the
// permissions suffice.
type zones struct {
	ledger, vault, office *Conn
	lines                 map[perso.Name]*Conn
}

func openZones(t testing.TB) *zones {
	s := newSite(t, "line-1", "line-2", "line-7")
	z := &zones{s.connect(t, UserLedger), s.connect(t, UserVault), s.connect(t, UserOffice), map[perso.Name]*Conn{}}
	for _, line := range []perso.Name{"line-1", "line-2", "line-7"} {
		z.lines[line] = s.connect(t, LineUser(line))
	}
	if err := z.ledger.EnsureStreams(soon(t), "line-7"); err != nil {
		t.Fatal(err)
	}
	return z
}

func (z *zones) Request(ctx context.Context, subject string, data []byte) ([]byte, error) {
	tokens := strings.Split(subject, ".")
	switch tokens[1] {
	case "line":
		return z.lines[perso.Name(tokens[2])].Request(ctx, subject, data)
	case "office":
		return z.office.Request(ctx, subject, data)
	}
	return z.ledger.Request(ctx, subject, data)
}

func (z *zones) Serve(subject, queue string, h bus.Handler) (func() error, error) {
	if strings.HasPrefix(subject, bus.VaultSubject("v", "")) {
		return z.vault.Serve(subject, queue, h)
	}
	return z.ledger.Serve(subject, queue, h)
}

func (z *zones) Put(ctx context.Context, line perso.Name, id string, data []byte) error {
	return z.ledger.Put(ctx, line, id, data)
}

func (z *zones) Take(ctx context.Context, line perso.Name) (bus.Job, error) {
	return z.lines[line].Take(ctx, line)
}

func (z *zones) PutBlob(ctx context.Context, hash [32]byte, data []byte) error {
	return z.ledger.PutBlob(ctx, hash, data)
}

func (z *zones) GetBlob(ctx context.Context, hash [32]byte) ([]byte, error) {
	return z.lines["line-2"].GetBlob(ctx, hash)
}

func (z *zones) Parked(ctx context.Context, line perso.Name, visit func(id, reason string, data []byte) error) error {
	return z.ledger.Parked(ctx, line, visit)
}

func TestConformance(t *testing.T) {
	t.Parallel()
	bustest.Run(t, func(t *testing.T) bustest.Carrier { return openZones(t) })
}

func TestReconnectAndRestartKeepJobs(t *testing.T) {
	t.Parallel()
	ctx := soon(t)
	s := newSite(t, "a")
	ledger, line := s.connect(t, UserLedger), s.connect(t, LineUser("a"))
	if err := ledger.EnsureStreams(ctx); err != nil {
		t.Fatal(err)
	}
	if err := ledger.Put(ctx, "a", "1", []byte("order")); err != nil {
		t.Fatal(err)
	}
	subject := bus.LineSubject("a", bus.LineAct)
	if _, err := ledger.Serve(subject, bus.QueueLedger, func(_ context.Context, b []byte) ([]byte, error) { return b, nil }); err != nil {
		t.Fatal(err)
	}
	address := strings.TrimPrefix(s.srv.URL(), "nats://")
	s.srv.Shutdown()
	if s.srv.Ready() {
		t.Error("ready after shutdown")
	}
	s.start(t, address)
	job, err := line.Take(ctx, "a") // through the lost connection
	if err != nil || string(job.Data()) != "order" {
		t.Fatal(job, err)
	}
	if err := job.Ack(ctx); err != nil {
		t.Error(err)
	}
	for { // the ledger comes back in its own time
		if _, err = line.Request(ctx, subject, []byte{1}); !errors.Is(err, bus.ErrNoAnswer) || ctx.Err() != nil {
			break
		}
	}
	if err != nil {
		t.Error(err)
	}
	if err := ledger.EnsureStreams(ctx, "a"); err != nil {
		t.Errorf("ensuring again: %v", err)
	}
}

// A request that is under way when the connection breaks can't be answered any more: it ends at once, to be asked again.
func TestRequestEndsWithItsConnection(t *testing.T) {
	t.Parallel()
	ctx := soon(t)
	s := newSite(t)
	vault, ledger := s.connect(t, UserVault), s.connect(t, UserLedger)
	subject, heard, over := bus.VaultSubject("v", "slow"), make(chan struct{}), make(chan struct{})
	if _, err := vault.Serve(subject, bus.QueueVault, func(context.Context, []byte) ([]byte, error) {
		close(heard)
		<-over
		return nil, nil
	}); err != nil {
		t.Fatal(err)
	}
	defer close(over)
	go func() {
		<-heard
		s.srv.Shutdown()
	}()
	if _, err := ledger.Request(ctx, subject, []byte{1}); !errors.Is(err, bus.ErrNoAnswer) || ctx.Err() != nil {
		t.Errorf("%v, after waiting to the end: %v", err, ctx.Err())
	}
}

func TestStreamsAreRestored(t *testing.T) {
	t.Parallel()
	ctx := soon(t)
	s := newSite(t, "a")
	c := s.connect(t, UserLedger)
	weak := jetstream.StreamConfig{Name: StreamWork, Subjects: []string{workPrefix + "*"}, Retention: jetstream.WorkQueuePolicy,
		RePublish: &jetstream.RePublish{Source: ">", Destination: "copy.>"}}
	if _, err := c.js.CreateStream(ctx, weak); err != nil {
		t.Fatal(err)
	}
	if err := c.EnsureStreams(ctx); err != nil {
		t.Errorf("mending: %v", err)
	}
	if err := c.js.DeleteStream(ctx, StreamWork); err != nil {
		t.Fatal(err)
	}
	weak.PersistMode, weak.RePublish = jetstream.AsyncPersistMode, nil // which cannot be changed in a stream
	if _, err := c.js.CreateStream(ctx, weak); err != nil {
		t.Fatal(err)
	}
	if err := c.EnsureStreams(ctx); err == nil {
		t.Error("a stream that does not sync its writes was accepted")
	}
}

func TestDamagedBlobIsFoundAndHealed(t *testing.T) {
	t.Parallel()
	ctx := soon(t)
	z := openZones(t)
	data := make([]byte, chunkBytes+10)
	hash := sha256.Sum256(data)
	if err := z.PutBlob(ctx, hash, data); err != nil {
		t.Fatal(err)
	}
	if _, err := z.ledger.js.Publish(ctx, chunkSubject(hash, 1), []byte("other")); err != nil {
		t.Fatal(err)
	}
	var fault *bus.Fault
	if _, err := z.GetBlob(ctx, hash); !errors.As(err, &fault) || fault.Code != bus.FaultConflict {
		t.Errorf("damaged: %v", err)
	}
	if err := z.PutBlob(ctx, hash, data); err != nil {
		t.Fatal(err)
	}
	if _, err := z.GetBlob(ctx, hash); err != nil {
		t.Errorf("healed: %v", err)
	}
}

// With one worker, what exceeds worker and waiting room hears "busy" at once, and all others are served.
func TestBusy(t *testing.T) {
	t.Parallel()
	ctx := soon(t)
	s := newSite(t)
	subject := bus.VaultSubject("v", "busy")
	cfg := Config{URL: s.srv.URL(), NKeySeedFile: SeedFile(s.dir, UserVault), Name: UserVault, Workers: map[string]int{subject: 1}}
	vault, err := Connect(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer vault.Close()
	ledger := s.connect(t, UserLedger)
	release := make(chan struct{})
	if _, err := vault.Serve(subject, bus.QueueVault, bus.Answer(func(context.Context, bus.Empty) (bus.Empty, error) {
		<-release
		return bus.Empty{}, nil
	})); err != nil {
		t.Fatal(err)
	}
	const room = 1 + maxWaitingPerWorker
	answers := make(chan error, room+1)
	for range room + 1 {
		go func() {
			_, err := bus.Call[bus.Empty](ctx, ledger, subject, bus.Empty{})
			answers <- err
		}()
	}
	var fault *bus.Fault
	if err := <-answers; !errors.As(err, &fault) || fault.Code != bus.FaultBusy {
		t.Errorf("one too many: %v", err)
	}
	close(release)
	for range room {
		if err := <-answers; err != nil {
			t.Error(err)
		}
	}
}

func TestRequestWithForeignReplyIsNotAnswered(t *testing.T) {
	t.Parallel()
	ctx := soon(t)
	z := openZones(t)
	asked := make(chan string, 2)
	stop, err := z.Serve(bus.LineWildcard(bus.LineAct), bus.QueueLedger, func(_ context.Context, b []byte) ([]byte, error) {
		asked <- string(b)
		return b, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	// The line would have the ledger's answer arrive as another line's request.
	act := bus.LineSubject("line-1", bus.LineAct)
	if err := z.lines["line-1"].nc.PublishRequest(act, bus.LineSubject("line-2", bus.LineBin), []byte("foul")); err != nil {
		t.Fatal(err)
	}
	if _, err := z.Request(ctx, act, []byte("fair")); err != nil {
		t.Fatal(err)
	}
	if err := stop(); err != nil { // which waits for both
		t.Fatal(err)
	}
	if got := <-asked; got != "fair" || len(asked) > 0 {
		t.Errorf("handled %q and %d more", got, len(asked))
	}
}

func TestWeakerGuaranteesAreNoticed(t *testing.T) {
	t.Parallel()
	want := (&Conn{cfg: Config{Replicas: 3}}).streams()[0]
	if err := sameGuarantees(want, want); err != nil {
		t.Error(err)
	}
	for name, weaken := range map[string]func(*jetstream.StreamConfig){
		"async":        func(c *jetstream.StreamConfig) { c.PersistMode = jetstream.AsyncPersistMode },
		"memory":       func(c *jetstream.StreamConfig) { c.Storage = jetstream.MemoryStorage },
		"one replica":  func(c *jetstream.StreamConfig) { c.Replicas = 1 },
		"no ack":       func(c *jetstream.StreamConfig) { c.NoAck = true },
		"discards old": func(c *jetstream.StreamConfig) { c.Discard = jetstream.DiscardOld },
		"expires":      func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour },
		"copies":       func(c *jetstream.StreamConfig) { c.RePublish = &jetstream.RePublish{Destination: "x"} },
		"readable":     func(c *jetstream.StreamConfig) { c.AllowDirect = true },
	} {
		got := want
		weaken(&got)
		if sameGuarantees(got, want) == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestConnectRefuses(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a")
	good := Config{URL: s.srv.URL(), NKeySeedFile: SeedFile(s.dir, UserVault), Name: UserVault}
	for name, change := range map[string]func(*Config){
		"another line's name": func(c *Config) { c.Line = "a" },
		"no name":             func(c *Config) { c.Name = "" },
		"unknown user":        func(c *Config) { c.Name = "root" },
		"no seed":             func(c *Config) { c.NKeySeedFile += "x" },
		"plain off loopback":  func(c *Config) { c.URL = "nats://192.0.2.1:4222" },
		"no URL":              func(c *Config) { c.URL = "" },
	} {
		cfg := good
		change(&cfg)
		if c, err := Connect(soon(t), cfg); err == nil {
			c.Close()
			t.Errorf("%s: connected", name)
		}
	}
	stranger := t.TempDir()
	if _, err := GenerateUsers(stranger, nil); err != nil {
		t.Fatal(err)
	}
	good.NKeySeedFile = SeedFile(stranger, UserVault)
	if _, err := Connect(soon(t), good); !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("unknown key: %v", err)
	}
	s.srv.Shutdown()
	short, cancel := context.WithTimeout(context.Background(), reconnectMin)
	defer cancel()
	if _, err := Connect(short, good); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("no server: %v", err)
	}
}

func TestServerRefuses(t *testing.T) {
	t.Parallel()
	users := []User{{UserVault, "UAAA"}}
	for name, c := range map[string]struct {
		cfg   ServerConfig
		plain bool
	}{
		"all interfaces": {ServerConfig{Dir: t.TempDir(), Listen: ":4222", Users: users}, true},
		"off loopback":   {ServerConfig{Dir: t.TempDir(), Listen: "192.0.2.1:4222", Users: users}, true},
		"one-sided TLS":  {ServerConfig{Dir: t.TempDir(), Listen: "127.0.0.1:0", Users: users, TLS: &tls.Config{}}, true},
		"no port":        {ServerConfig{Dir: t.TempDir(), Listen: "127.0.0.1", Users: users}, false},
		"no users":       {ServerConfig{Dir: t.TempDir(), Listen: "127.0.0.1:0"}, false},
		"no folder":      {ServerConfig{Listen: "127.0.0.1:0", Users: users}, false},
		"unknown user":   {ServerConfig{Dir: t.TempDir(), Listen: "127.0.0.1:0", Users: []User{{"root", "UAAA"}}}, false},
	} {
		srv, err := StartServer(c.cfg)
		if err == nil {
			srv.Shutdown()
			t.Errorf("%s: started", name)
		}
		if errors.Is(err, ErrPlain) != c.plain {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestGenerateUsersKeepsKeys(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	before, err := GenerateUsers(dir, []perso.Name{"a"})
	if err != nil {
		t.Fatal(err)
	}
	after, err := GenerateUsers(dir, []perso.Name{"a", "b"})
	if err != nil || len(after) != 5 {
		t.Fatal(after, err)
	}
	for i, u := range before {
		if after[i] != u {
			t.Errorf("%v became %v", u, after[i])
		}
	}
	for _, u := range after {
		info, err := os.Stat(SeedFile(dir, u.Name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("seed of %q: %v, %v", u.Name, info.Mode(), err)
		}
	}
	if err := os.WriteFile(SeedFile(dir, UserVault), []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := GenerateUsers(dir, nil); err == nil || strings.Contains(err.Error(), "damaged") {
		t.Errorf("damaged seed: %v", err)
	}
}

// BenchmarkRequest is an act's way over the bus without the act: 16 heads ask, the answer has 2 KB. The floor is the same
// between two bare subscriptions.
func BenchmarkRequest(b *testing.B) {
	answer, question := make([]byte, 2048), make([]byte, 256)
	s := newSite(b, "a")
	ledger, line := s.connect(b, UserLedger), s.connect(b, LineUser("a"))
	if _, err := ledger.Serve(bus.LineWildcard(bus.LineAct), bus.QueueLedger,
		func(context.Context, []byte) ([]byte, error) { return answer, nil }); err != nil {
		b.Fatal(err)
	}
	if _, err := ledger.nc.Subscribe(bus.LineWildcard("floor"), func(m *nats.Msg) { _ = m.Respond(answer) }); err != nil {
		b.Fatal(err)
	}
	if err := ledger.nc.Flush(); err != nil {
		b.Fatal(err)
	}
	ctx := soon(b)
	b.Run("carrier", func(b *testing.B) {
		subject := bus.LineSubject("a", bus.LineAct)
		measure(b, func() error { _, err := line.Request(ctx, subject, question); return err })
	})
	b.Run("floor", func(b *testing.B) {
		subject := bus.LineSubject("a", "floor")
		measure(b, func() error { _, err := line.nc.RequestWithContext(ctx, subject, question); return err })
	})
}

func measure(b *testing.B, ask func() error) {
	const requesters = 16
	b.ReportAllocs()
	next, done := make(chan struct{}, requesters), make(chan error, requesters)
	for range requesters {
		go func() {
			var err error
			for range next {
				if err == nil {
					err = ask()
				}
			}
			done <- err
		}()
	}
	for range b.N {
		next <- struct{}{}
	}
	close(next)
	for range requesters {
		if err := <-done; err != nil {
			b.Error(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
}
