package cli

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/cmd/cli/keyfile"
	"github.com/persoline/persoline/perso/record"
	"github.com/persoline/persoline/perso/statement"
)

// signedSuffix ends the name of a statement's file with its signatures.
const signedSuffix = ".signed"

func newOfficerCmd(env *Env) *cobra.Command {
	return Group("officer", "Make people's keys and sign with them, without a site", `  perso officer new prod-1 --person "First Person" --role production -o prod-1.key
  perso officer sign demo.release --key prod-1.key`,
		newOfficerNewCmd(env), newOfficerSignCmd(env))
}

// madeOfficer is the result of "officer new".
type madeOfficer struct {
	Officer perso.Name     `json:"officer"`
	Person  string         `json:"person"`
	Role    statement.Role `json:"role"`
	Key     string         `json:"key"`
	File    string         `json:"file"`
	Line    string         `json:"public_line"`
}

func newOfficerNewCmd(env *Env) *cobra.Command {
	var person, role, out string
	c := &cobra.Command{
		Use:   "new NAME",
		Short: "Make an officer's signing key",
		Long: Describe("Makes an Ed25519 key in a new file that only its owner can read: a record that says whose it is, then PKCS #8 in PEM.\n"+
			"Prints the public line, which the officer register takes in.", madeOfficer{}),
		Example: `  perso officer new prod-1 --person "First Person" --role production -o prod-1.key
  perso officer new sec-1 --person "Second Person" --role security -o sec-1.key`,
		Args: Takes("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := needs(cmd, "person", "role", "output"); err != nil {
				return err
			}
			return newOfficer(env, args[0], person, role, out)
		},
	}
	c.Flags().StringVar(&person, "person", "", "full name of the person")
	c.Flags().StringVar(&role, "role", "", "production, security, quality, order-desk, operator, supervisor, auditor, key-custodian or admin")
	c.Flags().StringVarP(&out, "output", "o", "", "key file to create")
	return c
}

func newOfficer(env *Env, name, person, role, path string) error {
	id, errName := perso.ParseName(name)
	duty, errRole := statement.ParseRole(role)
	if errName != nil || errRole != nil {
		return Usage("%w", errors.Join(errName, errRole))
	}
	if err := keyfile.CheckPerson(person); err != nil {
		return Usage("--person: %w", err)
	}
	k, err := keyfile.New(statement.Officer{ID: id, Person: person, Role: duty}, env.Rand)
	if err != nil {
		return err
	}
	defer k.Wipe()
	if err := keyfile.Create(path, k); err != nil {
		return err
	}
	o := k.Officer
	line := keyfile.PublicLine(o)
	return env.Emit(madeOfficer{Officer: o.ID, Person: o.Person, Role: o.Role, Key: fmt.Sprintf("%x", []byte(o.Key)), File: path, Line: line},
		func(w io.Writer) { fmt.Fprintln(w, line) })
}

// signedFile is the result of "officer sign".
type signedFile struct {
	File     string       `json:"file"`
	Kind     string       `json:"kind"`
	Hash     digest       `json:"hash"`
	Officer  perso.Name   `json:"officer"`
	SignedBy []perso.Name `json:"signed_by"`
}

func newOfficerSignCmd(env *Env) *cobra.Command {
	var key string
	var yes bool
	c := &cobra.Command{
		Use:   "sign FILE",
		Short: "Read a statement and sign it",
		Long: Describe("Shows a statement as it is and asks whether to sign it. FILE is a draft, whose signatures go to FILE"+signedSuffix+", or such a\n"+
			"file itself. Other officers' signatures are kept; whether they hold, the ledger and the vault check.", signedFile{}),
		Example: `  perso officer sign demo.release --key prod-1.key
  perso officer sign demo.release.signed --key sec-1.key
  perso officer sign demo.close --key sec-1.key --yes`,
		Args: Takes("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := needs(cmd, "key"); err != nil {
				return err
			}
			return signFile(cmd.Context(), env, args[0], key, yes)
		},
	}
	c.Flags().StringVar(&key, "key", "", "the officer's key file")
	c.Flags().BoolVar(&yes, "yes", false, "sign without asking")
	return c
}

