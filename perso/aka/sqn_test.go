package aka

import (
	"bytes"
	"errors"
	"testing"
)

func sqnOf(seq uint64, ind int) SQN { return SQNOf(seq<<indBits | uint64(ind)) }

func TestSQN(t *testing.T) {
	t.Parallel()
	s := SQN{0xff, 0x9b, 0xb4, 0xd0, 0xb6, 0x07}
	if s.Uint64() != 0xff9bb4d0b607 || SQNOf(s.Uint64()) != s {
		t.Errorf("%x became %x", s, s.Uint64())
	}
	if s.ind() != 7 || s.seq() != 0xff9bb4d0b607>>5 {
		t.Errorf("IND %d, SEQ %x", s.ind(), s.seq())
	}
}

func TestSQNArray(t *testing.T) {
	t.Parallel()
	type try struct {
		seq  uint64
		ind  int
		want bool
	}
	for name, tc := range map[string]struct {
		policy  SQNPolicy
		tries   []try
		highest SQN
	}{
		"a new card refuses zero and takes one": {DefaultSQNPolicy(), []try{{0, 0, false}, {1, 0, true}, {1, 0, false}}, sqnOf(1, 0)},
		"each IND has its own memory":           {DefaultSQNPolicy(), []try{{9, 1, true}, {5, 2, true}, {5, 1, false}, {9, 3, true}}, sqnOf(9, 1)},
		"a jump up to delta":                    {SQNPolicy{Delta: 10}, []try{{10, 0, true}, {21, 1, false}, {20, 1, true}}, sqnOf(20, 1)},
		"no delta":                              {SQNPolicy{}, []try{{1 << 42, 0, true}}, sqnOf(1<<42, 0)},
		"default delta":                         {DefaultSQNPolicy(), []try{{DefaultDelta + 1, 0, false}, {DefaultDelta, 0, true}}, sqnOf(DefaultDelta, 0)},
		"an age limit":                          {SQNPolicy{AgeLimit: 5}, []try{{100, 0, true}, {95, 1, false}, {96, 1, true}}, sqnOf(100, 0)},
		"no age limit":                          {SQNPolicy{}, []try{{100, 0, true}, {1, 1, true}}, sqnOf(100, 0)},
		"the last IND":                          {SQNPolicy{}, []try{{1<<43 - 1, 31, true}, {1<<43 - 1, 31, false}}, SQN{255, 255, 255, 255, 255, 255}},
	} {
		a := NewSQNArray(tc.policy)
		for _, x := range tc.tries {
			if got := a.Fresh(sqnOf(x.seq, x.ind)); got != x.want {
				t.Errorf("%s: fresh %d/%d says %v", name, x.seq, x.ind, got)
			}
			if got := a.Accept(sqnOf(x.seq, x.ind)); got != x.want {
				t.Errorf("%s: accept %d/%d says %v", name, x.seq, x.ind, got)
			}
		}
		if a.Highest() != tc.highest {
			t.Errorf("%s: highest is %x, want %x", name, a.Highest(), tc.highest)
		}
		stored, err := a.AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := LoadSQNArray(tc.policy, stored); err != nil || *b != *a {
			t.Errorf("%s: stored and loaded differ: %v", name, err)
		}
	}
}

func FuzzLoadSQNArray(f *testing.F) {
	f.Add(make([]byte, SQNArrayBytes))
	full := make([]byte, 0, SQNArrayBytes)
	for i := range SQNEntries {
		sqn := sqnOf(uint64(i+1), i)
		full = append(full, sqn[:]...)
	}
	f.Add(full)
	f.Add(bytes.Repeat([]byte{0xFF}, SQNArrayBytes))
	f.Fuzz(func(t *testing.T, in []byte) {
		a, err := LoadSQNArray(DefaultSQNPolicy(), in)
		if err != nil {
			if !errors.Is(err, ErrSQNState) {
				t.Fatal(err)
			}
			return
		}
		if out, err := a.AppendBinary(nil); err != nil || !bytes.Equal(out, in) {
			t.Fatalf("%x came back as %x, %v", in, out, err)
		}
		if a.Accept(a.Highest()) {
			t.Fatal("the highest number is accepted again")
		}
	})
}
