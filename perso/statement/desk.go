package statement

import (
	"fmt"

	"github.com/persoline/persoline/perso/record"
)

// Kinds of what the order desk signs.
const (
	KindTaken     = "order-taken"     // whose order it is, and that its content is what the customer sent
	KindCancelled = "order-cancelled" // nothing is to be made of it
)

// Desk is the order desk's word about an accepted order that is not released.
type Desk struct {
	Kind string
	Header
	Order     string
	OrderHash [32]byte // of its content, as in its release
	Reason    string
}

// Encode gives the body to sign.
func (d Desk) Encode() ([]byte, error) {
	return d.write(d.Kind).Str("order", d.Order).Hex("order_hash", d.OrderHash[:]).Str("reason", d.Reason).Bytes()
}

// ParseDesk reads a body of either kind.
func ParseDesk(body []byte) (d Desk, err error) {
	if d.Kind, err = record.Kind(body); err != nil || d.Kind != KindTaken && d.Kind != KindCancelled {
		return Desk{}, fmt.Errorf("parsing the order desk's word: it is of kind %q", d.Kind)
	}
	r, err := d.read(body, d.Kind)
	if err != nil {
		return Desk{}, err
	}
	d.Order, d.OrderHash, d.Reason = said(r, "order"), r.Hash("order_hash"), said(r, "reason")
	return finished(d, r, d.Kind)
}