func signFile(ctx context.Context, env *Env, path, keyPath string, yes bool) error {
	s, out, err := env.openStatement(path)
	if err != nil {
		return err
	}
	kind, err := readable(s.Body)
	if err != nil {
		return Hint(fmt.Errorf("reading %q before signing: %w", path, err), "this is no statement: 'perso order draft', 'perso lot draft-close' and 'perso lot draft-destroy' write them")
	}
	if err := statement.CheckReason(s.Body); err != nil {
		return Hint(fmt.Errorf("reading %q before signing: %w", path, err), "the ledger does not take it in: draft it anew")
	}
	k, err := loadKey(keyPath)
	if err != nil {
		return err
	}
	defer k.Wipe()
	if slices.Contains(signers(s), k.Officer.ID) {
		return Hint(fmt.Errorf("signing %q: %q has signed it already", out, k.Officer.ID), "another officer, of another role, signs next")
	}
	if err := env.consent(ctx, s, kind, k.Officer, yes); err != nil {
		return err
	}
	k.Sign(&s)
	if err := replace(out, s.Encode()); err != nil {
		return err
	}
	err = env.Emit(signedFile{File: out, Kind: kind, Hash: s.Hash(), Officer: k.Officer.ID, SignedBy: signers(s)}, func(w io.Writer) {
		fmt.Fprintf(w, "%s is signed by %s\n", out, joinNames(signers(s)))
	})
	env.adviseAfterSigning(kind, out, len(s.Signatures))
	return err
}

// adviseAfterSigning says what follows a signature. Statements about lots need two; those of the register are for the
// key ceremony.
func (env *Env) adviseAfterSigning(kind, file string, signatures int) {
	command, ofLot := map[string]string{statement.KindRelease: "release", statement.KindClose: "close", statement.KindDestroy: "destroy-keys", statement.KindLost: "lose"}[kind]
	switch {
	case kind == statement.KindReview:
		env.Advise("next: %s", env.Command("audit review", "%s", Quoted(file)))
	case kind == statement.KindRestored && signatures > 1:
		env.Advise("next: %s", env.Command("ledger confirm-restored", "%s", Quoted(file)))
	case kind == statement.KindUnfreeze && signatures > 1:
		env.Advise("next: %s", env.Command("unfreeze", "%s", Quoted(file)))
	case slices.Contains(handInKinds, kind):
		env.Advise("next: all whose duty it is sign, then %s", env.Command("hand-in", "%s", Quoted(file)))
	case !ofLot:
	case signatures < 2:
		env.Advise("next: another officer, of another role, reads and signs it: perso officer sign %s --key KEYFILE", Quoted(file))
	case kind == statement.KindDestroy:
		env.Advise("next: %s", env.Command("lot "+command, "%s -o FILE", Quoted(file)))
	default:
		env.Advise("next: %s", env.Command("lot "+command, "%s", Quoted(file)))
	}
}

// loadKey reads an officer's key file, and says what to do about one that can't be used.
func loadKey(path string) (keyfile.Key, error) {
	k, err := keyfile.Load(path)
	switch {
	case errors.Is(err, keyfile.ErrExposed):
		err = Hint(err, "chmod 600 %s, and ask whether the key is still a secret", path)
	case errors.Is(err, keyfile.ErrDamaged):
		err = Hint(err, "--key names the file that 'perso officer new' made; take it from its copy")
	}
	return k, err
}

// openStatement reads a draft or a signed statement, and says where the signatures go.
func (env *Env) openStatement(path string) (statement.Signed, string, error) {
	b, err := env.read(path, statement.MaxSignedBytes)
	if err != nil {
		return statement.Signed{}, "", err
	}
	if strings.HasSuffix(path, signedSuffix) {
		s, err := statement.DecodeSigned(b)
		return s, path, notSigned(path, err)
	}
	if path == "-" {
		return statement.Signed{}, "", Usage("a statement is signed in a file, not from standard input")
	}
	path += signedSuffix
	before, err := env.read(path, statement.MaxSignedBytes)
	if errors.Is(err, os.ErrNotExist) {
		return statement.Signed{Body: b}, path, nil
	}
	if err != nil {
		return statement.Signed{}, "", err
	}
	s, err := statement.DecodeSigned(before)
	err = notSigned(path, err)
	if err == nil && !bytes.Equal(s.Body, b) {
		err = Hint(fmt.Errorf("signing: %q holds signatures for another text", path), "it belongs to an older draft: remove it")
	}
	return s, path, err
}

