package scp

import (
	"bytes"
	"errors"
	"testing"

	"github.com/persoline/persoline/perso/tlv"
)

// A stream is made of objects of the lengths that were foretold, a card takes it, and says what the host expected it to say.
func TestStream(t *testing.T) {
	t.Parallel()
	for _, i := range []byte{OptPseudo | OptRMAC | OptRENC, OptPseudo | OptRMAC | OptRENC | OptS16} {
		for _, size := range []int{1, 15, 16, 100, MaxTLVData - 1, MaxTLVData, MaxTLVData + 1, 3000, MaxPackage} {
			keys := testKeys(16)
			c, iu, hostChallenge := openedCard(t, keys, i)
			h, err := OpenHost(keys, hostChallenge, iu)
			if err != nil {
				t.Fatal(err)
			}
			pkg, report := bytes.Repeat([]byte{byte(size), 1, 2}, size)[:size], []byte("taken")
			stream, marks, err := h.SealStream(nil, pkg)
			if err != nil {
				t.Fatal(err)
			}
			want := h.AnswersTLV(marks, report)
			var got, answers []byte
			objects := StreamObjects(size, h.s.macBytes)
			for n, length := range objects {
				one := stream[:length]
				stream = stream[length:]
				if n == 0 {
					if err := c.ExternalAuthenticateTLV(one); err != nil {
						t.Fatal(err)
					}
					answers = tlv.Encode(TagExternal)
					continue
				}
				data, err := c.UnwrapTLV(one)
				if err != nil {
					t.Fatalf("segment %d of %d bytes: %v", n, size, err)
				}
				got = append(got, data...)
				var said []byte
				if n == len(objects)-1 {
					said = report
				}
				answer, err := c.WrapTLV(said)
				if err != nil {
					t.Fatal(err)
				}
				answers = append(answers, answer...)
			}
			if len(stream) != 0 || !bytes.Equal(got, pkg) || !bytes.Equal(answers, want) {
				t.Errorf("i %02X, %d bytes: %d of the stream left, package %v, answers %v", i, size, len(stream), bytes.Equal(got, pkg), bytes.Equal(answers, want))
			}
		}
	}
}

func TestStreamRefuses(t *testing.T) {
	t.Parallel()
	keys := testKeys(16)
	for _, size := range []int{0, MaxPackage + 1} {
		_, iu, hostChallenge := openedCard(t, keys, OptPseudo|OptRMAC|OptRENC)
		h, err := OpenHost(keys, hostChallenge, iu)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := h.SealStream(nil, make([]byte, size)); !errors.Is(err, ErrTooLong) {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}
