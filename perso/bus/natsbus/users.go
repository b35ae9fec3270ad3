package natsbus

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
)

// The users that are not lines.
const (
	UserLedger = "ledger"
	UserVault  = "vault"
	UserOffice = "office"
)

const (
	lineUserPrefix = "line-"
	inboxStart     = "_INBOX_"
	// replyWindow is how long a service may answer a request that it got.
	replyWindow = 2 * handlerTimeout
	// maxUsers bounds one site.
	maxUsers = 200
	// keysFile lists the public keys for a stand-alone server's configuration.
	keysFile = "nkeys.conf"
)

// LineUser is the bus user of a line.
func LineUser(line perso.Name) string { return lineUserPrefix + string(line) }

// InboxPrefix is where a user gets answers; nobody else may listen there.
func InboxPrefix(user string) string { return inboxStart + user }

// User is a bus user with the public half of its NKey.
type User struct {
	Name   string
	Public string // U…, see NKeys
}

// SeedFile is where GenerateUsers keeps a user's private key.
func SeedFile(dir, user string) string { return filepath.Join(dir, user+".nk") }

// GenerateUsers makes a key for ledger, vault, office and each line, in files that only their owner can read. Keys that are
// there already are kept, so that a line can be added. It also writes nkeys.conf, which deploy/nats/nats.conf includes.
func GenerateUsers(dir string, lines []perso.Name) ([]User, error) {
	names := []string{UserLedger, UserVault, UserOffice}
	for _, line := range lines {
		names = append(names, LineUser(line))
	}
	if len(names) > maxUsers {
		return nil, fmt.Errorf("generating bus users: %d exceed %d", len(names), maxUsers)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("generating bus users: %w", err)
	}
	users := make([]User, len(names))
	conf := []byte("# Public keys of the bus users, written by persoline.\n")
	for i, name := range names {
		public, err := ensureSeed(SeedFile(dir, name))
		if err != nil {
			return nil, fmt.Errorf("generating bus user %q: %w", name, err)
		}
		users[i] = User{Name: name, Public: public}
		conf = fmt.Appendf(conf, "nkey-%s: %s\n", name, public)
	}
	if err := os.WriteFile(filepath.Join(dir, keysFile), conf, 0o644); err != nil {
		return nil, fmt.Errorf("generating bus users: %w", err)
	}
	return users, nil
}

// ensureSeed returns the public key of the seed in file, making one when there is none.
func ensureSeed(file string) (public string, err error) {
	seed, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		seed, err = writeSeed(file)
	}
	if err != nil {
		return "", err
	}
	defer clear(seed)
	pair, err := nkeys.FromSeed(bytes.TrimSpace(seed))
	if err != nil {
		return "", fmt.Errorf("reading seed %q: %w", file, err)
	}
	defer pair.Wipe()
	return pair.PublicKey()
}

func writeSeed(file string) (seed []byte, err error) {
	pair, err := nkeys.CreateUser()
	if err != nil {
		return nil, err
	}
	defer pair.Wipe()
	if seed, err = pair.Seed(); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	_, err = f.Write(seed)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return nil, fmt.Errorf("writing seed %q: %w", file, err)
	}
	return bytes.Clone(seed), nil // the pair's own is wiped
}

// permissionsOf is the whole of what a user may do; what is not listed is denied. deploy/nats/nats.conf says the same, and a
// test compares them.
func permissionsOf(user string) (*server.Permissions, error) {
	inbox := InboxPrefix(user) + ".>"
	switch user {
	case UserLedger:
		return permissions(true,
			[]string{"perso.vault.>", bus.HereLedger, workPrefix + "*", blobPrefix + "*.*", "$JS.API.>"},
			append(discovery(user), "perso.line.>", "perso.office.>", bus.HereLedger, "$JS.EVENT.ADVISORY.>", inbox)), nil
	case UserVault:
		return permissions(true, []string{bus.HereVault("*")}, append(discovery(user), "perso.vault.>", bus.HereVault("*"))), nil
	case UserOffice:
		return permissions(false, []string{"perso.office.>", "$SRV.>"}, []string{inbox}), nil
	}
	name, isLine := strings.CutPrefix(user, lineUserPrefix)
	if !isLine {
		return nil, fmt.Errorf("unknown bus user %q", user)
	}
	line, err := perso.ParseName(name)
	if err != nil {
		return nil, fmt.Errorf("bus user %q: %w", user, err)
	}
	own := StreamWork + "." + string(line)
	return permissions(false, []string{
		bus.LineSubject(line, ">"),
		"$JS.API.CONSUMER.INFO." + own, "$JS.API.CONSUMER.MSG.NEXT." + own,
		"$JS.ACK." + own + ".>", "$JS.ACK.*.*." + own + ".>", // without and with domain and account (ADR-15)
		directGet + blobPrefix + "*.*",
	}, []string{inbox}), nil
}

// discovery are the subjects on which a service says that it is there (ADR-32).
func discovery(user string) []string {
	return []string{"$SRV.*", "$SRV.*." + user, "$SRV.*." + user + ".*"}
}

func permissions(answers bool, publish, subscribe []string) *server.Permissions {
	p := &server.Permissions{
		Publish: &server.SubjectPermission{Allow: publish}, Subscribe: &server.SubjectPermission{Allow: subscribe},
	}
	if answers {
		p.Response = &server.ResponsePermission{MaxMsgs: 1, Expires: replyWindow}
	}
	if publish == nil {
		p.Publish.Allow = []string{} // nil would allow everything
	}
	return p
}
