package cli

import (
	"strings"
	"testing"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
)

// TestMoveChips: the flags say which chips go where; what says nothing, or too much, is wrong use, and asks nobody.
func TestMoveChips(t *testing.T) {
	t.Parallel()
	var asked bus.BookRequest
	office := ledger{bus.OfficeBook: answer(func(q bus.BookRequest) (bus.BookReply, error) {
		asked = q
		return bus.BookReply{Product: "p", Chips: 5, Left: 2, There: 9}, nil
	})}
	for args, want := range map[string]bus.BookRequest{
		"issue --reel R-1 --lot L1 --by me":                                   {Reel: "R-1", From: "store", To: "lot/L1", By: "me"},
		"issue --reel R-1 --line l --chips 5 --by me":                         {Reel: "R-1", From: "store", To: "line/l", Chips: 5, By: "me"},
		"issue --reel R-1 --line l --lot L1 --by me":                          {Reel: "R-1", From: "line/l", To: "lot/L1", By: "me"},
		"return --product p --chips 5 --lot L1 --by me":                       {Product: "p", From: "lot/L1", To: "store", Chips: 5, By: "me"},
		"return --reel R-1 --line l --by me":                                  {Reel: "R-1", From: "line/l", To: "store", By: "me"},
		"sort --product p --chips 5 --from reject-blank --to retest --by me":  {Product: "p", From: "reject-blank", To: "retest", Chips: 5, By: "me"},
		"issue --lot L1 --by me":                                              {},
		"issue --reel R-1 --by me":                                            {},
		"issue --reel R-1 --lot L1":                                           {},
		"return --reel R-1 --line l --lot L1 --by me":                         {},
		"sort --product p --chips 5 --from reject-live --to retest --by me":   {},
		"sort --product p --chips 5 --from reject-blank --to store --by me":   {},
		"sort --product p --chips 5 --from pocket --to store --by me":         {},
		"issue --reel a/b --lot L1 --by me":                                   {},
		"sort --product p --chips 5 --from lot/L1 --to store --by me --json ": {},
	} {
		asked = bus.BookRequest{}
		r := run(t, office, nil, append([]string{"chips"}, strings.Fields(args)...)...)
		if asked.ID == [32]byte{} && want.By != "" {
			t.Errorf("%s: a booking without an id", args)
		}
		asked.ID = [32]byte{}
		if asked != want || (r.code == ExitOK) != (want.By != "") || want.By == "" && r.code != ExitUsage {
			t.Errorf("%s: exit %d, asked %+v, want %+v; %s", args, r.code, asked, want, r.err)
		}
	}
	r := run(t, office, nil, "chips", "issue", "--reel", "R-1", "--lot", "L1", "--by", "me")
	if want := "5 chips of p went from store (2 left) to lot/L1 (9 now)\n"; r.out != want {
		t.Errorf("%q, want %q", r.out, want)
	}
}

func TestListStock(t *testing.T) {
	t.Parallel()
	office := ledger{bus.OfficeStock: answer(func(bus.Empty) (bus.StockReply, error) {
		return bus.StockReply{Env: perso.EnvTest, Rows: []bus.StockRow{
			{Product: "p", Account: perso.AccountGood, Chips: 1}, {Product: "p", Reel: "R-1", Account: perso.AccountStore, Chips: 3},
			{Product: "p", Reel: "R-2", Account: perso.AccountStore, Chips: 4}}}, nil
	})}
	r := run(t, office, nil, "chips", "list")
	if want := "PRODUCT  REEL  ACCOUNT  CHIPS\np        -     good     1\np        R-1   store    3\np        R-2   store    4\n"; r.out != want {
		t.Errorf("got\n%s\nwant\n%s", r.out, want)
	}
	r = run(t, office, nil, "chips", "status", "--json")
	if want := `{"environment":"test","accounts":[{"product":"p","account":"good","chips":1},{"product":"p","account":"store","chips":7}]}` + "\n"; r.out != want {
		t.Errorf("got %s, want %s", r.out, want)
	}
}
