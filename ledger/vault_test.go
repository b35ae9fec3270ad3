package ledger

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/checkpoint"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/record"
	"github.com/persoline/persoline/perso/statement"
)

// vaultDouble signs checkpoints and serves acts as a test says. It believes nothing: whatever the ledger asks for must be
// proven against a checkpoint that it signed itself, and no checkpoint may fork from the one before.
type vaultDouble struct {
	t   testing.TB
	pin [32]byte
	pub ed25519.PublicKey
	key ed25519.PrivateKey

	mu       sync.Mutex
	last     checkpoint.Checkpoint
	open     map[perso.Name]statement.Release
	scripted map[id.ChipID][]bus.ServeResult
	refusals map[id.ChipID]string
	given    map[[33]byte]bus.ServeResult // scripted answers that were given: they are given again
	fail     func(verb string) error      // of the next calls, when set
	serving  func(entry.Claim, entry.Act) // called while an act is served, without the lock
	asked    func(bus.ServeItem)          // called for each item, with the lock
	chips    map[id.ChipID]id.EID         // I1: one chip, one EID
	owners   map[id.EID]id.ChipID         // and the other way round
	units    map[string]id.ChipID         // lot, unit and generation
	states   map[[33]byte][]byte          // what was sealed for an act
	serials  uint64                       // makes certificates differ
	laid     []string                     // Ki of the file that is being checked
	kis      map[string]bus.SameKi        // whose a Ki is
	goods    map[id.ChipID]entry.Act      // by which chips were called good
	acts     uint8                        // acts of a whole session
	served   int                          // acts answered
	openings int                          // OpenLot calls
	chains   map[perso.Name][][]byte      // receipts
	words    []statement.Signed           // what officers said of the site
}

func newVault(t testing.TB, pin [32]byte) *vaultDouble {
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{9}, 32))
	return &vaultDouble{t: t, pin: pin, key: key, pub: key.Public().(ed25519.PublicKey), acts: 2,
		last: checkpoint.Checkpoint{Origin: testOrigin, Root: checkpoint.EmptyRoot()},
		open: map[perso.Name]statement.Release{}, scripted: map[id.ChipID][]bus.ServeResult{}, refusals: map[id.ChipID]string{}, given: map[[33]byte]bus.ServeResult{}, chips: map[id.ChipID]id.EID{},
		owners: map[id.EID]id.ChipID{}, units: map[string]id.ChipID{}, states: map[[33]byte][]byte{}, goods: map[id.ChipID]entry.Act{}, kis: map[string]bus.SameKi{}}
}

// say scripts the answers to a chip's next acts.
func (v *vaultDouble) say(c *chip, r ...bus.ServeResult) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.scripted[c.id()] = append(v.scripted[c.id()], r...)
}

// restart forgets what a vault process holds in memory.
func (v *vaultDouble) restart() {
	v.mu.Lock()
	defer v.mu.Unlock()
	clear(v.open)
}

// forget lets go of the cards of lots that nobody asks about any more, so that what the double holds does not grow with the ledger.
func (v *vaultDouble) forget() {
	v.mu.Lock()
	defer v.mu.Unlock()
	clear(v.given)
	clear(v.chips)
	clear(v.owners)
	clear(v.units)
	clear(v.states)
	clear(v.goods)
	clear(v.chains)
}

// refuseNext has the vault refuse a chip's next act once, and forget that it did.
func (v *vaultDouble) refuseNext(c *chip, why string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.refusals[c.id()] = why
}

func (v *vaultDouble) failing(verb string) error {
	v.mu.Lock()
	f := v.fail
	v.mu.Unlock()
	if f == nil {
		return nil
	}
	return f(verb)
}

