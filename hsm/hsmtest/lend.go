package hsmtest

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/persoline/persoline/hsm"
	"github.com/persoline/persoline/hsm/nss"
	"github.com/persoline/persoline/hsm/softhsm"
	"github.com/persoline/persoline/perso/secret"
)

// The tokens that are lent.
const (
	tokenLabel = "persoline test"
	userPIN    = "test-user-pin"
)

// A lender has the one token of a module in this test binary. It is state of
// the whole process because the module is: it is initialized once and logged in
// for all.
type lender struct {
	sync.Mutex
	users int
	dir   string
	token *hsm.Token
}

var sharedSoftHSM, sharedNSS lender

// RequireSoftHSM skips the test where SoftHSM is not installed, or fails it if
// the comma-separated list in PERSO_TEST_REQUIRE has "softhsm". It returns the
// module's path.
func RequireSoftHSM(t testing.TB) string {
	t.Helper()
	return require(t, "softhsm", softhsm.FindModule)
}

// RequireNSS is RequireSoftHSM for NSS softoken, "nss" in the list.
func RequireNSS(t testing.TB) string {
	t.Helper()
	return require(t, "nss", nss.FindModule)
}

func require(t testing.TB, name string, find func() (string, error)) string {
	t.Helper()
	module, err := find()
	switch {
	case err == nil:
		return module
	case slices.Contains(strings.Split(os.Getenv("PERSO_TEST_REQUIRE"), ","), name):
		t.Fatalf("%v, but PERSO_TEST_REQUIRE asks for %s", err, name)
	default:
		t.Skipf("SKIP: %v", err)
	}
	return ""
}

// SoftHSM lends a token on SoftHSM, one and the same to all tests of a binary
// that run at the same time; the last to end closes and erases it. Tests choose
// key ids that do not meet.
func SoftHSM(t testing.TB) *hsm.Token {
	t.Helper()
	module := RequireSoftHSM(t)
	return sharedSoftHSM.lend(t, func(dir string) (hsm.Config, error) {
		return TestConfig(module), NewSoftHSM(dir)
	})
}

// NSS lends a token on NSS softoken, as SoftHSM does.
func NSS(t testing.TB) *hsm.Token {
	t.Helper()
	RequireNSS(t)
	return sharedNSS.lend(t, NewNSS)
}

// TestConfig is how a token that NewSoftHSM made is opened.
func TestConfig(module string) hsm.Config {
	return hsm.Config{Module: module, TokenLabel: tokenLabel, PIN: secret.New([]byte(userPIN)), MaxSessions: 4, WaitLimit: testWait}
}

// testWait: keys are made one at a time, and tests make several RSA pairs at
// once, each of which takes seconds on a busy machine.
const testWait = time.Minute

// NewSoftHSM makes an empty token in a directory and points the process at it.
func NewSoftHSM(dir string) error {
	return softhsm.Init(dir, tokenLabel, secret.New([]byte("test-officer-pin")), secret.New([]byte(userPIN)))
}

// NewNSS makes an empty token in a directory and says how it is opened.
// Softoken stretches the PIN anew for each attribute that it encrypts; tests
// have no use for that.
func NewNSS(dir string) (hsm.Config, error) {
	if err := os.Setenv("NSS_MAX_MP_PBE_ITERATION_COUNT", "1"); err != nil {
		return hsm.Config{}, err
	}
	pin := secret.New([]byte(userPIN))
	if err := nss.Init(dir, tokenLabel, pin); err != nil {
		return hsm.Config{}, err
	}
	cfg, err := nss.Config(dir, tokenLabel, pin)
	cfg.MaxSessions, cfg.WaitLimit = 4, testWait
	return cfg, err
}

// TempDir is a directory for a token, which goes when the test ends.
func TempDir(t testing.TB) string {
	t.Helper()
	dir, err := tokenDir()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// tokenDir makes a directory in memory where the system has such: each key that
// is made waits for the disk several times, and test keys need not outlive a
// power cut.
func tokenDir() (string, error) {
	const name = "persoline-token-"
	if dir, err := os.MkdirTemp("/dev/shm", name); err == nil {
		return dir, nil
	}
	return os.MkdirTemp("", name)
}

func (l *lender) lend(t testing.TB, make func(dir string) (hsm.Config, error)) *hsm.Token {
	t.Helper()
	l.Lock()
	defer l.Unlock()
	if l.users == 0 {
		if err := l.open(make); err != nil {
			t.Fatal(err)
		}
	}
	l.users++
	t.Cleanup(func() {
		if err := l.giveBack(); err != nil {
			t.Error(err)
		}
	})
	return l.token
}

func (l *lender) open(make func(dir string) (hsm.Config, error)) error {
	dir, err := tokenDir()
	if err != nil {
		return err
	}
	cfg, err := make(dir)
	if err == nil {
		l.token, err = hsm.Open(context.Background(), cfg)
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(dir))
	}
	l.dir = dir
	return nil
}

func (l *lender) giveBack() error {
	l.Lock()
	defer l.Unlock()
	if l.users--; l.users > 0 {
		return nil
	}
	return errors.Join(l.token.Close(), os.RemoveAll(l.dir))
}
