package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/persoline/persoline/ledger/audit/audittest"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/statement"
)

// longLog answers as a ledger with a hundred entries does, ten at a time.
func longLog() ledger {
	var all []bus.TraceEntry
	for i := range int64(100) {
		body := audittest.Must(entry.Order{Commit: [32]byte{byte(i + 1)}, Good: uint64(i), At: epoch}.Encode())
		all = append(all, bus.TraceEntry{Seq: i, Kind: entry.KindOrder, Body: body})
	}
	return ledger{bus.OfficeLog: answer(func(q bus.LogRequest) (bus.LogReply, error) {
		if q.Last > 0 {
			q.From = 100 - int64(q.Last)
		}
		r := bus.LogReply{Size: 100, Next: min(100, q.From+10)}
		for _, e := range all[q.From:r.Next] {
			if q.Wants(e) {
				r.Entries = append(r.Entries, e)
			}
		}
		return r, nil
	})}
}

func TestLogCommands(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{
		"log tail -n 2":                "2027-03-01 08:00:00.000Z       98  an order of 98 units and 0 spares is accepted\n2027-03-01 08:00:00.000Z       99  an order of 99 units and 0 spares is accepted\n",
		"log tail -n 2 --kind alarm":   "",
		"log tail -n 1 --follow":       "2027-03-01 08:00:00.000Z       99  an order of 99 units and 0 spares is accepted\n",
		"log search 97":                "2027-03-01 08:00:00.000Z       97  an order of 97 units and 0 spares is accepted\n",
		"log search nothing":           "",
		"log search good --most 1":     "2027-03-01 08:00:00.000Z        0  an order of 0 units and 0 spares is accepted\n",
		"log search good --from 99":    "2027-03-01 08:00:00.000Z       99  an order of 99 units and 0 spares is accepted\n",
		"log search 97 --kind outcome": "",
	} {
		r := run(t, longLog(), func(env *Env) {
			slept := 0
			env.Sleep = func(context.Context, time.Duration) error {
				slept++
				return map[bool]error{true: fmt.Errorf("ended")}[slept > 1]
			}
		}, strings.Fields(args)...)
		if r.code != ExitOK || r.out != want {
			t.Errorf("perso %s: exit %d, out\n%s\nwant\n%s\nerr %s", args, r.code, r.out, want, r.err)
		}
	}
	for _, args := range []string{"log tail --kind verdict", "log search good --kind verdict"} {
		if r := run(t, longLog(), nil, strings.Fields(args)...); r.code != ExitUsage || !strings.Contains(r.err, "outcome") {
			t.Errorf("perso %s: exit %d, %s", args, r.code, r.err)
		}
	}
	if r := run(t, longLog(), nil, "log", "tail", "-n", "0"); r.code != ExitUsage || r.out != "" || !strings.Contains(r.err, "1 or more") {
		t.Errorf("no entries: exit %d, %s%s", r.code, r.out, r.err)
	}
	if r := run(t, longLog(), nil, "log", "search", "good", "--most", "1"); !strings.Contains(r.err, "--from 1 goes on") {
		t.Errorf("more is there: %q", r.err)
	}
	if r := run(t, longLog(), nil, "log", "search", "good 50", "--json"); !strings.HasPrefix(r.out, `{"seq":50,"kind":"order","body":"persoline/1 order\n`) || strings.Count(r.out, "\n") != 1 {
		t.Errorf("as JSON: %s", r.out)
	}
}

func TestReviewCommand(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	v := statement.Review{Env: "test", Site: "S1", At: epoch, Nonce: [32]byte{1}, Items: []statement.Reviewed{{Entry: 7, Hash: [32]byte{7}, Finding: "reader replaced"}}}
	path := filepath.Join(dir, "x.signed")
	if err := os.WriteFile(path, audittest.Sign(audittest.Must(v.Encode()), "qa").Encode(), 0o600); err != nil {
		t.Fatal(err)
	}
	office := ledger{bus.OfficeReview: answer(func(q bus.SignedRequest) (bus.ReviewReply, error) {
		s, err := statement.DecodeSigned(q.Signed)
		if err != nil || s.Signatures[0].Officer != "qa" {
			t.Errorf("sent %q", q.Signed)
		}
		return bus.ReviewReply{By: []string{"Fourth Person"}, Reviewed: 1}, nil
	})}
	if r := run(t, office, nil, "audit", "review", path); r.code != ExitOK || r.out != "1 entries are signed off by Fourth Person\n" {
		t.Errorf("exit %d, %q, %q", r.code, r.out, r.err)
	}
	closing := filepath.Join(dir, "y.signed")
	body := audittest.Must(statement.Close{Env: "test", Lot: "L1", At: epoch, Nonce: [32]byte{1}}.Encode())
	if err := os.WriteFile(closing, audittest.Sign(body, "qa").Encode(), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := run(t, office, nil, "audit", "review", closing); r.code != ExitFailed || !strings.Contains(r.err, `it is a "lot-close"`) {
		t.Errorf("exit %d, %q", r.code, r.err)
	}
}
