package checkpoint

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// MaxRequestProof is the most hashes of a request to a witness (C2SP tlog-witness).
const MaxRequestProof = 63

// Request asks a witness to cosign: a checkpoint, and the proof that it continues the log of Old entries. It is the body of
// C2SP tlog-witness add-checkpoint, and as a file it crosses an air gap: some kilobytes for any log.
type Request struct {
	Old   int64
	Proof []Hash
	Note  []byte // signed checkpoint, cosigned or not
}

// Encode gives the body.
func (r Request) Encode() []byte {
	out := fmt.Appendf(nil, "old %d\n", r.Old)
	for _, h := range r.Proof {
		out = append(base64.StdEncoding.AppendEncode(out, h[:]), '\n')
	}
	return append(append(out, '\n'), r.Note...)
}

// ParseRequest reads a body in its only spelling; what it claims is not checked.
func ParseRequest(b []byte) (Request, error) {
	bad := func(what string) (Request, error) {
		return Request{}, fmt.Errorf("reading a request to a witness: %s", what)
	}
	head, note, found := strings.Cut(string(b), "\n\n")
	if !found || len(note) > MaxNoteBytes {
		return bad(fmt.Sprintf("it is not a size, a proof and a checkpoint of at most %d bytes", MaxNoteBytes))
	}
	lines := strings.Split(head, "\n")
	size, isOld := strings.CutPrefix(lines[0], "old ")
	old, err := strconv.ParseInt(size, 10, 64)
	if !isOld || err != nil || old < 0 || len(lines) > 1+MaxRequestProof {
		return bad("its first line is not \"old\" and a size, or its proof is too long")
	}
	r := Request{Old: old, Note: []byte(note)}
	for _, line := range lines[1:] {
		h, err := base64.StdEncoding.DecodeString(line)
		if err != nil || len(h) != len(Hash{}) {
			return bad("its proof holds what is no hash")
		}
		r.Proof = append(r.Proof, Hash(h))
	}
	if string(r.Encode()) != string(b) {
		return Request{}, errors.New("reading a request to a witness: it is not in canonical form")
	}
	return r, nil
}
