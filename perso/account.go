package perso

import (
	"fmt"
	"strings"
)

// Account is a place where chips are, in the books of the stock. Each movement takes chips out of one account and puts as many into
// another, so that all accounts together are always zero; only AccountSupplier and AccountUnissued may be negative.
type Account string

// The accounts that a site has once. Beside them each line and each lot has one.
const (
	AccountSupplier    Account = "supplier"     // outside: minus what came in
	AccountStore       Account = "store"        // in the store, blank
	AccountUnissued    Account = "unissued"     // minus what closed lots used that nobody had issued to them from a reel
	AccountGood        Account = "good"         // finished
	AccountRejectBlank Account = "reject-blank" // no secret ever went into them
	AccountRejectLive  Account = "reject-live"  // locked: they may hold keys, and leave by destruction only
	AccountSample      Account = "sample"       // finished, kept for examination
	AccountRetest      Account = "retest"       // blank rejects that are to be looked at again
	AccountContact     Account = "contact"      // blank rejects whose contacts are bad
	AccountMissing     Account = "missing"      // signed for as missing
	AccountDestroyed   Account = "destroyed"    // destroyed before witnesses
)

// Prefixes of the accounts of lines and lots.
const (
	linePrefix = "line/"
	lotPrefix  = "lot/"
)

// LineAccount is what lies at a line and was not yet given to a lot.
func LineAccount(line Name) Account { return Account(linePrefix + line) }

// LotAccount is what was issued to a lot, until the lot is closed or gives it back.
func LotAccount(lot Name) Account { return Account(lotPrefix + lot) }

// Lot is the lot whose account it is; empty for any other account.
func (a Account) Lot() Name { return a.after(lotPrefix) }

// Line is the line whose account it is; empty for any other account.
func (a Account) Line() Name { return a.after(linePrefix) }

func (a Account) after(prefix string) Name {
	name, ok := strings.CutPrefix(string(a), prefix)
	if !ok {
		return ""
	}
	return Name(name)
}

// Outside reports whether the account may be negative, since it counts what came from elsewhere.
func (a Account) Outside() bool { return a == AccountSupplier || a == AccountUnissued }

// ParseAccount accepts the closed set and the accounts of lines and lots.
func ParseAccount(s string) (Account, error) {
	switch a := Account(s); a {
	case AccountSupplier, AccountStore, AccountUnissued, AccountGood, AccountRejectBlank, AccountRejectLive, AccountSample, AccountRetest, AccountContact,
		AccountMissing, AccountDestroyed:
		return a, nil
	}
	for _, prefix := range []string{linePrefix, lotPrefix} {
		if name, ok := strings.CutPrefix(s, prefix); ok && isName(name) {
			return Account(s), nil
		}
	}
	return "", fmt.Errorf("unknown account %q: it is none of the stock's, nor %sNAME or %sNAME", s, linePrefix, lotPrefix)
}

// MayMove reports whether chips may be booked from one account into another without an officer's word: blank chips only, between
// the store, lines, lots and the places where blank rejects are sorted.
func (a Account) MayMove(to Account) bool {
	place := func(a Account) string {
		if prefix, _, ok := strings.Cut(string(a), "/"); ok {
			return prefix
		}
		return string(a)
	}
	switch place(a) + " " + place(to) {
	case "store line", "store lot", "line lot", "line store", "lot line", "lot store",
		"reject-blank retest", "reject-blank contact", "contact retest", "retest contact", "retest reject-blank", "contact reject-blank", "retest store":
		return true
	}
	return false
}
