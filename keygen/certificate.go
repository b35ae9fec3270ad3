package keygen

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/big"
	"sync"
	"time"

	"github.com/persoline/persoline/perso/cert"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/tlv"
)

// The certificate of an eUICC (CERT.ECASD.ECKA, SGP.02; GlobalPlatform tag 7F21) has one length, so that a script can be
// compiled for it, and the whole is 239 bytes: what one answer carries inside a channel of level 33.
const (
	// CertValueBytes is the value of 7F21: the length that the script catalogue declares for CERT.
	CertValueBytes = certBodyBytes + 3 + signatureBytes
	// CertBytes is the certificate with tag and length.
	CertBytes = 2 + 2 + CertValueBytes

	certBodyBytes = 2 + certSerialBytes + 2 + CAIDBytes + 3 + eidBytes + 4 + 7 + 7 + 2 + eidBytes + 2 + 2 + skiBytes + 3 + 2 + pointBytes + 3

	// certSerialBytes: the serial number is a hash, 64 bits of it: two equal ones in a hundred million certificates are
	// less likely than one in a thousand.
	certSerialBytes = 8
	certYears       = 30 // a device may stay in the field that long
	eidBytes        = 16
	skiBytes        = 20
	pointBytes      = 65
	signatureBytes  = 64
)

var certHeader = []byte{0x7F, 0x21, 0x81, CertValueBytes}

// certificateBody is what the EUM signs: the fields of 7F21 in order, without the signature.
func certificateBody(eid id.EID, point []byte, caID [CAIDBytes]byte, ski [skiBytes]byte, at time.Time) []byte {
	e := eid.Bytes()
	sum := sha256.Sum256(append(e[:], point...))
	at = at.UTC()
	b := tlv.Encode(0x93, sum[:certSerialBytes])
	for _, f := range [][]byte{
		tlv.Encode(0x42, caID[:]),
		tlv.Encode(0x5F20, e[:]),
		tlv.Encode(0x95, []byte{0x00, 0x80}), // key agreement
		tlv.Encode(0x5F25, bcdDate(at)),
		tlv.Encode(0x5F24, bcdDate(at.AddDate(certYears, 0, 0))),
		tlv.Encode(0x45, e[:]),
		tlv.Encode(0x73, tlv.Encode(0xC9, ski[:])),
		tlv.Encode(0x7F49, tlv.Encode(0xB0, point), tlv.Encode(0xF0, []byte{0x00})), // P-256
	} {
		b = append(b, f...)
	}
	return b
}

// certify signs a certificate for the chip's own key, whose possession was proven in this session.
func (v *Vault) certify(ctx context.Context, eid id.EID, point []byte, at time.Time) ([]byte, error) {
	body := certificateBody(eid, point, v.cfg.CAID, v.eumSKI, at)
	digest := sha256.Sum256(body)
	sig, err := v.cfg.Token.SignDigest(ctx, v.cfg.Keys.EUM, digest[:])
	if err != nil {
		return nil, fmt.Errorf("signing certificate of %s: %w", eid, err)
	}
	cert := tlv.Encode(0x7F21, body, tlv.Encode(0x5F37, sig))
	if len(cert) != CertBytes || !bytes.HasPrefix(cert, certHeader) {
		return nil, fmt.Errorf("signing certificate of %s: it has %d bytes, not %d", eid, len(cert), CertBytes)
	}
	if !verifies(v.eum, body, sig) {
		return nil, fmt.Errorf("signing certificate of %s: the signature does not verify", eid)
	}
	v.certs.remember(cert)
	return cert, nil
}

// outlives refuses a release that the site's certificates do not outlive by the margin: eUICCs would be made under an EUM
// that nobody believes any more when they are delivered.
func (c Config) outlives(expires time.Time) error {
	margin := c.CertMargin
	if margin == 0 {
		margin = DefaultCertMargin
	}
	for _, der := range [][]byte{c.EUMCert, c.EISCert} {
		own, err := cert.Parse(der)
		if err != nil {
			return err
		}
		if err := own.Outlives(expires, margin); err != nil {
			return err
		}
	}
	return nil
}

