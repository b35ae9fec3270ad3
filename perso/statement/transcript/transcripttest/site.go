// Package transcripttest makes transcripts of key ceremonies without a vault: what tests of readers are fed with.
//
// Callers: tests.
package transcripttest

import (
	"bytes"
	"crypto/ed25519"
	"slices"
	"time"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/statement"
	"github.com/persoline/persoline/perso/statement/transcript"
)

// Site makes one transcript after the other. A panic is a fault of the test.
type Site struct {
	Register []statement.Signed
	Head     [32]byte
	Number   uint64
	Now      time.Time
}

// Key is an officer's; every officer's is other.
func Key(id perso.Name) ed25519.PrivateKey {
	seed := make([]byte, ed25519.SeedSize)
	copy(seed, id)
	return ed25519.NewKeyFromSeed(seed)
}

// Officer is one with his key.
func Officer(id perso.Name, role statement.Role) statement.Officer {
	return statement.Officer{ID: id, Person: "Person " + string(id), Role: role, Key: Key(id).Public().(ed25519.PublicKey)}
}

// New has a register of ann (production), bob (security) and cid (quality).
func New() *Site {
	s := &Site{Now: time.Date(2027, 3, 1, 8, 0, 0, 0, time.UTC)}
	g := statement.Genesis{Env: perso.EnvTest, Site: "S1", At: s.Now, Nonce: [32]byte{1}, Officers: []statement.Officer{
		Officer("ann", statement.RoleProduction), Officer("bob", statement.RoleSecurity), Officer("cid", statement.RoleQuality)}}
	s.Register = []statement.Signed{Sign(must(g.Encode()), "ann", "bob", "cid")}
	return s
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// Sign signs a body.
func Sign(body []byte, by ...perso.Name) statement.Signed {
	s := statement.Signed{Body: bytes.Clone(body)}
	for _, id := range by {
		s.Sign(id, Key(id))
	}
	return s
}

// Order is that of the next ceremony.
func (s *Site) Order(acts ...transcript.Act) transcript.Order {
	s.Now = s.Now.Add(time.Minute)
	return transcript.Order{Env: perso.EnvTest, Site: "S1", Ceremony: "c", Number: s.Number + 1, Prev: s.Head, Register: s.Register[len(s.Register)-1].Hash(),
		Plan: [32]byte{2}, Token: "tok", At: s.Now, NotAfter: s.Now.Add(time.Hour), Nonce: [32]byte{3}, Present: []perso.Name{"ann", "bob"},
		Custodians: []transcript.Custodian{{ID: "c1", Person: "Keeper 1"}, {ID: "c2", Person: "Keeper 2"}}, Acts: acts}
}

// Hold makes the transcript of an order in which everything was done, and moves on.
func (s *Site) Hold(o transcript.Order) transcript.File {
	f := transcript.File{Register: slices.Clone(s.Register), Order: Sign(must(o.Encode()), o.Present...)}
	prev := f.Order.Hash()
	for i, a := range o.Acts {
		for _, phase := range []transcript.Phase{transcript.PhaseIntent, transcript.PhaseDone} {
			s.Now = s.Now.Add(time.Second)
			step := transcript.Step{N: uint64(len(f.Steps) + 1), Prev: prev, At: s.Now, Phase: phase, Act: uint64(i + 1), Op: a.Op, Key: a.Subject(), By: o.Present}
			if phase == transcript.PhaseDone && a.Op.Creates() {
				step.Result = "kcv:010203"
			}
			b := must(step.Encode())
			prev = transcript.Hash(b)
			f.Steps = append(f.Steps, b)
		}
	}
	f.End = Sign(must(s.End(f, o).Encode()), o.Present...)
	s.Number, s.Head = o.Number, f.End.Hash()
	return f
}

// End is the end of a file whose steps are all there.
func (s *Site) End(f transcript.File, o transcript.Order) transcript.End {
	prev := f.Order.Hash()
	if n := len(f.Steps); n > 0 {
		prev = transcript.Hash(f.Steps[n-1])
	}
	return transcript.End{Env: o.Env, Site: o.Site, Ceremony: o.Ceremony, Number: o.Number, Order: f.Order.Hash(), Prev: prev, Steps: uint64(len(f.Steps)),
		Register: f.Register[len(f.Register)-1].Hash(), At: s.Now, Outcome: transcript.OutcomeComplete}
}

// Generate makes a key of the test environment.
func Generate(key string) transcript.Act {
	return transcript.Act{Op: transcript.OpGenerate, Key: transcript.Label("persoline/test/" + key), Backup: transcript.BackupCluster, Owner: "site",
		Until: time.Date(2037, 1, 1, 0, 0, 0, 0, time.UTC)}
}

// Word is an act that needs a reason.
func Word(op transcript.Op, key string) transcript.Act {
	return transcript.Act{Op: op, Key: transcript.Label("persoline/test/" + key), Reason: "because"}
}
