package layout

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/record"
)

// KindSeal names the seal's record, which keeps its signature from being taken for one over anything else.
const KindSeal = "bundle-seal"

// SealBody says whose bundle this is. It is signed in place of the manifest, which can be longer than an HSM takes.
type SealBody struct {
	Env      perso.Env
	Site     perso.Name
	Lot      perso.Name
	Files    uint64   // lines of the manifest
	Manifest [32]byte // its SHA-256
}

// Encode gives the bytes to sign.
func (s SealBody) Encode() ([]byte, error) {
	return record.New(KindSeal).Str("env", string(s.Env)).Str("site", string(s.Site)).Str("lot", string(s.Lot)).
		Uint("files", s.Files).Hex("manifest", s.Manifest[:]).Bytes()
}

// ParseSeal reads a seal.
func ParseSeal(b []byte) (SealBody, error) {
	r, err := record.Parse(b, KindSeal)
	if err != nil {
		return SealBody{}, fmt.Errorf("parsing seal: %w", err)
	}
	var s SealBody
	s.Env, err = perso.ParseEnv(r.Raw("env"))
	r.Check(err)
	s.Site = r.Name("site")
	s.Lot = r.Name("lot")
	s.Files, s.Manifest = r.Uint("files", 32), r.Hash("manifest")
	if err := r.Done(); err != nil {
		return SealBody{}, fmt.Errorf("parsing seal: %w", err)
	}
	return s, nil
}

// EncodeSignature writes a signature as its file holds it.
func EncodeSignature(sig []byte) []byte { return fmt.Appendf(nil, "%x\n", sig) }

// ParseSignature reads it in its only spelling.
func ParseSignature(b []byte) ([]byte, error) {
	line, ok := bytes.CutSuffix(b, []byte("\n"))
	sig, err := hex.DecodeString(string(line))
	if !ok || err != nil || len(sig) != ed25519.SignatureSize || !bytes.Equal(EncodeSignature(sig), b) {
		return nil, fmt.Errorf("parsing signature: it is not %d bytes of lower-case hex and a newline", ed25519.SignatureSize)
	}
	return sig, nil
}

// AppendRecord adds a record and the blank line that ends it; a record has no blank line inside.
func AppendRecord(file, record []byte) []byte {
	file = append(file, record...)
	return append(file, '\n')
}

// ErrRecords is wrapped when a file is not records with a blank line after each.
var ErrRecords = errors.New("file is not records with a blank line after each")

// ReadRecords calls each with every record of a stream. The slice is only lent.
func ReadRecords(r io.Reader, each func(record []byte) error) error {
	in := bufio.NewReaderSize(r, record.MaxRecordBytes)
	var rec []byte
	for {
		line, err := in.ReadSlice('\n')
		switch {
		case err == io.EOF && len(line) == 0 && len(rec) == 0:
			return nil
		case err == io.EOF || errors.Is(err, bufio.ErrBufferFull):
			return ErrRecords
		case err != nil:
			return fmt.Errorf("reading records: %w", err)
		case len(line) > 1:
			if rec = append(rec, line...); len(rec) > record.MaxRecordBytes {
				return ErrRecords
			}
			continue
		case len(rec) == 0:
			return ErrRecords
		}
		if err := each(rec); err != nil {
			return err
		}
		rec = rec[:0]
	}
}
