package scp

import (
	"crypto/subtle"
	"fmt"
	"io"
)

const (
	redacted = "[redacted]"

	// kdf3Keys is the size of a key set: ENC, MAC, DEK, in the order of their key identifiers 1, 2, 3.
	kdf3Keys = 3
)

// StaticKeys is one key set of a security domain (Amendment D §5.1): three AES keys of one length, 16,
// 24 or 32 bytes. It prints and marshals as "[redacted]".
type StaticKeys struct{ ENC, MAC, DEK []byte }

// Valid says whether the three keys have one AES key length.
func (k StaticKeys) Valid() error {
	n := len(k.ENC)
	if n != 16 && n != 24 && n != 32 || len(k.MAC) != n || len(k.DEK) != n {
		return fmt.Errorf("checking key set of %d, %d and %d bytes: %w", n, len(k.MAC), len(k.DEK), ErrKeyLength)
	}
	return nil
}

// Wipe clears the bytes of the three keys, for every holder of these slices.
func (k StaticKeys) Wipe() {
	clear(k.ENC)
	clear(k.MAC)
	clear(k.DEK)
}

// TransportCodeBytes is the length of a code (ETSI TS 102 221 §9.5.1).
const TransportCodeBytes = 8

// TransportCode is the administrative code with which a chip without a secure channel leaves its maker, diversified as the
// maker's keys are: the first 8 bytes of CMAC under Key-DEK over "TRANSPORT". There is no public norm for it; makers who send a
// list instead need a product that says so.
func (k StaticKeys) TransportCode() (code [TransportCodeBytes]byte) {
	mac := CMAC(k.DEK, []byte("TRANSPORT"))
	copy(code[:], mac[:])
	return code
}

// Format keeps the keys out of every fmt verb.
func (StaticKeys) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalText keeps the keys out of JSON and logs.
func (StaticKeys) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// KCV is the key check value of an AES key: the first three bytes of AES over 16 bytes of 01
// (Amendment D §7.2). The key must be 16, 24 or 32 bytes; any other length is a fault of the program
// and panics.
func KCV(key []byte) [3]byte {
	block, err := newAES(key)
	if err != nil {
		panic("scp: " + err.Error())
	}
	var b [blockBytes]byte
	for i := range b {
		b[i] = 0x01
	}
	block.Encrypt(b[:], b[:])
	return [3]byte(b[:3])
}

// KDF3Blocks gives the three CMAC inputs whose CMACs under an AES-128 master are the card's ENC, MAC
// and DEK. The scheme ("KDF3", SP 800-108 in counter mode): counter (1), 00 00 00, key number, 00,
// key diversification data (10); each is exactly one full block.
func KDF3Blocks(kdd [10]byte) [3][16]byte {
	var b [kdf3Keys][16]byte
	for k := range b {
		b[k] = kdf3Block(1, byte(k+1), kdd)
	}
	return b
}

// KDF3ECBInputs is KDF3Blocks XOR k1, end to end. The CMAC of one full block is AES(K, block XOR K1),
// so one AES-ECB call inside an HSM over these 48 bytes gives the three keys. k1 is CMACSubkey1 of the
// master, itself worthless without the master.
func KDF3ECBInputs(kdd [10]byte, k1 [16]byte) [48]byte {
	var in [kdf3Keys * blockBytes]byte
	for k, b := range KDF3Blocks(kdd) {
		subtle.XORBytes(in[k*blockBytes:], b[:], k1[:])
	}
	return in
}

// DiversifyKDF3 is KDF3 in software, for tests and virtual chips; the keys are as long as the master.
func DiversifyKDF3(master []byte, kdd [10]byte) (StaticKeys, error) {
	var c cmac
	if err := c.init(master); err != nil {
		return StaticKeys{}, fmt.Errorf("diversifying by KDF3: %w", err)
	}
	defer c.wipe()
	var keys [kdf3Keys][]byte
	for k := range keys {
		keys[k] = make([]byte, len(master))
		rest := keys[k]
		for ctr := byte(1); len(rest) > 0; ctr++ {
			b := kdf3Block(ctr, byte(k+1), kdd)
			c.write(b[:])
			out := c.sum()
			rest = rest[copy(rest, out[:]):]
		}
	}
	return StaticKeys{ENC: keys[0], MAC: keys[1], DEK: keys[2]}, nil
}

func kdf3Block(ctr, k byte, kdd [10]byte) [16]byte {
	b := [16]byte{0: ctr, 4: k}
	copy(b[6:], kdd[:])
	return b
}
