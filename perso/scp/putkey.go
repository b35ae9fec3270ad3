package scp

import (
	"crypto/subtle"
	"fmt"
	"slices"

	"github.com/persoline/persoline/perso/apdu"
)

const (
	insPutKey  = 0xD8
	keyTypeAES = 0x88
	kcvBytes   = 3

	multipleKeys = 0x80 // P2 bit 8: the command carries several keys
	firstKeyID   = 0x01
)

// PutKeyCommand is PUT KEY for a whole AES key set with key identifiers 1, 2, 3… (Card Specification
// §11.8, Amendment D §7.2), to be wrapped by h. replaceKVN is the version to replace, 00 to add one.
func PutKeyCommand(h *Host, replaceKVN, newKVN byte, keys [][]byte) (apdu.Command, error) {
	data, err := PutKeyData(h, newKVN, keys)
	if err != nil {
		return apdu.Command{}, err
	}
	return apdu.Command{CLA: claGP, INS: insPutKey, P1: replaceKVN, P2: multipleKeys | firstKeyID, Data: data, Le: apdu.MaxLe}, nil
}

// PutKeyData is the data field: new version, then for each key 88, length, key length, the key under
// the DEK, 03, KCV.
func PutKeyData(h *Host, newKVN byte, keys [][]byte) ([]byte, error) {
	if len(keys) == 0 {
		return nil, fmt.Errorf("encoding put key without keys: %w", ErrFormat)
	}
	out := make([]byte, 0, apdu.MaxDataBytes)
	out = append(out, newKVN)
	for i, key := range keys {
		if _, err := newAES(key); err != nil {
			return nil, fmt.Errorf("encoding put key %d: %w", i+1, err)
		}
		enc, err := h.EncryptDEK(key)
		if err != nil {
			return nil, fmt.Errorf("encoding put key %d: %w", i+1, err)
		}
		if len(out)+4+len(enc)+kcvBytes > apdu.MaxDataBytes {
			return nil, fmt.Errorf("encoding put key of %d keys: %w", len(keys), ErrTooLong)
		}
		kcv := KCV(key)
		out = append(out, keyTypeAES, byte(1+len(enc)), byte(len(key)))
		out = append(out, enc...)
		out = append(out, kcvBytes)
		out = append(out, kcv[:]...)
	}
	return out, nil
}

// ParsePutKey is the card's reading of the same data field: ErrFormat when the layout is wrong (a card
// answers 6A80), ErrKCV when a check value is (6982). The caller clears the keys.
func ParsePutKey(c *Card, data []byte) (kvn byte, keys [][]byte, err error) {
	if len(data) < 2 || len(data) > apdu.MaxDataBytes {
		return 0, nil, fmt.Errorf("parsing put key of %d bytes: %w", len(data), ErrFormat)
	}
	kvn, rest := data[0], data[1:]
	for len(rest) > 0 {
		var key []byte
		if key, rest, err = parseKeyField(c, rest); err != nil {
			for _, k := range keys {
				clear(k)
			}
			return 0, nil, fmt.Errorf("parsing put key %d: %w", len(keys)+1, err)
		}
		keys = append(keys, key)
	}
	return kvn, keys, nil
}

// PutKeyResponse is the answer data: the new version, then the check values in the order of the keys.
func PutKeyResponse(kvn byte, kcvs [][3]byte) []byte {
	out := make([]byte, 0, 1+kcvBytes*len(kcvs))
	out = append(out, kvn)
	for _, kcv := range kcvs {
		out = append(out, kcv[:]...)
	}
	return out
}

func parseKeyField(c *Card, p []byte) (key, rest []byte, err error) {
	if len(p) < 3 || p[0] != keyTypeAES {
		return nil, nil, ErrFormat
	}
	keyLen := int(p[2])
	encLen := (keyLen + blockBytes - 1) / blockBytes * blockBytes
	if keyLen != 16 && keyLen != 24 && keyLen != 32 || int(p[1]) != 1+encLen || len(p) < 3+encLen+1+kcvBytes {
		return nil, nil, ErrFormat
	}
	enc, check, rest := p[3:3+encLen], p[3+encLen:3+encLen+1+kcvBytes], p[3+encLen+1+kcvBytes:]
	if check[0] != kcvBytes {
		return nil, nil, ErrFormat
	}
	plain, err := c.DecryptDEK(enc)
	if err != nil {
		return nil, nil, err
	}
	kcv := KCV(plain[:keyLen])
	if subtle.ConstantTimeCompare(kcv[:], check[1:]) != 1 {
		clear(plain)
		return nil, nil, ErrKCV
	}
	return slices.Clip(plain[:keyLen]), rest, nil
}
