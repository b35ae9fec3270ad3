package cardsim

import (
	"slices"

	"github.com/persoline/persoline/perso/scp"
	"github.com/persoline/persoline/perso/scp/tdes"
)

// Versions of SCP02 key sets.
const (
	lowestKVN02  = 0x20
	highestKVN02 = 0x2F
)

// versions are the lowest and the highest version of the ISD's own key sets.
func (o Options) versions() (lowest, highest byte) {
	if o.SCP02 {
		return lowestKVN02, highestKVN02
	}
	return lowestKVN, highestKVN
}

// parsePutKey reads the data of PUT KEY as the session's protocol has it. The caller clears the keys, also after an error.
func parsePutKey(ch secureChannel, data []byte) (kvn byte, keys [][]byte, err error) {
	if ch, ok := ch.(*scp.Card); ok {
		return scp.ParsePutKey(ch, data)
	}
	return parsePutKey02(ch, data)
}

// parsePutKey02 reads Triple DES keys: 80, length, key under the DEK, 03, check value (Card Specification §11.8.2.3).
func parsePutKey02(ch secureChannel, data []byte) (kvn byte, keys [][]byte, err error) {
	const headBytes, checkBytes = 2, 1 + kcvBytes
	const field = headBytes + desKeyBytes + checkBytes
	if len(data) < 1 || (len(data)-1)%field != 0 {
		return 0, nil, scp.ErrFormat
	}
	for rest := data[1:]; len(rest) > 0; rest = rest[field:] {
		if rest[0] != keyTypeDES || rest[1] != desKeyBytes || rest[headBytes+desKeyBytes] != kcvBytes {
			return 0, keys, scp.ErrFormat
		}
		key, err := ch.DecryptDEK(rest[headBytes:][:desKeyBytes])
		if err != nil {
			return 0, keys, scp.ErrFormat
		}
		keys = append(keys, key)
		k, err := tdes.New(key)
		if err != nil {
			return 0, keys, scp.ErrFormat // a key that is none, such as one with equal halves
		}
		kcv := k.KCV()
		if !slices.Equal(kcv[:], rest[headBytes+desKeyBytes+1:][:kcvBytes]) {
			return 0, keys, scp.ErrKCV
		}
	}
	return data[0], keys, nil
}

// checkValue is the check value of a key of the ISD.
func (o Options) checkValue(key []byte) [kcvBytes]byte {
	if !o.SCP02 {
		return scp.KCV(key)
	}
	k, err := tdes.New(key)
	if err != nil {
		return [kcvBytes]byte{} // it was a key when it was read
	}
	return k.KCV()
}
