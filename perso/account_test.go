package perso_test

import (
	"testing"

	. "github.com/persoline/persoline/perso"
)

// TestAccounts: each has one spelling, and what holds secrets, or is outside, moves by no booking.
func TestAccounts(t *testing.T) {
	t.Parallel()
	all := []Account{AccountSupplier, AccountStore, AccountUnissued, AccountGood, AccountRejectBlank, AccountRejectLive, AccountSample, AccountRetest,
		AccountContact, AccountMissing, AccountDestroyed, LineAccount("line-1"), LotAccount("L1")}
	moves := 0
	for _, a := range all {
		if b, err := ParseAccount(string(a)); err != nil || b != a {
			t.Errorf("%q is read as %q, %v", a, b, err)
		}
		for _, b := range all {
			if !a.MayMove(b) {
				continue
			}
			moves++
			for _, never := range []Account{AccountSupplier, AccountUnissued, AccountGood, AccountRejectLive, AccountSample, AccountMissing, AccountDestroyed} {
				if a == never || b == never || a == b {
					t.Errorf("chips may be booked from %s into %s", a, b)
				}
			}
		}
	}
	if moves != 13 {
		t.Errorf("%d movements are allowed", moves)
	}
	for _, s := range []string{"", "line/", "lot/a b", "Store", "lot", "lot/a/b", "bin/x"} {
		if a, err := ParseAccount(s); err == nil {
			t.Errorf("%q is read as %q", s, a)
		}
	}
	if LotAccount("L1").Lot() != "L1" || LineAccount("L1").Lot() != "" || AccountStore.Lot() != "" ||
		LineAccount("L1").Line() != "L1" || LotAccount("L1").Line() != "" || AccountStore.Line() != "" {
		t.Error("whose account it is")
	}
}
