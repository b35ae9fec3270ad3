package hsmtest

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/persoline/persoline/hsm"
	"github.com/persoline/persoline/hsm/softhsm"
	"github.com/persoline/persoline/perso/secret"
)

// The token that SoftHSM lends.
const (
	tokenLabel = "persoline test"
	userPIN    = "test-user-pin"
)

// shared is the SoftHSM token of this test binary. It is state of the whole
// process because the module is: it is initialized once and logged in for all.
var shared struct {
	sync.Mutex
	users int
	dir   string
	token *hsm.Token
}

// RequireSoftHSM skips the test where SoftHSM is not installed, or fails it if
// the comma-separated list in PERSO_TEST_REQUIRE has "softhsm". It returns the
// module's path.
func RequireSoftHSM(t testing.TB) string {
	t.Helper()
	module, err := softhsm.FindModule()
	switch {
	case err == nil:
		return module
	case slices.Contains(strings.Split(os.Getenv("PERSO_TEST_REQUIRE"), ","), "softhsm"):
		t.Fatal("softhsm2 not installed, but PERSO_TEST_REQUIRE asks for it")
	default:
		t.Skip("SKIP: softhsm2 not installed")
	}
	return ""
}

// SoftHSM lends a token on SoftHSM, one and the same to all tests of a binary
// that run at the same time; the last to end closes and erases it. Tests choose
// key ids that do not meet.
func SoftHSM(t testing.TB) *hsm.Token {
	t.Helper()
	module := RequireSoftHSM(t)
	shared.Lock()
	defer shared.Unlock()
	if shared.users == 0 {
		if err := openShared(module); err != nil {
			t.Fatal(err)
		}
	}
	shared.users++
	t.Cleanup(func() {
		shared.Lock()
		defer shared.Unlock()
		if shared.users--; shared.users > 0 {
			return
		}
		if err := errors.Join(shared.token.Close(), os.RemoveAll(shared.dir)); err != nil {
			t.Error(err)
		}
	})
	return shared.token
}

// TestConfig is how a token that NewSoftHSM made is opened.
func TestConfig(module string) hsm.Config {
	return hsm.Config{Module: module, TokenLabel: tokenLabel, PIN: secret.New([]byte(userPIN)), MaxSessions: 4}
}

// NewSoftHSM makes an empty token in a directory and points the process at it.
func NewSoftHSM(dir string) error {
	return softhsm.Init(dir, tokenLabel, secret.New([]byte("test-officer-pin")), secret.New([]byte(userPIN)))
}

func openShared(module string) error {
	dir, err := os.MkdirTemp("", "persoline-softhsm-")
	if err != nil {
		return err
	}
	err = NewSoftHSM(dir)
	if err == nil {
		shared.token, err = hsm.Open(context.Background(), TestConfig(module))
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(dir))
	}
	shared.dir = dir
	return nil
}
