package conduct

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"

	"github.com/persoline/persoline/hsm"
	"github.com/persoline/persoline/keygen/ceremony/census"
	"github.com/persoline/persoline/keygen/ceremony/plan"
	"github.com/persoline/persoline/keygen/certify"
	"github.com/persoline/persoline/perso/checkpoint"
	"github.com/persoline/persoline/perso/statement/transcript"
)

// Names of public artefacts, behind the ceremony's number.
const (
	fileLogKey     = "log.vkey"
	fileStatements = "statement.pub"
)

// publish writes the public halves of the pairs that this ceremony made: SubjectPublicKeyInfo in PEM (RFC 7468), the log
// key as a C2SP verifier key as well, the statement key in hex.
func (r *run) publish(ctx context.Context) error {
	for _, a := range r.made() {
		pub, err := r.publicKey(ctx, a.Key)
		if err != nil {
			return fmt.Errorf("reading the public key of %q: %w", a.Key, err)
		}
		der, err := census.PublicDER(pub)
		if err != nil {
			return err
		}
		files := map[string][]byte{pemName(a.Key): pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})}
		raw, isEd := pub.(ed25519.PublicKey)
		switch {
		case isEd && a.Key.Class() == hsm.ClassLog.String() && r.Plan.Vault.Origin != "":
			vkey, err := checkpoint.VerifierKey(r.Plan.Vault.Origin, raw)
			if err != nil {
				return err
			}
			files[fileLogKey] = []byte(vkey + "\n")
		case isEd && a.Key.Class() == hsm.ClassStatement.String():
			files[fileStatements] = []byte(hex.EncodeToString(raw) + "\n")
		}
		for name, content := range files {
			if err := r.Store.Put(publicName(r.Plan.Number, name), content); err != nil {
				return err
			}
		}
	}
	return nil
}

// made lists the pairs that were generated and are still there: a plan may make and destroy one.
func (r *run) made() (out []transcript.Act) {
	inv := r.chain.Inventory.Clone()
	done := map[uint64]bool{}
	for _, b := range r.steps {
		s, err := transcript.ParseStep(b)
		if err != nil || s.Phase != transcript.PhaseDone {
			continue
		}
		done[s.Act] = true
		_ = inv.Apply(r.progress.Order.Acts[s.Act-1], transcript.Done{}) // was allowed when it was done
	}
	for i, a := range r.progress.Order.Acts {
		k, err := hsm.ParseKey(string(a.Key))
		if err != nil || a.Op != transcript.OpGenerate || !done[uint64(i+1)] || k.Admit(hsm.VerbPublic, 0) != nil {
			continue
		}
		if e := inv.Find(a.Key); e != nil && e.State.OnToken() {
			out = append(out, a)
		}
	}
	return out
}

// publicNames lists what a finished ceremony published.
func (r *run) publicNames(t transcript.Told) (names []string) {
	for _, a := range t.Order.Acts {
		if a.Op == transcript.OpRequest {
			names = append(names, publicName(t.Order.Number, requestName(a.Key)))
		}
		if a.Op != transcript.OpGenerate {
			continue
		}
		for _, name := range []string{pemName(a.Key), fileLogKey, fileStatements} {
			if name == fileLogKey && a.Key.Class() != hsm.ClassLog.String() || name == fileStatements && a.Key.Class() != hsm.ClassStatement.String() {
				continue
			}
			if _, err := r.Store.Get(publicName(t.Order.Number, name)); err == nil {
				names = append(names, publicName(t.Order.Number, name))
			}
		}
	}
	return names
}

// request signs a certificate request, once: a signature of ECDSA is another each time, so the one on disk is the one.
func (r *run) request(ctx context.Context, a transcript.Act) (string, error) {
	name := publicName(r.Plan.Number, requestName(a.Key))
	der, err := r.Store.Get(name)
	if errors.Is(err, fs.ErrNotExist) {
		if der, err = r.signRequest(ctx, a); err == nil {
			err = r.Store.Put(name, der)
		}
	}
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("request:%x", sha256.Sum256(der)), nil
}

func (r *run) signRequest(ctx context.Context, a transcript.Act) ([]byte, error) {
	k, err := hsm.ParseKey(string(a.Key))
	if err != nil {
		return nil, err
	}
	pub, err := r.Token.Public(ctx, k)
	if err != nil {
		return nil, err
	}
	key, err := certify.KeyOf(pub)
	if err != nil {
		return nil, err
	}
	q, err := plan.CertRequest(a.Asked[0], key)
	if err != nil {
		return nil, err
	}
	return certify.SignRequest(ctx, certify.SignerOf(r.Token, k), q)
}

func requestName(l transcript.Label) string {
	return printable(l.Class()+"/"+string(l.ID())) + ".csr.der"
}

func pemName(l transcript.Label) string { return printable(l.Class()+"/"+string(l.ID())) + ".pub.pem" }
