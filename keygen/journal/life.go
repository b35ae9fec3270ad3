package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/persoline/persoline/keygen/life"
	"github.com/persoline/persoline/perso/record"
	"github.com/persoline/persoline/perso/statement"
)

const (
	kindLife = "vault-life"
	fileLife = "life"
)

// Life reads which life the vault is in. A memory of a vault that never began has none.
func (m *Memory) Life() (r life.Record, found bool, err error) {
	b, err := os.ReadFile(filepath.Join(m.dir, fileLife))
	if errors.Is(err, fs.ErrNotExist) {
		return r, false, nil
	}
	if err == nil && len(b) > maxMemoryBytes {
		err = ErrCorrupt
	}
	if err != nil {
		return r, false, fmt.Errorf("reading vault memory: %w", err)
	}
	rd, err := record.Parse(b, kindLife)
	if err != nil {
		return r, false, fmt.Errorf("reading vault memory of its life: %w", err)
	}
	birth := rd.Hex("birth")
	r.Count = rd.Uint("count", 63)
	now, also := rd.Str("now"), rd.Str("also")
	r.Proof = rd.OptHash("proof")
	if len(birth) != life.BirthBytes {
		rd.Check(errors.New("a birth of another length"))
	} else {
		r.Birth = life.Birth(birth)
	}
	if now != "" {
		r.Now, err = life.ParseNonce(now)
		rd.Check(err)
	}
	if rd.Next("words") {
		r.Words = statement.Words{Count: rd.Uint("words", 63), Chain: rd.Hash("chain")}
	}
	for _, s := range strings.Fields(also) {
		n, err := life.ParseNonce(s)
		rd.Check(err)
		r.Also = append(r.Also, n)
	}
	if err := rd.Done(); err != nil {
		return r, false, fmt.Errorf("reading vault memory of its life: %w", errors.Join(ErrCorrupt, err))
	}
	return r, true, nil
}

// RememberLife replaces it.
func (m *Memory) RememberLife(r life.Record) error {
	var now string
	var proof []byte
	if r.Now != (life.Nonce{}) {
		now, proof = r.Now.String(), r.Proof[:]
	}
	also := make([]string, len(r.Also))
	for i, n := range r.Also {
		also[i] = n.String()
	}
	w := record.New(kindLife).Hex("birth", r.Birth[:]).Uint("count", r.Count).Str("now", now).Str("also", strings.Join(also, " ")).Hex("proof", proof)
	if r.Words != (statement.Words{}) {
		w.Uint("words", r.Words.Count).Hex("chain", r.Words.Chain[:])
	}
	return m.put(fileLife, w)
}