// notSigned names the file that holds no statement with signatures.
func notSigned(path string, err error) error {
	if err == nil {
		return nil
	}
	return Hint(fmt.Errorf("reading %q: %w", path, err), "'perso officer sign' writes such files from a draft, and they are handed on unchanged: get it anew from the officer before you")
}

// signable are the kinds of statements that people sign, each with what reads it.
var signable = map[string]func(body []byte) error{
	statement.KindGenesis: func([]byte) error { return nil }, // who pins it reads it, in a key ceremony
	statement.KindAdd:     reads(statement.ParseChange), statement.KindRevoke: reads(statement.ParseChange),
	statement.KindRelease: reads(statement.ParseRelease), statement.KindClose: reads(statement.ParseClose), statement.KindDestroy: reads(statement.ParseDestroy),
	statement.KindLost: reads(statement.ParseLost), statement.KindForget: reads(statement.ParseForget), statement.KindRestored: reads(statement.ParseRestored),
	statement.KindReview: reads(statement.ParseReview), statement.KindFreeze: reads(statement.ParseFreeze), statement.KindUnfreeze: reads(statement.ParseFreeze),
	statement.KindPolicy: reads(statement.ParsePolicy), statement.KindTaken: reads(statement.ParseDesk), statement.KindCancelled: reads(statement.ParseDesk),
	statement.KindFirstArticle: reads(statement.ParseFirstArticle), statement.KindSamples: reads(statement.ParseSamples), statement.KindClearance: reads(statement.ParseClearance),
	statement.KindExplained: reads(statement.ParseExplained), statement.KindRejects: reads(statement.ParseRejects), statement.KindShort: reads(statement.ParseShort),
}

func reads[S any](parse func([]byte) (S, error)) func([]byte) error {
	return func(body []byte) error {
		_, err := parse(body)
		return err
	}
}

// readable refuses to sign what is no statement of officers, or shows on a terminal other than it is.
func readable(body []byte) (kind string, err error) {
	if kind, err = record.Kind(body); err != nil {
		return "", err
	}
	parse, known := signable[kind]
	if !known {
		return kind, fmt.Errorf("a %q is nothing that officers sign", kind)
	}
	if at := bytes.IndexFunc(body, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }); at >= 0 {
		return kind, fmt.Errorf("byte %d does not show on a terminal", at)
	}
	return kind, parse(body)
}

// consent shows the statement and asks.
func (env *Env) consent(ctx context.Context, s statement.Signed, kind string, o statement.Officer, yes bool) error {
	fmt.Fprintf(env.Err, "%s\nhash      %x\nsigned by %s\n", bytes.TrimSuffix(s.Body, []byte("\n")), sha256.Sum256(s.Body), joinNames(signers(s)))
	if yes {
		return nil
	}
	if !env.InTTY {
		return Usage("there is nobody to ask; --yes signs without asking")
	}
	fmt.Fprintf(env.Err, "Sign this %s as %s (%s, %s)? [y/N] ", kind, o.ID, o.Person, o.Role)
	answer, err := env.readLine(ctx)
	if err != nil {
		return fmt.Errorf("not signed: %w", err)
	}
	if a := strings.ToLower(strings.TrimSpace(answer)); a != "y" && a != "yes" {
		return errors.New("not signed")
	}
	return nil
}

// readLine waits for a line of standard input, but no longer than the command may run: a read cannot be interrupted.
func (env *Env) readLine(ctx context.Context) (string, error) {
	type read struct {
		line string
		err  error
	}
	got := make(chan read, 1)
	go func() {
		line, err := bufio.NewReader(env.In).ReadString('\n')
		got <- read{line, err}
	}()
	select {
	case <-ctx.Done():
		return "", ctx.Err()
	case r := <-got:
		if errors.Is(r.err, io.EOF) {
			r.err = nil
		}
		return r.line, r.err
	}
}

func signers(s statement.Signed) []perso.Name {
	names := make([]perso.Name, 0, len(s.Signatures))
	for _, g := range s.Signatures {
		names = append(names, g.Officer)
	}
	return names
}
