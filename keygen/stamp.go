package keygen

import (
	"bytes"
	"encoding/binary"

	"github.com/persoline/persoline/perso"
)

// A chip may come back half-written, after anything was killed at any moment, and another one with its id and its factory
// keys may come in its place. The stamp tells them apart.
//
// Act 0 reads what stamp a chip has, then puts the one of its session on it; the chip confirms both under R-MAC. Only then
// the first window with a secret leaves. From that receipt on the claim belongs to the chip with this stamp: act 0 stamps
// no chip any more, and one that does not show it is another (I1). Two chips of one id may both have been stamped before
// that, each in a session of its own; so the stamp names the session beside the claim.

// stampClaimBytes is how much of the claim's hash is in a stamp: nobody finds two claims that agree in 192 bits.
const stampClaimBytes = 24

// stamp marks a chip: the first bytes of the claim's hash ‖ the serial number of the session (8, big-endian).
type stamp [stampClaimBytes + 8]byte

func stampOf(claim [32]byte, serial uint64) (s stamp) {
	copy(s[:], claim[:stampClaimBytes])
	binary.BigEndian.PutUint64(s[stampClaimBytes:], serial)
	return s
}

// chooseStamp names the session whose stamp the chip must have: this one's, or that of the one that first wrote for the
// claim. An act that is served again keeps what it had.
func (r *run) chooseStamp() uint64 {
	switch {
	case r.previous != nil:
		return r.previous.Stamp
	case r.past.wrote:
		return r.past.session
	}
	return r.act.Serial
}

// stampsHere says whether this session puts its stamp on the chip.
func (r *run) stampsHere() bool { return r.state.Stamp == r.act.Serial }

// mayWrite says whether anything behind act 0 may leave for the chip.
func (r *run) mayWrite() error {
	switch {
	case r.onCard: // it has keys that left for one chip only
		return nil
	case !r.stampsHere():
		if !r.showsStamp() {
			return failure{Reason: perso.ReasonTwin, Step: whenStamp} // another chip has it (I1)
		}
		return nil
	case r.past.session != r.act.Serial: // the chip may have been stamped anew since, or another chip written to
		return refuse("session %s came before one that was opened for the same claim", r.act.Session)
	}
	return nil // stamped: judge found the step of act 0 confirmed
}

// showsStamp says whether the chip reported the stamp before this session could have put it there.
func (r *run) showsStamp() bool {
	for _, answer := range r.state.Captures {
		if bytes.Contains(answer, r.vars.stamp[:]) {
			return true
		}
	}
	return false
}
