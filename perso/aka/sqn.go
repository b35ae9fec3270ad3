package aka

import (
	"errors"
	"fmt"
)

const (
	// SQNEntries is the size of the card's array: one SEQ for each value of the 5-bit IND
	// (TS 33.102 §C.1.2, §C.3).
	SQNEntries = 1 << indBits

	// SQNArrayBytes is the size of the stored array: 6 bytes an entry, in the order of IND.
	SQNArrayBytes = SQNEntries * 6

	indBits = 5

	// DefaultDelta is the largest accepted jump of SEQ (TS 33.102 §C.3: 2^28), so that a false SQN
	// cannot use up the number space.
	DefaultDelta = 1 << 28
)

// ErrSQNState says that a stored sequence number array is not one.
var ErrSQNState = errors.New("malformed sequence number array")

// SQN is a sequence number: 43 bits of SEQ, then 5 bits of IND, big-endian.
type SQN [6]byte

// SQNOf makes the SQN of a number; bits above 48 are cut.
func SQNOf(n uint64) SQN {
	return SQN{byte(n >> 40), byte(n >> 32), byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}
}

// Uint64 is the number.
func (s SQN) Uint64() uint64 {
	return uint64(s[0])<<40 | uint64(s[1])<<32 | uint64(s[2])<<24 | uint64(s[3])<<16 | uint64(s[4])<<8 | uint64(s[5])
}

func (s SQN) seq() uint64 { return s.Uint64() >> indBits }
func (s SQN) ind() int    { return int(s[5] & (SQNEntries - 1)) }

// SQNPolicy says how strict a card is (TS 33.102 §C.2.2). SEQ_MS is the highest SEQ in the array.
type SQNPolicy struct {
	// Delta: a SEQ above SEQ_MS + Delta is refused. 0 switches the check off.
	Delta uint64
	// AgeLimit: a SEQ that is AgeLimit or more below SEQ_MS is refused. 0 switches the check off.
	AgeLimit uint64
}

// DefaultSQNPolicy has the usual jump limit and no age limit.
func DefaultSQNPolicy() SQNPolicy { return SQNPolicy{Delta: DefaultDelta} }

// SQNArray is the card's memory of sequence numbers: the highest accepted SEQ for each IND. The array
// of a new card is all zero.
type SQNArray struct {
	policy  SQNPolicy
	seq     [SQNEntries]uint64
	highest int // index of the highest SEQ
}

// NewSQNArray is the array of a new card.
func NewSQNArray(policy SQNPolicy) *SQNArray { return &SQNArray{policy: policy} }

// LoadSQNArray restores what AppendBinary wrote.
func LoadSQNArray(policy SQNPolicy, b []byte) (*SQNArray, error) {
	if len(b) != SQNArrayBytes {
		return nil, fmt.Errorf("loading sequence numbers of %d bytes: %w", len(b), ErrSQNState)
	}
	a := NewSQNArray(policy)
	for i := range a.seq {
		sqn := SQN(b[i*6 : i*6+6])
		if seq := sqn.seq(); seq != 0 && sqn.ind() != i || seq == 0 && sqn != (SQN{}) {
			return nil, fmt.Errorf("loading sequence number %d: %w", i, ErrSQNState)
		}
		a.seq[i] = sqn.seq()
		if a.seq[i] > a.seq[a.highest] {
			a.highest = i
		}
	}
	return a, nil
}

// AppendBinary appends the array as SQNArrayBytes: for each IND its highest SQN, zero when none.
func (a *SQNArray) AppendBinary(dst []byte) ([]byte, error) {
	for i, seq := range a.seq {
		var sqn SQN
		if seq != 0 {
			sqn = SQNOf(seq<<indBits | uint64(i))
		}
		dst = append(dst, sqn[:]...)
	}
	return dst, nil
}

// Fresh says whether Accept would accept sqn.
func (a *SQNArray) Fresh(sqn SQN) bool {
	seq, ms := sqn.seq(), a.seq[a.highest]
	if a.policy.Delta != 0 && seq > ms && seq-ms > a.policy.Delta {
		return false
	}
	if a.policy.AgeLimit != 0 && seq < ms && ms-seq >= a.policy.AgeLimit {
		return false
	}
	return seq > a.seq[sqn.ind()]
}

// Accept says whether sqn is fresh, and remembers it then.
func (a *SQNArray) Accept(sqn SQN) bool {
	if !a.Fresh(sqn) {
		return false
	}
	i := sqn.ind()
	a.seq[i] = sqn.seq()
	if a.seq[i] > a.seq[a.highest] {
		a.highest = i
	}
	return true
}

// Highest is SQN_MS: the highest sequence number accepted, zero when none.
func (a *SQNArray) Highest() SQN {
	if a.seq[a.highest] == 0 {
		return SQN{}
	}
	return SQNOf(a.seq[a.highest]<<indBits | uint64(a.highest))
}

// Wipe makes it the array of a new card again.
func (a *SQNArray) Wipe() { *a = SQNArray{policy: a.policy} }
