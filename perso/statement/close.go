package statement

import (
	"fmt"
	"time"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/record"
)

// KindClose names the statement that closes a lot.
const KindClose = "lot-close"

// Counts is the balance of one lot at its line step (I6): In + CarriedOver = Good + RejectBlank + RejectLive + Sample + Returned + Missing + InWork.
type Counts struct {
	In          uint64 `cbor:"1,keyasint" json:"in"`
	CarriedOver uint64 `cbor:"2,keyasint" json:"carried_over"`
	Good        uint64 `cbor:"3,keyasint" json:"good"`
	RejectBlank uint64 `cbor:"4,keyasint" json:"reject_blank"`
	RejectLive  uint64 `cbor:"5,keyasint" json:"reject_live"`
	Sample      uint64 `cbor:"6,keyasint" json:"sample"`
	Returned    uint64 `cbor:"7,keyasint" json:"returned"`
	Missing     uint64 `cbor:"8,keyasint" json:"missing"`
	InWork      uint64 `cbor:"9,keyasint" json:"in_work"`
}

// Difference is what is unexplained: 0 when the balance holds.
func (c Counts) Difference() int64 {
	return int64(c.In+c.CarriedOver) - int64(c.Good+c.RejectBlank+c.RejectLive+c.Sample+c.Returned+c.Missing+c.InWork)
}

// Close is what two officers sign when a lot's counts hold: the ledger's, the handler's and the blind hand count agree.
type Close struct {
	Env    perso.Env
	Lot    perso.Name
	At     time.Time
	Nonce  [32]byte
	Counts Counts
}

// Encode gives the body to sign.
func (c Close) Encode() ([]byte, error) {
	n := c.Counts
	return record.New(KindClose).Str("env", string(c.Env)).Str("lot", string(c.Lot)).Time("at", c.At).Hex("nonce", c.Nonce[:]).
		Uint("in", n.In).Uint("carried_over", n.CarriedOver).Uint("good", n.Good).Uint("reject_blank", n.RejectBlank).
		Uint("reject_live", n.RejectLive).Uint("sample", n.Sample).Uint("returned", n.Returned).Uint("missing", n.Missing).
		Uint("in_work", n.InWork).Bytes()
}

// ParseClose reads a close body.
func ParseClose(body []byte) (Close, error) {
	d, err := record.Parse(body, KindClose)
	if err != nil {
		return Close{}, fmt.Errorf("parsing lot close: %w", err)
	}
	var c Close
	c.Env, err = perso.ParseEnv(d.Raw("env"))
	d.Check(err)
	c.Lot = d.Name("lot")
	c.At, c.Nonce = d.Time("at"), d.Hash("nonce")
	for key, to := range c.Counts.fields() {
		*to = d.Uint(key, 48)
	}
	if err := d.Done(); err != nil {
		return Close{}, fmt.Errorf("parsing lot close: %w", err)
	}
	return c, nil
}

// fields yields each count with its key, in the order of the record.
func (n *Counts) fields() func(func(string, *uint64) bool) {
	return func(yield func(string, *uint64) bool) {
		for _, f := range []struct {
			key string
			to  *uint64
		}{{"in", &n.In}, {"carried_over", &n.CarriedOver}, {"good", &n.Good}, {"reject_blank", &n.RejectBlank}, {"reject_live", &n.RejectLive},
			{"sample", &n.Sample}, {"returned", &n.Returned}, {"missing", &n.Missing}, {"in_work", &n.InWork}} {
			if !yield(f.key, f.to) {
				return
			}
		}
	}
}
