package keygen_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"

	"github.com/persoline/persoline/hsm"
	"github.com/persoline/persoline/keygen"
	"github.com/persoline/persoline/perso"
)

var errDisk = errors.New("disk")

// storeDouble is a Journal and a Memory without a disk. fail is what the next writes do: nil, or an error given before or
// after they were carried out.
type storeDouble struct {
	mu          sync.Mutex
	journal     map[perso.Name][][]byte
	memory      keygen.Recollection
	words       [][]byte
	fail, after bool
}

func newStore() *storeDouble {
	return &storeDouble{journal: map[perso.Name][][]byte{}, memory: keygen.Recollection{Lots: map[perso.Name]keygen.Issued{}}}
}

func (s *storeDouble) write(do func()) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail && !s.after {
		return errDisk
	}
	do()
	if s.fail {
		return errDisk
	}
	return nil
}

func (s *storeDouble) Append(lot perso.Name, count uint64, records [][]byte) error {
	if uint64(len(s.journal[lot])) != count {
		return errors.New("gap")
	}
	return s.write(func() { s.journal[lot] = append(s.journal[lot], records...) })
}

func (s *storeDouble) Read(lot perso.Name, from uint64, each func([]byte) (bool, error)) error {
	s.mu.Lock()
	records := slices.Clone(s.journal[lot])
	s.mu.Unlock()
	for _, r := range records[min(from, uint64(len(records))):] {
		if more, err := each(r); !more || err != nil {
			return err
		}
	}
	return nil
}

func (s *storeDouble) Scratch() (keygen.Scratch, error) {
	return nil, errors.New("a lot of a test has its index in memory")
}

func (s *storeDouble) Recall() (keygen.Recollection, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.memory
	m.Lots = maps.Clone(m.Lots)
	return m, nil
}

func (s *storeDouble) RememberCheckpoint(size int64, root [32]byte) error {
	return s.write(func() { s.memory.Size, s.memory.Root = size, root })
}

func (s *storeDouble) RememberLot(lot perso.Name, i keygen.Issued) error {
	return s.write(func() { s.memory.Lots[lot] = i })
}

func (s *storeDouble) Heard() ([][]byte, error) { return s.words, nil }

func (s *storeDouble) RememberWord(_ uint64, word []byte) error {
	return s.write(func() { s.words = append(s.words, word) })
}

// withoutDisk gives the rig's vault an empty store that can fail on demand, and a token that knows no lot.
func (r *rig) withoutDisk() *storeDouble {
	r.t.Helper()
	r.destroyLot()
	s := newStore()
	words, err := r.cfg.Words.Heard() // the vault's life knows that it heard these
	if err != nil {
		r.t.Fatal(err)
	}
	s.words = words
	r.cfg.Journal, r.cfg.Memory, r.cfg.Words = s, s, s
	r.reopenVault()
	return s
}

// destroyLot takes the test lot's key off the token, if it is there.
func (r *rig) destroyLot() {
	r.t.Helper()
	key, err := hsm.NewKey("test", hsm.ClassLot, string(testLot))
	if err != nil {
		r.t.Fatal(err)
	}
	token := r.token.(interface {
		Destroy(context.Context, hsm.Key) error
	})
	if err := token.Destroy(ctx, key); err != nil && !errors.Is(err, hsm.ErrNotFound) {
		r.t.Fatal(err)
	}
}
