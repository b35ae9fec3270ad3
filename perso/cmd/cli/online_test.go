package cli

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/persoline/persoline/ledger/audit/audittest"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/statement"
)

// ledger is an office that answers by functions of the test, through the real codec.
type ledger map[string]bus.Handler

func (l ledger) Request(ctx context.Context, subject string, data []byte) ([]byte, error) {
	h, ok := l[strings.TrimPrefix(subject, bus.OfficeSubject(""))]
	if !ok {
		return nil, fmt.Errorf("a test's ledger was asked %q", subject)
	}
	return h(ctx, data)
}

func answer[Q, A any](f func(Q) (A, error)) bus.Handler {
	return bus.Answer(func(_ context.Context, q Q) (A, error) { return f(q) })
}

func statusReply() bus.StatusReply {
	return bus.StatusReply{
		Env: perso.EnvTest, Lot: "L1", Order: "DEMO-1", State: perso.LotComplete, Ordered: 20, Spares: 4, Good: 20, Lost: 1, EIDsUsed: 21, Proof: "scp-reopen, rmac-readback, authenticate",
		Reasons: []bus.ReasonCount{
			{Verdict: perso.VerdictGood, Reason: perso.ReasonNone, Count: 20}, {Verdict: perso.VerdictRejectLive, Reason: perso.ReasonStatus, Count: 1},
			{Verdict: perso.VerdictRecontact, Reason: perso.ReasonContact, Count: 2},
		},
		Bins:     map[perso.Verdict]uint64{perso.VerdictGood: 20, perso.VerdictRejectLive: 1, perso.VerdictReturn: 3},
		Released: epoch, Completed: epoch.Add(90 * time.Second), Now: epoch.Add(2 * time.Minute), LogSize: 512,
		Balance: &statement.Counts{In: 24, Good: 20, RejectLive: 1, Returned: 3},
	}
}

func statusOf(s bus.StatusReply) ledger {
	return ledger{bus.OfficeStatus: answer(func(q bus.LotRequest) (bus.StatusReply, error) {
		if q.Lot != s.Lot {
			return s, bus.Refuse(bus.FaultNotFound, "lot %q is not known", q.Lot)
		}
		return s, nil
	})}
}

func TestStatus(t *testing.T) {
	t.Parallel()
	r := run(t, statusOf(statusReply()), nil, "lot", "status", "L1")
	golden(t, "status.txt", r.out)
	r = run(t, statusOf(statusReply()), nil, "lot", "status", "L1", "--json")
	golden(t, "status.json", r.out)
	running := statusReply()
	running.State, running.Completed, running.Balance, running.Reasons = perso.LotRunning, time.Time{}, nil, nil
	r = run(t, statusOf(running), nil, "lot", "status", "L1", "--json")
	if strings.Contains(r.out, "completed") || strings.Contains(r.out, "balance") || !strings.Contains(r.out, `"reasons":[]`) {
		t.Errorf("a running lot has %s", r.out)
	}
	running.Troubles = []bus.Trouble{{Present: perso.Presentation{Line: "line-1", Head: 3, Number: 7}, Chip: "01AB", N: 2, Since: epoch, Tries: 40, Fault: "internal: CKR_DEVICE_ERROR"}}
	running.MoreTroubles = 7
	r = run(t, statusOf(running), nil, "lot", "status", "L1")
	if want := regexp.MustCompile(`(?m)^waiting +line-1/3/7 with chip 01AB since .*: act 2, asked of the vault 40 times: internal: CKR_DEVICE_ERROR\nwaiting +and 7 more$`); !want.MatchString(r.out) ||
		!strings.Contains(r.err, "leave waiting chips under their heads") {
		t.Errorf("a head that waits for the vault: %+v", r)
	}
	running.Vault, running.Waits = "vault-2", `vault "vault-2" has not answered since 08:00:00Z`
	r = run(t, statusOf(running), nil, "lot", "status", "L1")
	if !regexp.MustCompile(`(?m)^vault +vault-2$`).MatchString(r.out) || !regexp.MustCompile(`(?m)^waits +vault "vault-2" has not answered since`).MatchString(r.out) {
		t.Errorf("a lot whose vault is away: %s", r.out)
	}
	rejected := statusReply()
	rejected.Samples = &bus.Samples{State: "rejected", Drawn: 3, InBin: 3, Failed: 3}
	r = run(t, statusOf(rejected), nil, "lot", "status", "L1")
	if !regexp.MustCompile(`(?m)^quality +NOT ACCEPTED: nothing of this lot may be handed out\nstate `).MatchString(r.out) || !regexp.MustCompile(`(?m)^made good .*, and quality did not accept them$`).MatchString(r.out) {
		t.Errorf("a lot that quality did not accept: %s", r.out)
	}
	r = run(t, ledger{bus.OfficeLots: answer(func(bus.Empty) (bus.LotsReply, error) { return bus.LotsReply{Lots: []bus.StatusReply{rejected}}, nil })}, nil, "lot", "list")
	if !strings.Contains(r.out, ", NOT ACCEPTED ") {
		t.Errorf("it is listed as %s", r.out)
	}
	r = run(t, statusOf(statusReply()), nil, "lot", "status", "L2", "--site", "elsewhere")
	if want := "perso: error: asking perso.office.status: not-found: lot \"L2\" is not known\nperso: hint: 'perso lot list --site elsewhere' lists them\n"; r.code != ExitFailed || r.err != want {
		t.Errorf("an unknown lot: exit %d, %q", r.code, r.err)
	}
}

