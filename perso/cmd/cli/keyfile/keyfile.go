// Package keyfile keeps an officer's Ed25519 signing key in a file of his own, and says the public half of it in one line.
//
// The file is two parts: a canonical record (perso/record) of kind "officer-key" that says whose key it is, and the private
// key as PKCS #8 in PEM (RFC 8410, RFC 7468). Tools that read PEM skip the record; cat shows it. Only the owner may read the
// file: Load refuses one that others can read, as ssh does.
//
// The commands of perso/cmd call it. No zone may: the vault and the ledger know officers by their public keys only.
package keyfile

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/record"
	"github.com/persoline/persoline/perso/statement"
)

const (
	kind     = "officer-key"
	pemType  = "PRIVATE KEY"
	pemBegin = "-----BEGIN "

	// maxFileBytes bounds a key file; ours have about 350 bytes.
	maxFileBytes = 8 << 10
	// maxPersonChars keeps a name on one line of a printed page.
	maxPersonChars = 64
	// othersMask are the permission bits that a key file must not have.
	othersMask fs.FileMode = 0o077
)

// ErrExposed says that somebody else could have read the key.
var ErrExposed = errors.New("others can read the key file")

// Key is an officer with his private key.
type Key struct {
	Officer statement.Officer
	private ed25519.PrivateKey
}

// New makes a key for a person in a role. The officer's Key field is filled in.
func New(o statement.Officer, rand io.Reader) (Key, error) {
	seed := make([]byte, ed25519.SeedSize)
	if _, err := io.ReadFull(rand, seed); err != nil {
		return Key{}, fmt.Errorf("drawing a key for officer %q: %w", o.ID, err)
	}
	defer clear(seed)
	private := ed25519.NewKeyFromSeed(seed)
	o.Key = private.Public().(ed25519.PublicKey)
	k := Key{Officer: o, private: private}
	return k, k.check()
}

func (k Key) check() error {
	if _, err := perso.ParseName(string(k.Officer.ID)); err != nil {
		return err
	}
	if err := CheckPerson(k.Officer.Person); err != nil {
		return err
	}
	_, err := k.record()
	return err
}

// CheckPerson reports what makes a text no person's name: nothing in it, or more than a printed line takes.
func CheckPerson(name string) error {
	n := len([]rune(name))
	switch {
	case strings.TrimSpace(name) == "":
		return errors.New("the person's name is empty")
	case n > maxPersonChars:
		return fmt.Errorf("the person's name has %d characters, expected 1 to %d", n, maxPersonChars)
	}
	return nil
}

// Sign adds this officer's signature to a statement.
func (k Key) Sign(s *statement.Signed) { s.Sign(k.Officer.ID, k.private) }

// Wipe makes the key useless.
func (k Key) Wipe() { clear(k.private) }

func (k Key) record() ([]byte, error) {
	o := k.Officer
	return record.New(kind).Str("officer", string(o.ID)).Str("person", o.Person).Str("role", string(o.Role)).Hex("key", o.Key).Bytes()
}

// Encode gives the file's content: a secret, for the caller to wipe.
func (k Key) Encode() ([]byte, error) {
	head, err := k.record()
	if err != nil {
		return nil, fmt.Errorf("encoding the key of officer %q: %w", k.Officer.ID, err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(k.private)
	if err != nil {
		return nil, fmt.Errorf("encoding the key of officer %q: %w", k.Officer.ID, err)
	}
	defer clear(der)
	return append(head, pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: der})...), nil
}

