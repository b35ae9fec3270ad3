package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/persoline/persoline/hsm"
	"github.com/persoline/persoline/hsm/softhsm"
	"github.com/persoline/persoline/keygen/ceremony/census"
	"github.com/persoline/persoline/keygen/ceremony/conduct"
	"github.com/persoline/persoline/keygen/ceremony/plan"
	"github.com/persoline/persoline/keygen/ceremony/share"
	"github.com/persoline/persoline/keygen/journal"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/cmd/cli/keyfile"
	"github.com/persoline/persoline/perso/record"
	"github.com/persoline/persoline/perso/secret"
	"github.com/persoline/persoline/perso/statement"
	"github.com/persoline/persoline/perso/statement/transcript"
)

// ceremonyFlags are what people bring to a ceremony.
type ceremonyFlags struct {
	keys   []string // officers' key files
	from   []string // custodian=source of components
	halves []string // custodian=source of a PIN's half
	pin    string   // source of a whole PIN
	yes    bool
}

// ceremonyRoom is a plan with the people and the things in the room.
type ceremonyRoom struct {
	env    *Env
	dir    string // of the plan: its paths begin there
	plan   *plan.Plan
	flags  ceremonyFlags
	keys   map[perso.Name]keyfile.Key
	from   sources
	halves sources
}

// readPlan reads a plan file.
func (env *Env) readPlan(path string) (*plan.Plan, error) {
	b, err := env.read(path, plan.MaxBytes)
	if err != nil {
		return nil, err
	}
	p, err := plan.Parse(b)
	if err != nil {
		return nil, Hint(fmt.Errorf("%s does not make sense:\n%w", path, err), "deploy/ceremony/PLAN.md describes every field")
	}
	return p, nil
}

// enter opens the room: plan, officers' keys, sources. The caller leaves it.
func (env *Env) enter(path string, flags ceremonyFlags) (r *ceremonyRoom, err error) {
	r = &ceremonyRoom{env: env, dir: filepath.Dir(path), flags: flags, keys: map[perso.Name]keyfile.Key{}}
	if r.plan, err = env.readPlan(path); err != nil {
		return nil, err
	}
	if r.from, err = parseSources("--from", flags.from); err != nil {
		return nil, err
	}
	if r.halves, err = parseSources("--half", flags.halves); err != nil {
		return nil, err
	}
	for _, id := range slices.Sorted(maps.Keys(r.halves)) {
		if _, known := r.plan.Custodian(id); !known {
			return nil, Usage("--half: %q is no custodian of the plan; there are %s", id, custodians(r.plan.Custodians))
		}
	}
	for _, file := range flags.keys {
		k, err := loadKey(file)
		if err != nil {
			r.leave()
			return nil, err
		}
		r.keys[k.Officer.ID] = k
	}
	return r, nil
}

func (r *ceremonyRoom) leave() {
	for _, k := range r.keys {
		k.Wipe()
	}
}

// path completes a path of the plan.
func (r *ceremonyRoom) path(p string) string {
	if filepath.IsAbs(p) {
		return p
	}
	return filepath.Join(r.dir, p)
}

// Sign shows a statement and has it signed with the officer's key file.
func (r *ceremonyRoom) Sign(ctx context.Context, officer perso.Name, s *statement.Signed) error {
	k, ok := r.keys[officer]
	if !ok {
		return Hint(fmt.Errorf("no key file of officer %q was given", officer), "each officer present gives one with --key")
	}
	kind, err := record.Kind(s.Body)
	if err != nil {
		return err
	}
	if err := r.env.consent(ctx, *s, kind, k.Officer, r.flags.yes); err != nil {
		return err
	}
	k.Sign(s)
	return nil
}

// Component lets a custodian enter a component.
func (r *ceremonyRoom) Component(_ context.Context, q conduct.Request) (secret.Bytes, error) {
	if q.Try > 1 {
		fmt.Fprintf(r.env.Err, "perso: that was not the component with check value %s; try %d\n", q.KCV, q.Try)
	}
	line, err := r.from.of(q.Custodian.ID).line(fmt.Sprintf("%s (%s), your component of %s, %d hex digits, check value %s",
		q.Custodian.Person, q.Custodian.ID, q.Key, 2*q.Bytes, q.KCV))
	if err != nil {
		return secret.Bytes{}, err
	}
	return share.ParseHex(line)
}