func TestFollowEndsWithTheLot(t *testing.T) {
	t.Parallel()
	asked := 0
	office := ledger{bus.OfficeStatus: func(ctx context.Context, data []byte) ([]byte, error) {
		s := statusReply()
		s.State, s.Good, s.Now, s.Reasons = perso.LotRunning, uint64(5*asked), epoch.Add(time.Duration(asked)*6*time.Second), nil
		if asked++; asked == 3 {
			return nil, bus.ErrNoAnswer
		} else if asked == 5 {
			s.State = perso.LotComplete
		}
		return answer(func(bus.LotRequest) (bus.StatusReply, error) { return s, nil })(ctx, data)
	}}
	r := run(t, office, nil, "lot", "status", "L1", "--follow")
	golden(t, "follow.txt", r.out)
	if r.code != ExitOK || asked != 5 {
		t.Errorf("exit %d after %d questions: %s", r.code, asked, r.err)
	}
	asked = 0
	r = run(t, office, nil, "lot", "status", "L1", "--follow", "--json")
	if n := strings.Count(r.out, "\n"); n != 4 || !json.Valid([]byte(strings.SplitN(r.out, "\n", 2)[0])) {
		t.Errorf("four snapshots gave %d lines: %s", n, r.out)
	}
	asked = 0
	r = run(t, office, func(env *Env) { env.OutTTY = true }, "lot", "status", "L1", "--follow")
	if !strings.Contains(r.out, "\x1b[3A\r\x1b[J") || !strings.HasPrefix(r.out, "TEST  lot L1  running\n") {
		t.Errorf("on a terminal: %q", r.out)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out, errOut bytes.Buffer
	code := Main(ctx, []string{"lot", "status", "L1", "-f"}, strings.NewReader(""), &out, &errOut, func(env *Env) {
		env.Dial = func(context.Context, string) (Office, error) { return closer{office}, nil }
	})
	want := "perso: no longer watching; the lot goes on\n"
	if code != ExitOK || errOut.String() != want {
		t.Errorf("interrupted: exit %d, %q", code, errOut.String())
	}
	s := statusReply()
	s.State = perso.LotRunning
	r = run(t, statusOf(s), func(env *Env) {
		env.Sleep = func(context.Context, time.Duration) error { return context.Canceled }
	}, "lot", "status", "L1", "-f")
	if r.code != ExitOK || r.err != want || r.out == "" {
		t.Errorf("interrupted between two looks: exit %d, %q", r.code, r.err)
	}
}

func TestListLots(t *testing.T) {
	t.Parallel()
	office := ledger{bus.OfficeLots: answer(func(bus.Empty) (bus.LotsReply, error) {
		return bus.LotsReply{Lots: []bus.StatusReply{statusReply()}}, nil
	})}
	want := "LOT  ENVIRONMENT  STATE     GOOD  ORDERED  IN WORK  LOST  ORDER\nL1   test         complete  20    20       0        1     DEMO-1\n"
	if r := run(t, office, nil, "lot", "list"); r.out != want || r.code != ExitOK {
		t.Errorf("got\n%s\nwant\n%s", r.out, want)
	}
	if r := run(t, office, nil, "lot", "list", "--json"); !strings.HasPrefix(r.out, `{"lots":[{"environment":"test","lot":"L1"`) {
		t.Errorf("as JSON: %s", r.out)
	}
}

func TestSubmitAndReceive(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file.json")
	if err := os.WriteFile(file, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	submit := func(r bus.SubmitReply) ledger {
		return ledger{bus.OfficeSubmit: answer(func(q bus.SubmitRequest) (bus.SubmitReply, error) {
			if string(q.File) != "{}" {
				return r, bus.Refuse(bus.FaultBadMessage, "another file came: %q", q.File)
			}
			return r, nil
		})}
	}
	receive := func(r bus.ReceiveReply) ledger {
		return ledger{bus.OfficeReceive: answer(func(bus.ReceiveRequest) (bus.ReceiveReply, error) { return r, nil })}
	}
	accepted := bus.SubmitReply{Order: "DEMO-1", Hash: [32]byte{0xAB}, Lot: "L1"}
	known := accepted
	known.Duplicate = true
	refused := bus.SubmitReply{Faults: []bus.OrderFault{{Field: "eid", Line: 8, Column: 12, Reason: "taken", Hint: "allocate"}, {Reason: "bad"}}}
	hash := "ab" + strings.Repeat("0", 62)
	for _, c := range []struct {
		office ledger
		args   string
		code   int
		out    string
		err    string
	}{
		{submit(accepted), "order submit", ExitOK, "order DEMO-1 is accepted, for lot L1\nhash " + hash + "\n", "perso: hint: next: perso order draft DEMO-1 -o L1.release\n"},
		{submit(known), "order submit", ExitOK, "order DEMO-1 is known already, for lot L1\nhash " + hash + "\n", ""},
		{submit(accepted), "--json order submit", ExitOK, `{"accepted":true,"order":"DEMO-1","hash":"` + hash + `","lot":"L1","duplicate":false,"faults":[]}` + "\n", "perso: hint: next: perso order draft DEMO-1 -o L1.release\n"},
		{submit(refused), "order submit", ExitFailed, "", "perso: error: FILE:8:12: eid: taken\nperso: hint: allocate\nperso: error: FILE: bad\n"},
		{submit(refused), "--json order submit", ExitFailed, `{"accepted":false,"duplicate":false,"faults":[{"line":8,"column":12,"field":"eid","reason":"taken","hint":"allocate"},{"field":"","reason":"bad"}]}` + "\n",
			"perso: error: FILE:8:12: eid: taken\nperso: hint: allocate\nperso: error: FILE: bad\n"},
		{receive(bus.ReceiveReply{Reel: "r1", Chips: 30}), "chips receive", ExitOK, "reel r1 is in stock: 30 chips\n", ""},
		{receive(bus.ReceiveReply{Reel: "r1", Chips: 30, Duplicate: true}), "chips receive", ExitOK, "reel r1 is known already: 30 chips\n", ""},
		{receive(bus.ReceiveReply{Reel: "r1", Chips: 30}), "--json chips receive", ExitOK, `{"reel":"r1","chips":30,"duplicate":false}` + "\n", ""},
	} {
		r := run(t, c.office, nil, append(strings.Fields(c.args), file)...)
		if want := strings.ReplaceAll(c.err, "FILE", file); r.code != c.code || r.out != c.out || r.err != want {
			t.Errorf("%s: exit %d\n%s%s\nwant exit %d\n%s%s", c.args, r.code, r.out, r.err, c.code, c.out, want)
		}
	}
}

// A file of Ki goes before its order, in parts, and its faults come back with its own name.
func TestSubmitWithKi(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file, ki := filepath.Join(dir, "order.json"), filepath.Join(dir, "order.ki")
	sent := bytes.Repeat([]byte("0123456789ABCDEF"), bus.KiPartBytes/8) // two parts
	for path, content := range map[string][]byte{file: []byte("{}"), ki: sent} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var got []byte
	office := ledger{
		bus.OfficeKiPart: answer(func(q bus.KiPartRequest) (bus.KiPartReply, error) {
			if q.At != uint64(len(got)) || len(q.Data) > bus.KiPartBytes {
				return bus.KiPartReply{}, bus.Refuse(bus.FaultBadMessage, "%d bytes at %d", len(q.Data), q.At)
			}
			got = append(got, q.Data...)
			return bus.KiPartReply{Have: uint64(len(got))}, nil
		}),
		bus.OfficeSubmit: answer(func(q bus.SubmitRequest) (bus.SubmitReply, error) {
			if q.Ki == nil || q.Ki.Hash != sha256.Sum256(sent) || q.Ki.Size != uint64(len(sent)) {
				return bus.SubmitReply{}, bus.Refuse(bus.FaultBadMessage, "another file came: %+v", q.Ki)
			}
			return bus.SubmitReply{KiFaults: []bus.OrderFault{{Field: "EKI", Line: 9, Column: 1, Reason: "twice", Hint: "once"}}}, nil
		}),
	}
	r := run(t, office, nil, "order", "submit", file, "--ki", ki)
	if want := "perso: error: " + ki + ":9:1: EKI: twice\nperso: hint: once\n"; r.code != ExitFailed || r.out != "" || r.err != want {
		t.Errorf("exit %d, %q, %q, want %q", r.code, r.out, r.err, want)
	}
	if !bytes.Equal(got, sent) {
		t.Errorf("%d bytes came of %d", len(got), len(sent))
	}
	got = nil
	if r := run(t, office, nil, "--json", "order", "submit", file, "--ki", ki); !strings.Contains(r.out, `"accepted":false,"duplicate":false,"faults":[],"ki_faults":[{"line":9,`) {
		t.Errorf("as JSON: %s", r.out)
	}
}

func TestCountAndHandOut(t *testing.T) {
	t.Parallel()
	var got bus.CountRequest
	status := statusReply()
	office := ledger{
		bus.OfficeStatus: answer(func(q bus.LotRequest) (bus.StatusReply, error) {
			if q.Lot != status.Lot {
				return status, bus.Refuse(bus.FaultNotFound, "lot %q is not known", q.Lot)
			}
			return status, nil
		}),
		bus.OfficeCount: answer(func(q bus.CountRequest) (bus.Empty, error) { got = q; return bus.Empty{}, nil }),
		bus.OfficeBundle: answer(func(q bus.LotRequest) (bus.PathReply, error) {
			return bus.PathReply{Paths: []string{"/out/" + string(q.Lot) + ".bundle"}, Units: 20, Hash: [32]byte{1}}, nil
		}),
	}
	r := run(t, office, nil, strings.Fields("lot count L1 --in 24 --good 20 --reject-blank 0 --reject-live 1 --return 3")...)
	want := bus.CountRequest{Lot: "L1", Source: entry.SourceHand, In: 24, Good: 20, RejectLive: 1, Return: 3, ID: [16]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}}
	if got != want || r.code != ExitOK || r.out != "the hand count of lot L1 is on record\n" {
		t.Errorf("sent %+v, want %+v; exit %d, %s%s", got, want, r.code, r.out, r.err)
	}
	if strings.Contains(r.err, "add up") {
		t.Errorf("figures that add up: %s", r.err)
	}
	r = run(t, office, nil, strings.Fields("lot count L1 --in 24 --good 19 --reject-blank 0 --reject-live 1 --return 3")...)
	const apart = "do not add up: 24 fed, and 23 = 19 good + 0 reject-blank + 1 reject-live + 3 return + 0 sample; unless chips are missing"
	if got.Good != 19 || r.code != ExitOK || !strings.Contains(r.err, apart) {
		t.Errorf("figures that do not add up: %d, %s; sent %+v", r.code, r.err, got)
	}
	r = run(t, office, nil, "lot", "bundle", "L1")
	const open = "perso: lot L1 is not closed, it is complete: nobody has signed its counts\nperso: hint: next: count the bins, then perso lot draft-close L1 -o L1.close\n"
	if r.out != "/out/L1.bundle\n" || r.err != open || r.code != ExitOK {
		t.Errorf("bundle of a lot that is not closed: exit %d, %q, %q", r.code, r.out, r.err)
	}
	for _, verb := range []string{"bundle", "export"} {
		if r = run(t, office, nil, "lot", verb, "L-NOPE"); r.code != ExitFailed || !strings.Contains(r.err, "not-found: lot \"L-NOPE\" is not known\nperso: hint: 'perso lot list' lists them\n") {
			t.Errorf("%s of an unknown lot: exit %d, %s", verb, r.code, r.err)
		}
	}
	status.State = perso.LotClosed
	r = run(t, office, nil, "lot", "bundle", "L1")
	if r.out != "/out/L1.bundle\n" || r.err != "" {
		t.Errorf("bundle: %q, %q", r.out, r.err)
	}
}

// TestOrderDeskDrafts: the order desk's words need nothing of the order but what it is.
func TestOrderDeskDrafts(t *testing.T) {
	t.Parallel()
	state := perso.OrderAccepted
	office := ledger{
		bus.OfficeStanding: answer(func(bus.Empty) (bus.StandingReply, error) {
			return bus.StandingReply{Env: perso.EnvTest, Site: "site-1", Now: epoch}, nil
		}),
		bus.OfficeOrder: answer(func(q bus.OrderRequest) (bus.OrderReply, error) {
			return bus.OrderReply{Order: q.Order, Hash: [32]byte{7}, State: state}, nil
		}),
	}
	for use, kind := range map[string]string{"draft-taken": statement.KindTaken, "draft-cancel": statement.KindCancelled} {
		state = perso.OrderAccepted
		args := []string{"order", use, "DEMO-1", "--reason", "as asked"}
		r := run(t, office, nil, args...)
		d, err := statement.ParseDesk([]byte(r.out))
		if r.code != ExitOK || err != nil || d.Kind != kind || d.Order != "DEMO-1" || d.OrderHash != [32]byte{7} || d.Reason != "as asked" {
			t.Errorf("%s: exit %d, %+v, %v: %s", use, r.code, d, err, r.err)
		}
		state = perso.OrderRejected
		if r := run(t, office, nil, args...); r.code != ExitFailed || !strings.Contains(r.err, "is cancelled already") || r.out != "" {
			t.Errorf("%s of a cancelled order: exit %d, %q, %s", use, r.code, r.out, r.err)
		}
	}
}

func TestDraftSignRelease(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	body := audittest.Must(audittest.New().NewRelease("L1", 0, 20, 4).Encode())
	var released []byte
	office := ledger{
		bus.OfficeDraft: answer(func(bus.DraftRequest) (bus.DraftReply, error) { return bus.DraftReply{Body: body}, nil }),
		bus.OfficeRelease: answer(func(q bus.SignedRequest) (bus.LotReply, error) {
			released = q.Signed
			return bus.LotReply{Lot: "L1"}, nil
		}),
	}
	must := func(want int, args ...string) result {
		t.Helper()
		r := run(t, office, nil, args...)
		if r.code != want {
			t.Fatalf("%q: exit %d, want %d: %s", args, r.code, want, r.err)
		}
		return r
	}
	draft, p, s := filepath.Join(dir, "demo.release"), filepath.Join(dir, "p.key"), filepath.Join(dir, "s.key")
	if r := must(ExitOK, "order", "draft", "DEMO-1"); r.out != string(body) {
		t.Errorf("the draft on standard output is %q", r.out)
	}
	must(ExitOK, "order", "draft", "DEMO-1", "-o", draft)
	must(ExitFailed, "order", "draft", "DEMO-1", "-o", draft) // it may be on somebody's desk
	must(ExitFailed, "lot", "release", draft)                 // nobody signed
	must(ExitOK, "officer", "new", "prod", "--person", "A B", "--role", "production", "-o", p)
	must(ExitOK, "officer", "new", "sec", "--person", "C D", "--role", "security", "-o", s)
	next := func(r result, want string) {
		t.Helper()
		if !strings.HasSuffix(r.err, "perso: hint: next: "+want+"\n") {
			t.Errorf("advised %q, want %q", r.err, want)
		}
	}
	next(must(ExitOK, "officer", "sign", draft, "--key", p, "--yes"), "another officer, of another role, reads and signs it: perso officer sign "+draft+".signed --key KEYFILE")
	next(must(ExitOK, "officer", "sign", draft, "--key", s, "--yes"), "perso lot release "+draft+".signed")
	must(ExitFailed, "lot", "close", draft+".signed") // a release closes nothing
	next(must(ExitOK, "lot", "release", draft+".signed"), "perso lot status L1 --follow")
	next(must(ExitOK, "lot", "release", "--site", "site", draft+".signed"), "perso lot status L1 --follow") // the same as ./site
	next(must(ExitOK, "lot", "release", "--site", "/two words/it's", draft+".signed"), `perso lot status --site '/two words/it'\''s' L1 --follow`)
	signed, err := statement.DecodeSigned(released)
	if err != nil || !bytes.Equal(signed.Body, body) || joinNames(signers(signed)) != "prod, sec" {
		t.Errorf("released was %q (%v)", released, err)
	}
}

func TestDraftClose(t *testing.T) {
	t.Parallel()
	r := run(t, statusOf(statusReply()), nil, "lot", "draft-close", "L1")
	c, err := statement.ParseClose([]byte(r.out))
	if err != nil || c.Counts != *statusReply().Balance || !c.At.Equal(statusReply().Now) || c.Nonce[0] != 1 || r.code != ExitOK {
		t.Errorf("exit %d, drafted %+v, %v: %s", r.code, c, err, r.err)
	}
	for name, spoil := range map[string]func(*bus.StatusReply){
		"L1 cannot be closed: it is running, not complete: 20 of 20 good, 0 in work": func(s *bus.StatusReply) { s.State, s.Balance = perso.LotRunning, nil },
		"L1 cannot be closed: it is closed already":                                  func(s *bus.StatusReply) { s.State = perso.LotClosed },
		"L1 cannot be closed: nobody has counted the bins by hand\nperso: hint: count the bins first: perso lot count L1 --in N --good N --reject-blank N --reject-live N --return N": func(s *bus.StatusReply) { s.Blocks = []string{bus.BlockNotCounted} },
		"L1 cannot be closed: nobody counted":         func(s *bus.StatusReply) { s.Blocks = []string{"nobody counted"} },
		"L1 cannot be closed: its counts differ by 1": func(s *bus.StatusReply) { s.Balance.In++ },
	} {
		s := statusReply()
		spoil(&s)
		out := filepath.Join(t.TempDir(), "close")
		r := run(t, statusOf(s), nil, "lot", "draft-close", "L1", "-o", out)
		if _, err := os.Stat(out); err == nil || r.code != ExitFailed || !strings.Contains(r.err, name+"\n") {
			t.Errorf("exit %d, want 1 and %q: %s", r.code, name, r.err)
		}
	}
}

// TestCloseOfWhatNobodyCounted has the ledger refuse, as it does when draft and count cross.
func TestCloseOfWhatNobodyCounted(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "l.close.signed")
	body := audittest.Must(statement.Close{Env: "test", Lot: "L1", At: epoch, Nonce: [32]byte{1}}.Encode())
	signed := statement.Signed{Body: body, Signatures: []statement.Signature{{Officer: "prod"}}}
	if err := os.WriteFile(file, signed.Encode(), 0o600); err != nil {
		t.Fatal(err)
	}
	for why, want := range map[string]string{"lot \"L1\": " + bus.BlockNotCounted: "perso: hint: count the bins first: perso lot count LOT --in N --good N", "another": "another\n"} {
		office := ledger{bus.OfficeClose: func(context.Context, []byte) ([]byte, error) {
			return bus.FaultReply(bus.Refuse(bus.FaultRefused, "%s", why))
		}}
		r := run(t, office, nil, "lot", "close", file)
		if r.code != ExitFailed || !strings.Contains(r.err, want) || strings.Contains(r.err, "hint") != strings.Contains(want, "hint") {
			t.Errorf("exit %d, %s, want %q", r.code, r.err, want)
		}
	}
}

