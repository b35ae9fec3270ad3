// Package envelope is the file in which Ki and OPc, or the codes, of a lot leave for a receiver who has an RSA key: what
// stands where, how it is written as it comes, and how the receiver opens it.
//
// It exists beside keygen/transport, which seals in the vault, because the ledger writes the file, and a receiver or a
// test reads it: neither may know the vault. OUTPUT.md of ledger/export describes the form, which is that of the one
// receiver in public use.
//
// Contract. Writing is a function of what is given, to the byte. Opening checks the maker's signature first and each
// subscription's MAC before it decrypts, and says of all that is wrong nothing but that it is. Anybody may import it; it
// imports the standard library and perso/secret.
//
// Sources: RFC 8017 (RSA-OAEP, PKCS#1 v1.5), RFC 2104 (HMAC), RFC 5652 section 6.3 (padding).
package envelope

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Version is that of the form.
const Version = 1

// Lengths within sealed values, in bytes.
const (
	SessionKeyBytes = 32 // AES-256, and the HMAC key behind it
	MACBytes        = 64 // HMAC-SHA-512
	IVBytes         = 16
)

// Header is what all subscriptions of an envelope share.
type Header struct {
	Version               int    `json:"version"`
	KeyID                 uint32 `json:"azureKeyIdentifier"`
	VendorKeyFingerprint  string `json:"vendorKeyFingerprint"`
	EncryptedTransportKey string `json:"encryptedTransportKey"`
	SignedTransportKey    string `json:"signedTransportKey"`
}

// NewHeader writes bytes as the form does: the receiver's number of his key, SHA-256 of the maker's public key, the session
// keys under the receiver's key, the maker's signature over them.
func NewHeader(keyID uint32, vendor [32]byte, sealed, signature []byte) Header {
	return Header{Version: Version, KeyID: keyID, VendorKeyFingerprint: upperHex(vendor[:]),
		EncryptedTransportKey: upperHex(sealed), SignedTransportKey: upperHex(signature)}
}

// SIM is one subscription in an envelope.
type SIM struct {
	Name       string  `json:"name"`
	Properties Details `json:"properties"`
}

// Details names the subscription in clear, and its credentials: HMAC-SHA-512 (64 bytes) over IV and ciphertext, IV (16),
// AES-256-CBC with PKCS#7 padding of values parted by colons, all in hexadecimal.
type Details struct {
	ICCID       string `json:"integratedCircuitCardIdentifier"`
	IMSI        string `json:"internationalMobileSubscriberIdentity"`
	Credentials string `json:"encryptedCredentials"`
}

// NewSIM writes bytes as the form does.
func NewSIM(name, iccid, imsi string, credentials []byte) SIM {
	return SIM{Name: name, Properties: Details{ICCID: iccid, IMSI: imsi, Credentials: upperHex(credentials)}}
}

// File is a whole envelope.
type File struct {
	Header
	SIMs []SIM `json:"sims"`
}

// Read takes an envelope of at most limit bytes. Fields beside those of the form are refused.
func Read(r io.Reader, limit int64) (f File, err error) {
	body := &io.LimitedReader{R: r, N: limit + 1}
	d := json.NewDecoder(body)
	d.DisallowUnknownFields()
	if err = d.Decode(&f); err == nil {
		_, err = d.Token()
	}
	switch {
	case body.N <= 0:
		return File{}, fmt.Errorf("reading envelope: more than %d bytes: %w", limit, ErrEnvelope)
	case !errors.Is(err, io.EOF):
		return File{}, fmt.Errorf("reading envelope: it is not one JSON object of the form: %w", ErrEnvelope)
	case f.Version != Version:
		return File{}, fmt.Errorf("reading envelope: version %d, not %d: %w", f.Version, Version, ErrEnvelope)
	}
	return f, nil
}

// Writer writes an envelope as its subscriptions come: JSON with two blanks of indentation, one line feed at the end.
type Writer struct {
	out io.Writer
	any bool
}

// NewWriter begins the file.
func NewWriter(out io.Writer, h Header) (*Writer, error) {
	b, err := json.MarshalIndent(h, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encoding envelope: %w", err)
	}
	_, err = out.Write(append(b[:len(b)-len("\n}")], ",\n  \"sims\": ["...))
	return &Writer{out: out}, err
}

// Add writes one more subscription.
func (w *Writer) Add(s SIM) error {
	b, err := json.MarshalIndent(s, "    ", "  ")
	if err != nil {
		return fmt.Errorf("encoding envelope: %w", err)
	}
	before := "\n    "
	if w.any {
		before = ",\n    "
	}
	w.any = true
	_, err = w.out.Write(append([]byte(before), b...))
	return err
}

// Close ends the file; it closes nothing below it.
func (w *Writer) Close() error {
	end := "]\n}\n"
	if w.any {
		end = "\n  ]\n}\n"
	}
	_, err := io.WriteString(w.out, end)
	return err
}

func upperHex(b []byte) string { return strings.ToUpper(hex.EncodeToString(b)) }
