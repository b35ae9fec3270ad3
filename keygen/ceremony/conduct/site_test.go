package conduct_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/persoline/persoline/hsm"
	"github.com/persoline/persoline/hsm/hsmfake"
	"github.com/persoline/persoline/keygen/ceremony/conduct"
	"github.com/persoline/persoline/keygen/ceremony/plan"
	"github.com/persoline/persoline/keygen/ceremony/share"
	"github.com/persoline/persoline/keygen/journal"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/secret"
	"github.com/persoline/persoline/perso/statement"
	"github.com/persoline/persoline/perso/statement/transcript"
)

// site is a ceremony room with a token in software, an inventory folder and people who do as they are told.
type site struct {
	t     testing.TB
	env   perso.Env
	dir   string
	token *hsmfake.Token
	room  *room
	store conduct.Store
	now   time.Time
	rand  *rand.ChaCha8
	keys  map[perso.Name]ed25519.PrivateKey
}

type room struct {
	keys   map[perso.Name]ed25519.PrivateKey
	enter  func(r conduct.Request) (secret.Bytes, error)
	absent perso.Name
	forge  perso.Name // signs with another's key
	steps  []transcript.Step
}

func (r *room) Sign(_ context.Context, id perso.Name, s *statement.Signed) error {
	key, ok := r.keys[id]
	if !ok || id == r.absent {
		return fmt.Errorf("%q is not here", id)
	}
	if id == r.forge {
		for other, k := range r.keys {
			if other != id {
				key = k
			}
		}
	}
	s.Sign(id, key)
	return nil
}

func (r *room) Component(_ context.Context, q conduct.Request) (secret.Bytes, error) {
	return r.enter(q)
}
func (r *room) Step(s transcript.Step) { r.steps = append(r.steps, s) }

var officers = []statement.Officer{
	{ID: "ann", Person: "Ann Example", Role: statement.RoleProduction},
	{ID: "bob", Person: "Bob Example", Role: statement.RoleSecurity},
	{ID: "cid", Person: "Cid Example", Role: statement.RoleQuality},
}

func newSite(t testing.TB, env perso.Env) *site {
	s := &site{t: t, env: env, dir: t.TempDir(), now: time.Date(2027, 3, 1, 8, 0, 0, 0, time.UTC), rand: rand.NewChaCha8([32]byte{7}),
		keys: map[perso.Name]ed25519.PrivateKey{}}
	for i, o := range officers {
		s.keys[o.ID] = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{byte(i + 1)}, 32))
	}
	s.token = hsmfake.New(rand.NewChaCha8([32]byte{1}))
	s.room = &room{keys: s.keys, enter: s.component}
	s.must(os.Mkdir(filepath.Join(s.dir, "op"), 0o700))
	s.store = memory{}
	return s
}

func (s *site) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// component is what a custodian holds for a key: the same each time.
func (s *site) component(q conduct.Request) (secret.Bytes, error) {
	return secret.New(componentBytes(string(q.Key.ID()), string(q.Custodian.ID), q.Bytes)), nil
}

func componentBytes(key, custodian string, n int) []byte {
	b := make([]byte, n)
	var seed [32]byte
	copy(seed[:], key+custodian)
	_, _ = rand.NewChaCha8(seed).Read(b)
	return b
}

func kcvOf(class, key, custodian string, n int) string {
	kcv, err := share.Check(class, secret.New(componentBytes(key, custodian, n)))
	if err != nil {
		panic(err)
	}
	return hex.EncodeToString(kcv[:])
}

func hashText(h [32]byte) string {
	if h == [32]byte{} {
		return plan.None
	}
	return hex.EncodeToString(h[:])
}

// planText is a plan with the given steps; number and heads are those of the inventory.
func (s *site) planText(name, extra, steps string) string {
	chain, err := conduct.Load(s.store, [32]byte{})
	s.must(err)
	var pin [32]byte
	if chain.Register != nil {
		pin = chain.Register.Pin
	}
	var b strings.Builder
	fmt.Fprintf(&b, "version: 1\nenvironment: %s\nsite: S1\nceremony: %s\nnumber: %d\nprevious: %s\nregister_pin: %s\n", s.env, name, chain.Number+1, hashText(chain.Head), hashText(pin))
	b.WriteString("not_after: 2027-03-02T00:00:00Z\ninventory: ./inventory\ntoken: {module: /usr/lib/hsm.so, label: tok, pin: tpm}\nvault: {folder: ./keys, origin: factory.example/log}\n")
	if chain.Number == 0 {
		b.WriteString("officers:\n")
		for _, o := range officers {
			fmt.Fprintf(&b, "  - {id: %s, person: %s, role: %s, key: %x}\n", o.ID, o.Person, o.Role, []byte(s.keys[o.ID].Public().(ed25519.PublicKey)))
		}
	}
	if !strings.Contains(extra, "present:") {
		extra += "present: [ann, bob]\n"
	}
	b.WriteString(extra + "custodians:\n  - {id: c1, person: First Keeper}\n  - {id: c2, person: Second Keeper}\n  - {id: c3, person: Third Keeper}\nsteps:\n" + steps)
	return b.String()
}

func (s *site) parse(text string) *plan.Plan {
	s.t.Helper()
	p, err := plan.Parse([]byte(text))
	if err != nil {
		s.t.Fatalf("%v\n%s", err, text)
	}
	return p
}

