package wire

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/persoline/persoline/hsm"
	"github.com/persoline/persoline/hsm/hsmfake"
	"github.com/persoline/persoline/perso/secret"
)

// TestKeyOrigins: a key says where it was made, or why it can't be used; a token that fails says nothing of any.
func TestKeyOrigins(t *testing.T) {
	t.Parallel()
	token := hsmfake.New(rand.NewChaCha8([32]byte{1}))
	for _, label := range []string{"persoline/test/lot/inside", "persoline/test/lot/outside", "persoline/test/log/changed"} {
		k, err := hsm.ParseKey(label)
		if err == nil {
			if strings.HasSuffix(label, "outside") {
				err = token.Import(t.Context(), k, secret.New(make([]byte, 32)))
			} else {
				err = token.Generate(t.Context(), k)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	failing := func(with error) {
		token.Inject(func(_ uint64, v hsm.Verb, k hsm.Key) (f hsmfake.Fault) {
			if v == hsm.VerbLocal && k.Class == hsm.ClassLog {
				f.Before = with
			}
			return f
		})
	}
	failing(hsm.ErrRefused)
	all, err := keyOrigins(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	var said []string
	for _, o := range all {
		said = append(said, fmt.Sprint(o.Key, " ", o.Inside, " ", o.Refused != ""))
	}
	const want = "persoline/test/log/changed false true, persoline/test/lot/inside true false, persoline/test/lot/outside false false"
	if got := strings.Join(said, ", "); got != want {
		t.Errorf("it says %s", got)
	}
	failing(hsm.ErrTokenGone)
	if all, err := keyOrigins(t.Context(), token); err == nil {
		t.Errorf("a token that is gone says %v", all)
	}
}