// Step says what was recorded.
func (r *ceremonyRoom) Step(s transcript.Step) {
	fmt.Fprintf(r.env.Err, "perso: [%s] step %d: %s %s: %s %s\n", r.plan.Env, s.N, s.Op, s.Key, s.Phase, s.Result)
}

// readPIN takes the token's PIN from where the plan says it comes from, and from nowhere else.
func (r *ceremonyRoom) readPIN() (secret.Bytes, error) {
	t := r.plan.Token
	switch t.PIN {
	case plan.PINCustodians:
		return r.joinPIN(t.Halves)
	case plan.PINTPM, plan.PINFile:
		want := map[plan.PINSource][]string{plan.PINTPM: {"fd", "credential"}, plan.PINFile: {"file"}}[t.PIN]
		s, err := parseSource(r.flags.pin)
		if err != nil || !slices.ContainsFunc(want, func(kind string) bool { return s.is(kind) }) {
			return secret.Bytes{}, Usage("the plan says that the PIN comes from %q: --pin must be one of %q", t.PIN, want)
		}
		line, err := s.line("")
		return secret.New(line), err
	}
	return secret.Bytes{}, fmt.Errorf("PIN source %q is none", t.PIN)
}

// custodians lists who they are.
func custodians(all []transcript.Custodian) string {
	var names []perso.Name
	for _, c := range all {
		names = append(names, c.ID)
	}
	return joinNames(names)
}

func (r *ceremonyRoom) joinPIN(who []perso.Name) (pin secret.Bytes, err error) {
	var halves [2]secret.Bytes
	defer func() {
		for _, h := range halves {
			h.Wipe()
		}
	}()
	for i, id := range who {
		c, _ := r.plan.Custodian(id) // the plan was checked
		line, err := r.halves.of(id).line(fmt.Sprintf("%s (%s), your half of the token's PIN", c.Person, id))
		if err != nil {
			return pin, err
		}
		halves[i] = secret.New(line)
	}
	return share.JoinPIN(r.plan.Env, halves[0], halves[1])
}

// openToken logs in to the plan's token.
func (r *ceremonyRoom) openToken(ctx context.Context) (*hsm.Token, error) {
	module := r.plan.Token.Module
	if module == plan.ModuleSoftHSM {
		found, err := softhsm.FindModule()
		if err != nil {
			return nil, err
		}
		if err := softhsm.Use(r.path(r.plan.Token.Directory)); err != nil {
			return nil, Hint(err, "'perso key token' makes a new one")
		}
		module = found
	}
	pin, err := r.readPIN()
	defer pin.Wipe()
	if err != nil {
		return nil, err
	}
	return hsm.Open(ctx, hsm.Config{Module: module, TokenLabel: r.plan.Token.Label, PIN: pin})
}

// config is what conduct is given; the token is the caller's to close.
func (r *ceremonyRoom) config(token *hsm.Token) (conduct.Config, error) {
	lots, err := r.lots()
	return conduct.Config{Plan: r.plan, Token: token, Store: r.store(), Room: r, OPs: journal.OPFolder(filepath.Join(r.path(r.plan.Vault.Folder), folderOPs)),
		Now: r.env.Now, Rand: r.env.Rand, Lots: lots}, err
}

func (r *ceremonyRoom) store() conduct.Folder { return conduct.Folder(r.path(r.plan.Inventory)) }

// lots is what the vault remembers of its lots; nothing when the plan names no vault.
func (r *ceremonyRoom) lots() (census.Lots, error) {
	memory := filepath.Join(r.path(r.plan.Vault.Folder), folderMemory)
	if _, err := os.Stat(memory); r.plan.Vault.Folder == "" || errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	m, err := journal.OpenMemory(memory)
	if err != nil {
		return nil, err
	}
	return census.LotsOf(m)
}

func (s *source) is(kind string) bool {
	return len(s.spec) > len(kind) && s.spec[:len(kind)+1] == kind+":"
}