func (s *site) config(p *plan.Plan) conduct.Config {
	return conduct.Config{Plan: p, Token: s.token, Store: s.store, Room: s.room, OPs: journal.OPFolder(filepath.Join(s.dir, "op")),
		Now: func() time.Time { s.now = s.now.Add(time.Second); return s.now }, Rand: s.rand}
}

func (s *site) run(p *plan.Plan) (conduct.Result, error) {
	return conduct.Run(s.t.Context(), s.config(p))
}

func (s *site) mustRun(text string) conduct.Result {
	s.t.Helper()
	res, err := s.run(s.parse(text))
	s.must(err)
	return res
}

// importStep is a step with three components.
func importStep(op, class, id string, n int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "  - do: %s\n    key: %s/%s\n    backup: media\n    owner: partner\n    until: 2032-01-01\n    bytes: %d\n    kcv: none\n    components:\n", op, class, id, n)
	for _, c := range []string{"c1", "c2", "c3"} {
		fmt.Fprintf(&b, "      - {custodian: %s, place: safe of %s, kcv: %s}\n", c, c, kcvOf(class, id, c, n))
	}
	return b.String()
}

const generateSite = `  - {do: generate, key: log/S1, backup: cluster-only, owner: site, until: 2037-01-01}
  - {do: generate, key: statement/S1, backup: cluster-only, owner: site, until: 2037-01-01}
  - {do: generate, key: receipt/S1, backup: cluster-only, owner: site, until: 2037-01-01, copies: [{holder: hsm-2, place: second room}]}
  - {do: generate, key: eum/S1, backup: cluster-only, owner: site, until: 2037-01-01}
  - {do: generate, key: eis/S1, backup: cluster-only, owner: site, until: 2037-01-01}
  - {do: generate, key: eum-brainpool/S1, backup: cluster-only, owner: site, until: 2037-01-01}
  - {do: request, key: eum/S1, scheme: sgp02, country: CH, organization: Example EUM, common_name: EUM, oid: 2.999.5}
  - {do: request, key: eum-brainpool/S1, scheme: sgp22, organization: Example EUM, common_name: EUM 2, oid: 2.999.5, issuer_numbers: [89049032]}
  - {do: generate, key: seal/S1, backup: cluster-only, owner: site, until: 2037-01-01}
`

// generateEnvelope makes the key that signs envelopes. It is not among the first steps of every test: RSA takes its time.
const generateEnvelope = `  - {do: generate, key: envelope/S1, backup: cluster-only, owner: site, until: 2037-01-01}
`

func firstSteps() string {
	return generateSite + importStep("import", "kmc", "maker-1", 16) + importStep("import", "transport-3des", "auc-1", 16) + importStep("seal-op", "op", "op-1", 16)
}

const endOfMaker = `  - {do: suspend, key: kmc/maker-1, reason: the maker asked}
  - {do: resume, key: kmc/maker-1, reason: all clear}
  - {do: retire, key: kmc/maker-1, reason: contract ended}
  - {do: destroy, key: kmc/maker-1, reason: contract ended}
  - {do: sign-off, key: kmc/maker-1, holder: c1, place: safe of c1, by: [c1, bob]}
  - {do: sign-off, key: kmc/maker-1, holder: c2, place: safe of c2, by: [c2, bob]}
  - {do: sign-off, key: kmc/maker-1, holder: c3, place: safe of c3, by: [c3, c1]}
`

// memory is a Store without a disk; TestFolder has one with.
type memory map[string][]byte

func (m memory) Put(name string, content []byte) error {
	if there, ok := m[name]; ok && !bytes.Equal(there, content) {
		return fs.ErrExist
	}
	m[name] = bytes.Clone(content)
	return nil
}

func (m memory) Get(name string) ([]byte, error) {
	if b, ok := m[name]; ok {
		return b, nil
	}
	return nil, fs.ErrNotExist
}

// faultyStore fails at one Put, before or after it is done.
type faultyStore struct {
	conduct.Store
	at      int // counts down
	written bool
}

var errBroken = errors.New("the machine broke")

func (f *faultyStore) Put(name string, content []byte) error {
	f.at--
	if f.at == 0 && !f.written {
		return errBroken
	}
	err := f.Store.Put(name, content)
	if f.at == 0 {
		return errors.Join(errBroken, err)
	}
	return err
}

func (s *site) has(label string) bool {
	k, err := hsm.ParseKey(label)
	s.must(err)
	has, err := s.token.Has(s.t.Context(), k)
	s.must(err)
	return has
}

// leaks looks for every component, and the keys they make, in every file.
func (s *site) leaks() {
	s.t.Helper()
	var needles [][]byte
	for _, id := range []string{"maker-1", "auc-1", "op-1"} {
		whole := make([]byte, 16)
		for _, c := range []string{"c1", "c2", "c3"} {
			b := componentBytes(id, c, 16)
			for i := range whole {
				whole[i] ^= b[i]
			}
			needles = append(needles, b)
		}
		needles = append(needles, whole)
	}
	search := func(path string, content []byte) {
		for _, n := range needles {
			if bytes.Contains(content, n) || bytes.Contains(bytes.ToLower(content), []byte(hex.EncodeToString(n))) {
				s.t.Errorf("%s holds key material", path)
			}
		}
	}
	if m, ok := s.store.(memory); ok {
		for name, content := range m {
			search(name, content)
		}
	}
	err := filepath.WalkDir(s.dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		search(path, content)
		return err
	})
	s.must(err)
}