// Decode reads what Encode wrote; any other spelling is refused, and so is a record that names another public key.
func Decode(b []byte) (Key, error) {
	i := bytes.Index(b, []byte(pemBegin))
	if i < 0 || len(b) > maxFileBytes {
		return Key{}, fmt.Errorf("reading an officer's key: no PEM block within %d bytes", maxFileBytes)
	}
	k, err := decodeRecord(b[:i])
	if err != nil {
		return Key{}, fmt.Errorf("reading an officer's key: %w", err)
	}
	block, _ := pem.Decode(b[i:])
	if block == nil {
		return Key{}, errors.New("reading an officer's key: the PEM block is damaged")
	}
	defer clear(block.Bytes)
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return Key{}, errors.New("reading an officer's key: the PEM block holds no PKCS #8 key") // the cause could quote bytes
	}
	private, ok := parsed.(ed25519.PrivateKey)
	if !ok || !k.Officer.Key.Equal(private.Public()) {
		return Key{}, fmt.Errorf("reading an officer's key: the private key is not that of public key %x", k.Officer.Key)
	}
	k.private = private
	again, err := k.Encode()
	defer clear(again)
	if err != nil || !bytes.Equal(again, b) {
		return Key{}, errors.New("reading an officer's key: the file is not as it was written")
	}
	return k, nil
}

func decodeRecord(b []byte) (Key, error) {
	r, err := record.Parse(b, kind)
	if err != nil {
		return Key{}, err
	}
	var k Key
	k.Officer.ID = r.Name("officer")
	k.Officer.Person = r.Raw("person")
	k.Officer.Role, err = statement.ParseRole(r.Raw("role"))
	r.Check(err)
	k.Officer.Key = r.Hex("key")
	return k, r.Done()
}

// Create writes a key to a new file that only its owner can read. A file that exists is never touched: it may be a key.
func Create(path string, k Key) (err error) {
	content, err := k.Encode()
	if err != nil {
		return err
	}
	defer clear(content)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("creating the key file: %w", err)
	}
	if _, err = f.Write(content); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("writing the key file: %w", errors.Join(err, os.Remove(path)))
	}
	return nil
}

// ErrDamaged says that a file holds no officer's key, or not as it was written.
var ErrDamaged = errors.New("this is no officer's key file, or it was changed")

// Load reads a key file. The error wraps ErrExposed when its permissions let others read it.
func Load(path string) (_ Key, err error) {
	f, err := os.Open(path)
	if err != nil {
		return Key{}, fmt.Errorf("opening the key file: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return Key{}, fmt.Errorf("looking at the key file: %w", err)
	}
	if info.Mode().Perm()&othersMask != 0 {
		return Key{}, fmt.Errorf("%w: %q has permissions %s", ErrExposed, path, info.Mode().Perm())
	}
	content, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	defer clear(content)
	if err != nil {
		return Key{}, fmt.Errorf("reading the key file: %w", err)
	}
	k, err := Decode(content)
	if err != nil {
		return Key{}, fmt.Errorf("%q: %w: %w", path, ErrDamaged, err)
	}
	return k, nil
}

// PublicLine is what an officer hands to the key ceremony: "officer <name> <role> <hex of the public key> <person>".
func PublicLine(o statement.Officer) string {
	return fmt.Sprintf("officer %s %s %x %s", o.ID, o.Role, []byte(o.Key), o.Person)
}

// ParsePublicLine reads what PublicLine wrote.
func ParsePublicLine(line string) (statement.Officer, error) {
	f := strings.SplitN(line, " ", 5)
	if len(f) != 5 || f[0] != "officer" {
		return statement.Officer{}, errors.New(`parsing a public line: it is not "officer <name> <role> <key> <person>"`)
	}
	name, errName := perso.ParseName(f[1])
	role, errRole := statement.ParseRole(f[2])
	key, errKey := hex.DecodeString(f[3])
	if err := errors.Join(errName, errRole, errKey); err != nil {
		return statement.Officer{}, fmt.Errorf("parsing a public line: %w", err)
	}
	o := statement.Officer{ID: name, Person: f[4], Role: role, Key: key}
	if len(key) != ed25519.PublicKeySize || PublicLine(o) != line {
		return statement.Officer{}, fmt.Errorf("parsing a public line: the key is not %d bytes of lower-case hex", ed25519.PublicKeySize)
	}
	return o, (Key{Officer: o}).check()
}
