package scp

import (
	"fmt"

	"github.com/persoline/persoline/perso/apdu"
)

// Instruction bytes of the two commands that open a session.
const (
	insInitializeUpdate     = 0x50
	insExternalAuthenticate = 0x82

	claGP = 0x80 // GlobalPlatform command without secure messaging, channel 0
	claSM = 0x04 // the bit that says "secure messaging, GlobalPlatform format"

	scp03     = 0x03
	kddBytes  = 10
	seqBytes  = 3
	maxSeq    = 1<<24 - 1 // the sequence counter is three bytes
	shortSize = 8         // challenges, cryptograms, MACs in S8 mode
	longSize  = 16        // the same in S16 mode
)

// InitUpdate is the answer to INITIALIZE UPDATE (Amendment D §7.1.1.4). Parsed slices alias the input.
type InitUpdate struct {
	KDD            [10]byte // key diversification data; on most chips the chip's identity
	KVN            byte     // version of the key set the card used
	I              byte     // i parameter: the Opt… bits
	CardChallenge  []byte   // 8 bytes, S16 16
	CardCryptogram []byte   // as long as the challenge
	Seq            uint32   // sequence counter, 24 bits, when HasSeq
	HasSeq         bool     // the card challenge is pseudo-random
}

// InitUpdateCommand is INITIALIZE UPDATE for key version kvn (00: the card's default) and a host
// challenge of 8 bytes, S16 16.
func InitUpdateCommand(kvn byte, hostChallenge []byte) apdu.Command {
	return apdu.Command{CLA: claGP, INS: insInitializeUpdate, P1: kvn, Data: hostChallenge, Le: apdu.MaxLe}
}

// ParseInitUpdate reads the data field of the answer, without status word. Length, protocol number
// and i parameter must agree.
func ParseInitUpdate(data []byte) (InitUpdate, error) {
	var iu InitUpdate
	if len(data) < kddBytes+3 {
		return iu, fmt.Errorf("parsing initialize update answer of %d bytes: %w", len(data), ErrFormat)
	}
	iu.KDD = [10]byte(data[:kddBytes])
	iu.KVN, iu.I = data[kddBytes], data[kddBytes+2]
	if protocol := data[kddBytes+1]; protocol != scp03 {
		return InitUpdate{}, fmt.Errorf("parsing initialize update answer for protocol %02X: %w", protocol, ErrFormat)
	}
	if err := checkOptions(iu.I); err != nil {
		return InitUpdate{}, fmt.Errorf("parsing initialize update answer: %w", err)
	}
	iu.HasSeq = iu.I&OptPseudo != 0
	n, want := iu.size(), kddBytes+3+2*iu.size()
	if iu.HasSeq {
		want += seqBytes
	}
	if len(data) != want {
		return InitUpdate{}, fmt.Errorf("parsing initialize update answer of %d bytes with i parameter %02X: %w", len(data), iu.I, ErrFormat)
	}
	rest := data[kddBytes+3:]
	iu.CardChallenge, iu.CardCryptogram, rest = rest[:n:n], rest[n:2*n:2*n], rest[2*n:]
	if iu.HasSeq {
		iu.Seq = uint32(rest[0])<<16 | uint32(rest[1])<<8 | uint32(rest[2])
	}
	return iu, nil
}

// Append appends the data field of the answer, without status word.
func (iu InitUpdate) Append(dst []byte) []byte {
	dst = append(dst, iu.KDD[:]...)
	dst = append(dst, iu.KVN, scp03, iu.I)
	dst = append(dst, iu.CardChallenge...)
	dst = append(dst, iu.CardCryptogram...)
	if iu.HasSeq {
		seq := seqField(iu.Seq)
		dst = append(dst, seq[:]...)
	}
	return dst
}

// S16 says whether challenges, cryptograms and MACs are 16 bytes long.
func (iu InitUpdate) S16() bool { return iu.I&OptS16 != 0 }

func (iu InitUpdate) size() int { return macSize(iu.I) }

func macSize(i byte) int {
	if i&OptS16 != 0 {
		return longSize
	}
	return shortSize
}

// checkOptions refuses bits that Amendment D does not define, and R-ENC without R-MAC.
func checkOptions(i byte) error {
	if i&^optKnown != 0 || i&OptRENC != 0 && i&OptRMAC == 0 {
		return fmt.Errorf("reading i parameter %02X: %w", i, ErrFormat)
	}
	return nil
}

func seqField(seq uint32) [seqBytes]byte {
	return [seqBytes]byte{byte(seq >> 16), byte(seq >> 8), byte(seq)}
}