func TestTrace(t *testing.T) {
	t.Parallel()
	r := run(t, traceOf(t), nil, "trace", "8988001010000000006")
	golden(t, "trace.txt", r.out)
	r = run(t, traceOf(t), nil, "trace", "8988001010000000006", "--json")
	var got traced
	if err := json.Unmarshal([]byte(r.out), &got); err != nil || len(got.Entries) != 12 || !strings.HasPrefix(got.Entries[0].Body, "persoline/1 presentation\n") {
		t.Errorf("as JSON: %v, %s", err, r.out)
	}
}

// TestTraceOfNoUnit is what a person hears about a chip that waits, and about a key that was mistyped.
func TestTraceOfNoUnit(t *testing.T) {
	t.Parallel()
	office := ledger{bus.OfficeTrace: answer(func(q bus.TraceRequest) (r bus.TraceReply, err error) {
		if strings.HasPrefix(q.Key, "8904") {
			return r, bus.Refuse(bus.FaultNotFound, "nothing is on record")
		}
		return bus.TraceReply{Reel: "R-1"}, nil
	})}
	for _, c := range []struct {
		args, out, err string
		code           int
	}{
		{"trace 479012340001000000a1", "in stock on reel R-1, in no unit yet\n", "", ExitOK},
		{"trace 479012340001000000a1 --json", `{"unit":0,"reel":"R-1","entries":[]}` + "\n", "", ExitOK},
		{"trace 8988001010000000007", "", "ICCID \"8988001010000000007\": wrong check digit: check digit is 7, expected 6 (Luhn)", ExitUsage},
		{"trace 89049099001000000000000000000035", "", "EID \"89049099001000000000000000000035\": wrong check digit", ExitUsage},
		{"trace 89049099001000000000000000000034", "", "not-found: nothing", ExitFailed},
		{"trace hello", "", "perso: error: \"hello\" is no EID (32 digits), no ICCID (18 to 20 digits) and no chip id (4 to 20 bytes in hex)\n", ExitUsage},
	} {
		r := run(t, office, nil, strings.Fields(c.args)...)
		if r.code != c.code || r.out != c.out || !strings.Contains(r.err, c.err) || strings.Contains(r.err, "bad-message") {
			t.Errorf("%s: exit %d\n%s%s\nwant exit %d\n%s%s", c.args, r.code, r.out, r.err, c.code, c.out, c.err)
		}
	}
}

