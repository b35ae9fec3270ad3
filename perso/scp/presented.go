package scp

import (
	"fmt"

	"github.com/persoline/persoline/perso/scp/scp02"
)

// Protocols, as INITIALIZE UPDATE names them.
const (
	ProtocolSCP02 byte = 0x02
	ProtocolSCP03 byte = 0x03
)

// Presented is what a chip says of itself when a session is opened, by either protocol: for whoever has no key, and cannot check it.
type Presented struct {
	KDD      [10]byte // key diversification data; on most chips the chip's identity
	KVN      byte     // version of the key set the card used
	Protocol byte     // ProtocolSCP02 or ProtocolSCP03
	Seq      uint32   // sequence counter, when HasSeq
	HasSeq   bool
}

// ParsePresented reads the data field of an answer to INITIALIZE UPDATE, without status word (Amendment D §7.1.1.4, Card
// Specification §E.5.1). ErrFormat when it is neither protocol's.
func ParsePresented(data []byte) (Presented, error) {
	if len(data) > kddBytes+1 && data[kddBytes+1] == ProtocolSCP02 {
		iu, err := scp02.ParseInitUpdate(data)
		if err != nil {
			return Presented{}, fmt.Errorf("%w: %w", ErrFormat, err)
		}
		return Presented{KDD: iu.KDD, KVN: iu.KVN, Protocol: ProtocolSCP02, Seq: uint32(iu.Seq), HasSeq: true}, nil
	}
	iu, err := ParseInitUpdate(data)
	if err != nil {
		return Presented{}, err
	}
	return Presented{KDD: iu.KDD, KVN: iu.KVN, Protocol: ProtocolSCP03, Seq: iu.Seq, HasSeq: iu.HasSeq}, nil
}

// Raises says whether each INITIALIZE UPDATE has a higher counter than the one before, under the same key set: with SCP03 it has.
// Of SCP02 chips many raise theirs only when the host has proven itself, so that a session which came no further leaves it as it was.
func (p Presented) Raises() bool { return p.Protocol == ProtocolSCP03 }
