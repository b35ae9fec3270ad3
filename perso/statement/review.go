package statement

import (
	"fmt"
	"time"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/record"
)

// KindReview names the statement by which a person signs off what the log shows as out of the ordinary.
const KindReview = "exception-review"

// MaxReviewed bounds the entries of one review.
const MaxReviewed = 64

// Reviewed is one log entry that a person looked into: an alarm, a refusal, a stop, or any other that asks for a word.
type Reviewed struct {
	Entry   uint64   // its number in the log
	Hash    [32]byte // of the entry (entry.Hash), so that the word is about nothing else
	Finding string   // what it was, and what was done
}

// Review is what one officer signs, or several: that logs are looked at by named people, and not only kept, is a duty of SAS.
type Review struct {
	Env   perso.Env
	Site  perso.Name
	At    time.Time
	Nonce [32]byte
	Items []Reviewed
}

// Encode gives the body to sign.
func (v Review) Encode() ([]byte, error) {
	w := record.New(KindReview).Str("env", string(v.Env)).Str("site", string(v.Site)).Time("at", v.At).Hex("nonce", v.Nonce[:])
	for _, x := range v.Items {
		w.Uint("entry", x.Entry).Hex("hash", x.Hash[:]).Str("finding", x.Finding)
	}
	return w.Bytes()
}

// ParseReview reads the body; it checks form and inner sense, not signatures.
func ParseReview(body []byte) (Review, error) {
	r, err := record.Parse(body, KindReview)
	if err != nil {
		return Review{}, fmt.Errorf("parsing exception review: %w", err)
	}
	var v Review
	v.Env, err = perso.ParseEnv(r.Raw("env"))
	r.Check(err)
	v.Site = r.Name("site")
	v.At, v.Nonce = r.Time("at"), r.Hash("nonce")
	for first := true; first || r.More() && len(v.Items) < MaxReviewed; first = false {
		x := Reviewed{Entry: r.Uint("entry", 63), Hash: r.Hash("hash"), Finding: r.Raw("finding")}
		if x.Finding == record.None {
			r.Check(fmt.Errorf("entry %d was signed off without a word", x.Entry))
		}
		if n := len(v.Items); n > 0 && v.Items[n-1].Entry >= x.Entry {
			r.Check(fmt.Errorf("entries are not in the order of the log"))
		}
		v.Items = append(v.Items, x)
	}
	if err := r.Done(); err != nil {
		return Review{}, fmt.Errorf("parsing exception review: %w", err)
	}
	return v, nil
}