func (v *vaultDouble) Checkpoint(_ context.Context, q bus.CheckpointRequest) (bus.CheckpointReply, error) {
	if err := v.failing("checkpoint"); err != nil {
		return bus.CheckpointReply{}, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if q.Old != v.last.Size {
		return bus.CheckpointReply{Last: v.last.Size}, nil
	}
	c := checkpoint.Checkpoint{Origin: testOrigin, Size: q.Size, Root: q.Root}
	if err := checkpoint.CheckConsistency(v.last, c, hashes(q.Proof)); err != nil {
		v.t.Errorf("the ledger wants a fork signed: %v", err)
		return bus.CheckpointReply{}, err
	}
	v.last = c
	note, err := c.Seal(v.pub, func(text []byte) ([]byte, error) { return ed25519.Sign(v.key, text), nil })
	return bus.CheckpointReply{Note: note, Last: c.Size}, err
}

func hashes(p [][32]byte) []checkpoint.Hash {
	out := make([]checkpoint.Hash, len(p))
	for i, h := range p {
		out[i] = h
	}
	return out
}

// proves says whether an entry stands in a checkpoint of this vault's log.
func (v *vaultDouble) proves(note []byte, p bus.Proven) error {
	c, err := checkpoint.Open(note, testOrigin, v.pub)
	if err != nil {
		return err
	}
	return checkpoint.CheckInclusion(c, p.Seq, p.Entry, hashes(p.Proof))
}

func (v *vaultDouble) OpenLot(_ context.Context, q bus.OpenLotRequest) (bus.OpenLotReply, error) {
	if err := v.failing("open"); err != nil {
		return bus.OpenLotReply{}, err
	}
	var chain []statement.Signed
	for _, raw := range q.Register {
		chain = append(chain, must(statement.DecodeSigned(raw)))
	}
	reg, err := statement.NewRegister(v.pin, chain)
	if err != nil {
		return bus.OpenLotReply{}, err
	}
	if told := v.toldRegister(); len(told) != len(chain) || told[len(told)-1].Hash() != chain[len(chain)-1].Hash() {
		v.t.Errorf("the ledger shows a register of %d statements, and told of %d", len(chain), len(told))
	}
	signed := must(statement.DecodeSigned(q.Release))
	if err := reg.Authorize(signed); err != nil {
		v.t.Errorf("the ledger opens a lot that nobody released: %v", err)
		return bus.OpenLotReply{}, err
	}
	r := must(statement.ParseRelease(signed.Body))
	if sha256.Sum256(q.Script) != r.ScriptHash {
		v.t.Errorf("script of lot %s is not the released one", r.Lot)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.open[r.Lot] = r
	v.openings++
	return bus.OpenLotReply{Lot: r.Lot}, nil
}

// Heed holds each word against the register as it was then.
func (v *vaultDouble) Heed(_ context.Context, q bus.HeedRequest) (bus.HeedReply, error) {
	if err := v.failing("heed"); err != nil {
		return bus.HeedReply{}, err
	}
	if _, err := bus.Encode(q); err != nil { // nobody would hear it
		return bus.HeedReply{}, err
	}
	v.mu.Lock()
	known, now, then := uint64(len(v.words)), statement.Words{}, statement.Words{}
	a := bus.HeedReply{Known: known}
	for i, s := range v.words {
		if now = now.And(s.Hash()); now.Count == q.Known {
			then = now
		}
		if uint64(i) == q.Known {
			a.Next = s.Hash()
		}
	}
	v.mu.Unlock()
	if a.Same = q.Known <= known && q.Chain == then.Chain; q.Known != known || !a.Same {
		return a, nil
	}
	for _, raw := range q.Words {
		s := must(statement.DecodeSigned(raw))
		kind := must(record.Kind(s.Body))
		if kind == statement.KindFreeze || kind == statement.KindUnfreeze || kind == statement.KindShort {
			if err := must(statement.NewRegister(v.pin, v.toldRegister())).Authorize(s); err != nil {
				v.t.Errorf("the ledger tells of a %s that nobody may sign: %v", kind, err)
			}
		}
		v.mu.Lock()
		v.words = append(v.words, s)
		v.mu.Unlock()
	}
	return bus.HeedReply{Taken: true, Known: known + uint64(len(q.Words)), Same: true}, nil
}

func (v *vaultDouble) toldRegister() (chain []statement.Signed) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, s := range v.words {
		if kind := must(record.Kind(s.Body)); kind != statement.KindFreeze && kind != statement.KindUnfreeze && kind != statement.KindShort {
			chain = append(chain, s)
		}
	}
	return chain
}

func (v *vaultDouble) release(lot perso.Name) (statement.Release, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	r, ok := v.open[lot]
	if !ok {
		return r, bus.Refuse(bus.FaultLotNotOpen, "lot %s", lot)
	}
	return r, nil
}

func (v *vaultDouble) Challenges(_ context.Context, q bus.VaultChallengesRequest) (bus.VaultChallengesReply, error) {
	if err := v.failing("challenges"); err != nil {
		return bus.VaultChallengesReply{}, err
	}
	if _, err := v.release(q.Lot); err != nil {
		return bus.VaultChallengesReply{}, err
	}
	var a bus.VaultChallengesReply
	for i := range uint64(q.Count) {
		a.Values = append(a.Values, fmt.Appendf(nil, "%08d", q.First+i))
	}
	return a, nil
}

func (v *vaultDouble) Serve(_ context.Context, q bus.ServeRequest) (bus.ServeReply, error) {
	if err := v.failing("serve"); err != nil {
		return bus.ServeReply{}, err
	}
	r, err := v.release(q.Lot)
	if err != nil {
		return bus.ServeReply{}, err
	}
	if _, err := bus.Encode(q); err != nil {
		v.t.Errorf("a batch of %d acts is no message: %v", len(q.Items), err)
	}
	var a bus.ServeReply
	for _, item := range q.Items {
		result, err := v.serve(r, q.Checkpoint, item)
		if err != nil {
			v.t.Errorf("serving: %v", err)
			return bus.ServeReply{}, err
		}
		a.Results = append(a.Results, result)
	}
	return a, v.failing("served")
}

func (v *vaultDouble) serve(r statement.Release, note []byte, item bus.ServeItem) (bus.ServeResult, error) {
	if err := errors.Join(v.proves(note, item.Claim), v.proves(note, item.Act)); err != nil {
		return bus.ServeResult{}, err
	}
	claim, act := must(entry.ParseClaim(item.Claim.Entry)), must(entry.ParseAct(item.Act.Entry))
	if v.serving != nil {
		v.serving(claim, act)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := errors.Join(v.fits(r, claim, act, item), v.follows(note, claim, item), v.alone(claim)); err != nil {
		return bus.ServeResult{}, err
	}
	v.served++
	v.keep(claim.Lot, entry.Receipt{Vault: "V1", Lot: claim.Lot, Unit: claim.Unit, Gen: claim.Gen, Claim: entry.Hash(item.Claim.Entry), Session: act.Session, N: act.N,
		Responses: act.Responses, Result: "script", At: act.At, MAC: [32]byte{1}})
	result := v.result(claim, act, item)
	if result.Window != nil {
		v.states[stateKey(act.Session, act.N)] = result.State
	}
	return result, nil
}

// stateOf is what goes out with a window.
func stateOf(s perso.Session, n uint8) []byte { return fmt.Appendf(nil, "state %s %d", s, n) }

func stateKey(s perso.Session, n uint8) (k [33]byte) {
	copy(k[:], s[:])
	k[32] = n
	return k
}

// fits holds the item against claim, act and release.
func (v *vaultDouble) fits(r statement.Release, c entry.Claim, a entry.Act, item bus.ServeItem) error {
	eid, err := r.EIDs.At(uint64(c.Index))
	switch {
	case err != nil || eid != c.EID || uint64(c.Index) >= r.Units() || uint64(c.Unit) >= r.Units() || c.Lot != r.Lot:
		return fmt.Errorf("claim %+v is not within the release", c)
	case a.Lot != c.Lot || a.Unit != c.Unit || a.Gen != c.Gen || item.Act.Seq <= item.Claim.Seq:
		return fmt.Errorf("act %+v is not of claim %+v", a, c)
	case a.Session != entry.SessionOf(item.Command, item.Answer) || a.Responses != entry.ResponsesHash(item.Responses) || !a.At.Equal(item.At):
		return fmt.Errorf("act %d is not what was logged", a.N)
	case a.N > 0 && !bytes.Equal(item.State, v.states[stateKey(a.Session, a.N-1)]):
		return fmt.Errorf("act %d comes with the state %q of another", a.N, item.State)
	}
	return nil
}

// follows demands that a re-made unit shows the loss before it.
func (v *vaultDouble) follows(note []byte, c entry.Claim, item bus.ServeItem) error {
	if c.Gen == 0 {
		if item.Loss != nil || c.Loss != 0 {
			return fmt.Errorf("unit %d: a loss before generation 0", c.Unit)
		}
		return nil
	}
	if item.Loss == nil || uint64(item.Loss.Seq) != c.Loss {
		return fmt.Errorf("unit %d generation %d: no loss shown", c.Unit, c.Gen)
	}
	if err := v.proves(note, *item.Loss); err != nil {
		return err
	}
	o, err := entry.ParseOutcome(item.Loss.Entry)
	if err != nil || o.Unit != c.Unit || o.Gen+1 != c.Gen || o.Verdict != perso.VerdictRejectLive || o.EID == c.EID || o.Chip == c.Chip {
		return fmt.Errorf("unit %d generation %d: %+v is not its loss (%v)", c.Unit, c.Gen, o, err)
	}
	return nil
}

// alone is I1 as the vault sees it.
func (v *vaultDouble) alone(c entry.Claim) error {
	unit := fmt.Sprintf("%s/%d/%d", c.Lot, c.Unit, c.Gen)
	eid, a := v.chips[c.Chip]
	owner, b := v.owners[c.EID]
	holder, d := v.units[unit]
	if a && eid != c.EID || b && owner != c.Chip || d && holder != c.Chip {
		return fmt.Errorf("I1: unit %s, EID %s and chip %s are bound elsewhere", unit, c.EID, c.Chip)
	}
	v.chips[c.Chip], v.owners[c.EID], v.units[unit] = c.EID, c.Chip, c.Chip
	return nil
}

// result is the scripted answer, else a window for each act and good after the last. Rendering is a function of the item,
// but for the certificate, which a new signature makes another one each time.
func (v *vaultDouble) result(c entry.Claim, a entry.Act, item bus.ServeItem) bus.ServeResult {
	if v.asked != nil {
		v.asked(item)
	}
	receipt := fmt.Appendf(nil, "receipt %s %d", a.Session, a.N)
	key := stateKey(a.Session, a.N)
	if why, refused := v.refusals[c.Chip]; refused {
		delete(v.refusals, c.Chip)
		return bus.ServeResult{Refused: why}
	}
	if r, before := v.given[key]; before {
		return r
	}
	if s := v.scripted[c.Chip]; len(s) > 0 {
		v.scripted[c.Chip] = s[1:]
		s[0].Receipt = receipt
		v.given[key] = s[0]
		return s[0]
	}
	if a.N+1 >= v.acts {
		v.goods[c.Chip] = a
		return bus.ServeResult{Good: true, Receipt: receipt}
	}
	cert := item.Stored
	out := bus.ServeResult{State: stateOf(a.Session, a.N), Final: a.N+2 >= v.acts, Receipt: receipt}
	if len(cert.Cert) == 0 {
		v.serials++
		cert = bus.Stored{Cert: fmt.Appendf(nil, "cert %d of %s", v.serials, c.EID), Key: []byte("key of " + c.Chip.String())}
		out.Stored = &cert
	}
	out.Window = []bus.Play{{APDU: fmt.Appendf(nil, "%s act %d with %s", a.Session, a.N, cert.Cert), SW: "9000"}}
	return out
}