// bcdDate is YYYYMMDD, two digits a byte.
func bcdDate(t time.Time) []byte {
	y, m, d := t.Date()
	bcd := func(n int) byte { return byte(n/10<<4 | n%10) }
	return []byte{bcd(y / 100), bcd(y % 100), bcd(int(m)), bcd(d)}
}

// possessionLabel begins what the chip signs to prove that it holds the new key.
const possessionLabel = "PERSO-POP"

// possession reads the answer of GENERATE ASYMMETRIC KEY PAIR (7F49{B0 point, F0 curve} 5F37 signature) and checks that
// the chip signed the challenge and the point with the key. It returns the point, nil when the proof fails.
func possession(answer, challenge []byte) []byte {
	fields, err := tlv.ParseAll(answer)
	if err != nil || len(fields) != 2 || fields[0].Tag != 0x7F49 || fields[1].Tag != 0x5F37 {
		return nil
	}
	key, err := fields[0].Children()
	if err != nil || len(key) != 2 || key[0].Tag != 0xB0 || key[1].Tag != 0xF0 || !bytes.Equal(key[1].Value, []byte{0x00}) {
		return nil
	}
	point, sig := key[0].Value, fields[1].Value
	pub, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	if err != nil || len(sig) != signatureBytes {
		return nil
	}
	if !verifies(pub, bytes.Join([][]byte{[]byte(possessionLabel), challenge, point}, nil), sig) {
		return nil
	}
	return bytes.Clone(point)
}

// verifies checks a raw signature, r ‖ s, over SHA-256 of the message.
func verifies(key *ecdsa.PublicKey, message, sig []byte) bool {
	digest := sha256.Sum256(message)
	r, s := new(big.Int).SetBytes(sig[:signatureBytes/2]), new(big.Int).SetBytes(sig[signatureBytes/2:])
	return ecdsa.Verify(key, digest[:], r, s)
}

// Places in the signed body, which has one length.
const (
	certEIDAt   = 2 + certSerialBytes + 2 + CAIDBytes + 3
	certPointAt = certBodyBytes - 3 - pointBytes
)

// certificates remembers which ones this process found well signed, first of all those that it made: acts that follow need
// not verify them again.
// Each has one place, by its hash; the next one with this place takes it. They are compared whole, since a ledger may look
// for two with one place.
type certificates struct {
	mu   sync.Mutex
	seen [rememberedCertificates][sha256.Size]byte
}

// rememberedCertificates is some minutes of the fastest factory, in 128 KiB.
const rememberedCertificates = 4096

func (c *certificates) place(hash [sha256.Size]byte) *[sha256.Size]byte {
	return &c.seen[binary.BigEndian.Uint16(hash[:])%rememberedCertificates]
}

func (c *certificates) remember(cert []byte) {
	hash := sha256.Sum256(cert)
	c.mu.Lock()
	defer c.mu.Unlock()
	*c.place(hash) = hash
}

func (c *certificates) has(cert []byte) bool {
	hash := sha256.Sum256(cert)
	c.mu.Lock()
	defer c.mu.Unlock()
	return *c.place(hash) == hash
}

// checkCertificate verifies that a certificate from the ledger is one that this site signed for the EID and the key.
func (v *Vault) checkCertificate(cert []byte, eid id.EID, point []byte) error {
	if len(cert) != CertBytes || !bytes.HasPrefix(cert, certHeader) {
		return refuse("certificate on record has not the form of one")
	}
	body, sig := cert[len(certHeader):len(certHeader)+certBodyBytes], cert[CertBytes-signatureBytes:]
	e := eid.Bytes()
	if !bytes.Equal(body[certEIDAt:certEIDAt+eidBytes], e[:]) || !bytes.Equal(body[certPointAt:certPointAt+pointBytes], point) {
		return refuse("certificate on record is for another EID or key")
	}
	if v.certs.has(cert) {
		return nil
	}
	if !verifies(v.eum, body, sig) {
		return refuse("certificate on record was not signed here")
	}
	v.certs.remember(cert)
	return nil
}