// traceOf is a life with everything in it.
func traceOf(t *testing.T) ledger {
	t.Helper()
	var r bus.TraceReply
	at := epoch
	add := func(kind string, e interface{ Encode() ([]byte, error) }) {
		body, err := e.Encode()
		if err != nil {
			t.Fatal(err)
		}
		r.Entries = append(r.Entries, bus.TraceEntry{Seq: int64(10 + 3*len(r.Entries)), Kind: kind, Body: body})
		at = at.Add(123456 * time.Microsecond)
	}
	eid := audittest.Must(id.ParseEID("89049099001000000000000000000034"))
	chip, other := audittest.Chip(1), audittest.Chip(2)
	p := perso.Presentation{Line: "line-1", Head: 3, Number: 77}
	session := perso.Session{0xAA, 0xBB}
	r.Lot, r.Unit = "L1", 5
	add(entry.KindPresent, entry.Present{Lot: "L1", Present: p, Verdict: perso.VerdictRecontact, Reason: perso.ReasonMute, At: at})
	add(entry.KindClaim, entry.Claim{Lot: "L1", Unit: 5, EID: eid, Chip: chip, Release: [32]byte{1}, Present: p, At: at})
	add(entry.KindAct, entry.Act{Lot: "L1", Unit: 5, Session: session, Responses: [32]byte{1}, Present: p, At: at})
	add(entry.KindAct, entry.Act{Lot: "L1", Unit: 5, Session: session, N: 1, Responses: [32]byte{1}, Present: p, At: at})
	add(entry.KindOutcome, entry.Outcome{Lot: "L1", Unit: 5, EID: eid, Chip: chip, Verdict: perso.VerdictRejectLive, Reason: perso.ReasonStatus, Step: "put-key", SW: 0x6A80, Session: session, Present: p, At: at})
	add(entry.KindBin, entry.Bin{Lot: "L1", Present: p, Chip: chip, Bin: perso.VerdictRejectLive, At: at})
	add(entry.KindClaim, entry.Claim{Lot: "L1", Unit: 5, Gen: 1, Index: 6, EID: eid, Chip: other, Release: [32]byte{1}, Loss: 22, Present: p, At: at})
	add(entry.KindCertificate, entry.Certificate{Lot: "L1", Unit: 5, Gen: 1, EID: eid, Cert: [32]byte{0xC1}, Key: [32]byte{1}, Supersedes: [32]byte{0xC0}, At: at})
	add(entry.KindOutcome, entry.Outcome{Lot: "L1", Unit: 5, Gen: 1, EID: eid, Chip: other, Verdict: perso.VerdictGood, Reason: perso.ReasonNone, Session: session, Cert: [32]byte{0xC1}, Receipt: [32]byte{1}, Present: p, At: at})
	add(entry.KindAlarm, entry.Alarm{Lot: "L1", Reason: perso.ReasonTwin, Detail: "chip " + other.String(), Present: p, At: at})
	add(entry.KindExport, entry.Export{Lot: "L1", What: "eis", Receiver: "smsr", Units: 1, Hash: [32]byte{1}, At: at})
	r.Entries = append(r.Entries, bus.TraceEntry{Seq: 99, Kind: "claim", Body: []byte("persoline/1 claim\ndamaged\n")})
	return ledger{bus.OfficeTrace: answer(func(q bus.TraceRequest) (bus.TraceReply, error) { return r, nil })}
}
