package statement

import (
	"fmt"
	"strings"
	"time"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/record"
)

// Kinds of the end of a lot's key.
const (
	// KindDestroy names the statement by which two officers have a lot's key destroyed.
	KindDestroy = "lot-destroy"
	// KindDestroyed names the vault's certificate that it is off the token.
	KindDestroyed = "lot-destroyed"
)

// MaxLotCopies bounds the copies of a lot key: members of one cluster.
const MaxLotCopies = 16

// maxLotKeys bounds the keys of one lot.
const maxLotKeys = 2

// LotCopy is a copy of a lot's key outside the vault's own token, and who saw that it is gone.
type LotCopy struct {
	Holder perso.Name // a token of the cluster, or who kept it
	Place  string
	By     [2]string // two persons
}

// Destroy is what two officers sign so that the vault destroys a lot's key after delivery and retention. It lists every
// copy: whether that is all of them, only the officers know.
type Destroy struct {
	Env      perso.Env
	Site     perso.Name
	Lot      perso.Name
	Release  [32]byte  // hash of the lot's release
	Close    [32]byte  // hash of the statement that closed it
	Retained time.Time // end of the retention that was agreed with the customer
	At       time.Time
	Nonce    [32]byte
	Copies   []LotCopy
}

// After refuses a retention that ended before the lot was closed.
func (d Destroy) After(closed time.Time) error {
	if d.Retained.Before(closed) {
		return fmt.Errorf("retention ended %s, before the lot was closed at %s: name its end, which is not before that", d.Retained.Format(record.TimeForm), closed.Format(record.TimeForm))
	}
	return nil
}

// Encode gives the body to sign.
func (d Destroy) Encode() ([]byte, error) {
	w := record.New(KindDestroy).Str("env", string(d.Env)).Str("site", string(d.Site)).Str("lot", string(d.Lot)).Hex("release", d.Release[:]).
		Hex("close", d.Close[:]).Time("retained", d.Retained).Time("at", d.At).Hex("nonce", d.Nonce[:])
	for _, c := range d.Copies {
		w.Str("holder", string(c.Holder)).Str("place", c.Place).Str("seen_by", c.By[0]).Str("and_by", c.By[1])
	}
	return w.Bytes()
}

// ParseDestroy reads the body; it checks form and inner sense, not signatures.
func ParseDestroy(body []byte) (Destroy, error) {
	r, err := record.Parse(body, KindDestroy)
	if err != nil {
		return Destroy{}, fmt.Errorf("parsing lot destruction: %w", err)
	}
	var d Destroy
	d.Env, err = perso.ParseEnv(r.Raw("env"))
	r.Check(err)
	d.Site = r.Name("site")
	d.Lot = r.Name("lot")
	d.Release, d.Close, d.Retained, d.At, d.Nonce = r.Hash("release"), r.Hash("close"), r.Time("retained"), r.Time("at"), r.Hash("nonce")
	for r.More() && len(d.Copies) < MaxLotCopies {
		var c LotCopy
		c.Holder = r.Name("holder")
		c.Place, c.By = r.Raw("place"), [2]string{r.Raw("seen_by"), r.Raw("and_by")}
		if strings.EqualFold(c.By[0], c.By[1]) {
			r.Check(fmt.Errorf("copy at %q was seen to be gone by one person only", c.Holder))
		}
		d.Copies = append(d.Copies, c)
	}
	if err := r.Done(); err != nil {
		return Destroy{}, fmt.Errorf("parsing lot destruction: %w", err)
	}
	return d, nil
}

// Destroyed is the vault's certificate of deletion, signed by its statement key: from At on the key is not on its token. It
// is evidence and no proof: nobody can prove that a copy does not exist.
type Destroyed struct {
	Env     perso.Env
	Vault   perso.Name
	Lot     perso.Name
	Keys    []string // labels: the lot's key, and of a lot with random Ki the key that they are sealed under
	Destroy [32]byte // hash of the officers' statement
	Copies  uint64   // that the officers signed off
	At      time.Time
}

// Encode gives the body to sign.
func (d Destroyed) Encode() ([]byte, error) {
	w := record.New(KindDestroyed).Str("env", string(d.Env)).Str("vault", string(d.Vault)).Str("lot", string(d.Lot)).
		Hex("destroy", d.Destroy[:]).Uint("copies", d.Copies).Time("at", d.At)
	for _, k := range d.Keys {
		w.Str("key", k)
	}
	return w.Bytes()
}

// ParseDestroyed reads the body.
func ParseDestroyed(body []byte) (Destroyed, error) {
	r, err := record.Parse(body, KindDestroyed)
	if err != nil {
		return Destroyed{}, fmt.Errorf("parsing certificate of deletion: %w", err)
	}
	var d Destroyed
	d.Env, err = perso.ParseEnv(r.Raw("env"))
	r.Check(err)
	d.Vault = r.Name("vault")
	d.Lot = r.Name("lot")
	d.Destroy, d.Copies, d.At = r.Hash("destroy"), r.Uint("copies", 16), r.Time("at")
	for r.More() && len(d.Keys) < maxLotKeys {
		d.Keys = append(d.Keys, r.Raw("key"))
	}
	if err := r.Done(); err != nil {
		return Destroyed{}, fmt.Errorf("parsing certificate of deletion: %w", err)
	}
	return d, nil
}
