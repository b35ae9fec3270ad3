package statement

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/record"
)

// KindForget names the statement by which two officers have the openings of a lot deleted.
const KindForget = "lot-forget"

// MaxTaken bounds the words of the order desk that go with a lot's release.
const MaxTaken = 100

// Forget is what two officers sign so that the ledger deletes what opens a lot's entries in the log: its order, its release, and
// the order desk's words about the order. The lot's key is destroyed before. What a verifier must know of the release to judge
// the rest of the log is in here; no number of a card is.
type Forget struct {
	Header
	Lot         perso.Name
	Release     [32]byte // hash of the release that is deleted
	Certificate [32]byte // hash of the vault's certificate that the lot's key is destroyed
	Good        uint64   // ordered units
	Proof       string   // by which the lot's units are good
	Asks        Demands  // of its order
	Taken       [][32]byte
}

// Openings are the hashes of the statements that are deleted, the release first.
func (f Forget) Openings() [][32]byte { return append([][32]byte{f.Release}, f.Taken...) }

// Encode gives the body to sign.
func (f Forget) Encode() ([]byte, error) {
	w := f.write(KindForget).Str("lot", string(f.Lot)).Hex("release", f.Release[:]).Hex("certificate", f.Certificate[:]).
		Uint("good", f.Good).Str("proof", f.Proof).Str("order_asks", string(f.Asks))
	for _, h := range f.Taken {
		w.Hex("order_taken", h[:])
	}
	return w.Bytes()
}

// ParseForget reads the body; it checks form and inner sense, not signatures.
func ParseForget(body []byte) (f Forget, err error) {
	r, err := f.read(body, KindForget)
	if err != nil {
		return Forget{}, err
	}
	f.Lot = r.Name("lot")
	f.Release, f.Certificate, f.Good, f.Proof = r.Hash("release"), r.Hash("certificate"), r.Uint("good", 64), said(r, "proof")
	if asks := r.Raw("order_asks"); asks != record.None {
		f.Asks, err = ParseDemands(asks)
		r.Check(err)
	}
	for r.More() && len(f.Taken) < MaxTaken {
		h := r.Hash("order_taken")
		if n := len(f.Taken); n > 0 && bytes.Compare(f.Taken[n-1][:], h[:]) >= 0 {
			r.Check(fmt.Errorf("order_taken %x is not in its place: they stand in the order of their bytes, each once", h))
		}
		f.Taken = append(f.Taken, h)
	}
	return finished(f, r, KindForget)
}

// TrustsLine says what the deleted release's TrustsLine said: its proof ends so.
func (f Forget) TrustsLine() bool { return strings.HasSuffix(f.Proof, " "+trustsLine) }

// TrustsContents says what the deleted release's TrustsContents said.
func (f Forget) TrustsContents() bool { return strings.HasSuffix(f.Proof, " "+trustsContents) }
