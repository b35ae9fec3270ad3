package transcript_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/statement"
	. "github.com/persoline/persoline/perso/statement/transcript"
	tt "github.com/persoline/persoline/perso/statement/transcript/transcripttest"
)

var until = time.Date(2037, 1, 1, 0, 0, 0, 0, time.UTC)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestFollowsOnlyWhatHolds: a chain of two is taken; each way to bend the second is refused with the place.
func TestFollowsOnlyWhatHolds(t *testing.T) {
	t.Parallel()
	resign := func(s *tt.Site, f File, o Order) File {
		f.End = tt.Sign(must(s.End(f, o).Encode()), o.Present...)
		return f
	}
	for name, c := range map[string]struct {
		bend        func(s *tt.Site, o Order) File
		place, what string
	}{
		"holds":               {func(s *tt.Site, o Order) File { return s.Hold(o) }, "", ""},
		"left out":            {func(s *tt.Site, o Order) File { o.Number = 3; return s.Hold(o) }, "order", "expected 2"},
		"another before":      {func(s *tt.Site, o Order) File { o.Prev[0]++; return s.Hold(o) }, "order", "the last ceremony ended with"},
		"another site":        {func(s *tt.Site, o Order) File { o.Site = "S2"; return s.Hold(o) }, "order", "of site"},
		"before the last":     {func(s *tt.Site, o Order) File { o.At = o.At.Add(-time.Hour); return s.Hold(o) }, "order", "before the end of the last"},
		"one officer":         {func(s *tt.Site, o Order) File { o.Present = []perso.Name{"ann"}; return s.Hold(o) }, "order", "two officers"},
		"present, not signed": {func(s *tt.Site, o Order) File { f := s.Hold(o); f.Order.Signatures = f.Order.Signatures[:1]; return f }, "order", "two officers"},
		"third did not sign": {func(s *tt.Site, o Order) File {
			o.Present = append(o.Present, "cid")
			f := s.Hold(o)
			f.End.Signatures = f.End.Signatures[:2]
			return f
		}, "end", `"cid" was present and did not sign`},
		"somebody else signed as well": {func(s *tt.Site, o Order) File {
			f := s.Hold(o)
			f.End = tt.Sign(f.End.Body, "ann", "bob", "cid")
			return f
		}, "end", "2 were present, 3 signed"},
		"an old statement with its hands in another order": {func(s *tt.Site, o Order) File {
			f := s.Hold(o)
			f.Register = slices.Clone(f.Register)
			f.Register[0].Signatures = slices.Clone(f.Register[0].Signatures)
			slices.Reverse(f.Register[0].Signatures)
			return f
		}, "register", "not the one of the ceremony before"},
		"end of another": {func(s *tt.Site, o Order) File { f := s.Hold(o); o.Ceremony = "d"; return resign(s, f, o) }, "end", "another ceremony"},
		"a step cut off": {func(s *tt.Site, o Order) File {
			f := s.Hold(o)
			f.Steps = f.Steps[:len(f.Steps)-1]
			return f
		}, "end", "a step was changed, added or left out"},
		"the last step altered": {func(s *tt.Site, o Order) File {
			f := s.Hold(o)
			last := must(ParseStep(f.Steps[len(f.Steps)-1]))
			last.Note = "nothing happened"
			f.Steps[len(f.Steps)-1] = must(last.Encode())
			return f
		}, "end", "a step was changed, added or left out"},
		"a step cut off and signed": {func(s *tt.Site, o Order) File {
			f := s.Hold(o)
			f.Steps = f.Steps[:len(f.Steps)-1]
			return resign(s, f, o)
		}, "end", "has no outcome"},
		"not everything done": {func(s *tt.Site, o Order) File {
			f := s.Hold(o)
			f.Steps = f.Steps[:len(f.Steps)-2]
			return resign(s, f, o)
		}, "end", "it says complete"},
		"a state not allowed": {func(s *tt.Site, o Order) File { o.Acts = append(o.Acts, tt.Word(OpResume, "log/S1")); return s.Hold(o) }, "step 6", "it is retired"},
		"time goes back":      {func(s *tt.Site, o Order) File { s.Now = s.Now.Add(-30 * time.Second); return s.Hold(o) }, "step 1", "before that of the record before it"},
		"an officer added outside of ceremonies": {func(s *tt.Site, o Order) File {
			c := statement.Change{Kind: statement.KindAdd, Prev: o.Register, At: o.At, Nonce: [32]byte{4}, Officer: tt.Officer("dee", statement.RoleSecurity)}
			s.Register = append(s.Register, tt.Sign(must(c.Encode()), "ann", "bob"))
			o.Register = s.Register[1].Hash()
			return s.Hold(o)
		}, "order", "changed between two ceremonies"},
		"another register": {func(s *tt.Site, o Order) File { f := s.Hold(o); f.Register = tt.New().Register[:0]; return f }, "register", "there were 1 before"},
	} {
		s := tt.New()
		chain := NewChain(s.Register[0].Hash())
		if _, err := chain.Follow(s.Hold(s.Order(tt.Generate("log/S1"), tt.Generate("eum/S1")))); err != nil {
			t.Fatal(err)
		}
		f := c.bend(s, s.Order(tt.Word(OpSuspend, "eum/S1"), tt.Word(OpRetire, "log/S1")))
		before := chain.Head
		_, err := chain.Follow(f)
		var fault *Fault
		switch {
		case c.place == "" && err == nil && chain.Number == 2 && chain.Inventory.Find("persoline/test/log/S1").State == StateRetired:
		case c.place == "" || !errors.As(err, &fault):
			t.Errorf("%s: %v", name, err)
		case !strings.HasPrefix(fault.Place, c.place) || !strings.Contains(fault.What, c.what) || chain.Head != before:
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestLifeOfAKey tries every operation in every state: none goes back but resume.
func TestLifeOfAKey(t *testing.T) {
	t.Parallel()
	key := Label("persoline/test/kmc/m")
	ops := map[Op]Act{
		OpGenerate: {Op: OpGenerate, Key: key, Backup: BackupCluster, Owner: "site", Until: until, Copies: []Copy{{Holder: "hsm-2", Place: "there"}}},
		OpSuspend:  tt.Word(OpSuspend, "kmc/m"), OpResume: tt.Word(OpResume, "kmc/m"), OpRetire: tt.Word(OpRetire, "kmc/m"), OpDestroy: tt.Word(OpDestroy, "kmc/m"),
		OpSignOff: {Op: OpSignOff, Key: key, Copies: []Copy{{Holder: "hsm-2", Place: "there"}}, By: []perso.Name{"ann", "bob"}},
	}
	ways := map[State][]Op{"": nil, StateActive: {OpGenerate}, StateSuspended: {OpGenerate, OpSuspend}, StateRetired: {OpGenerate, OpRetire},
		StateErased: {OpGenerate, OpRetire, OpDestroy}, StateDestroyed: {OpGenerate, OpRetire, OpDestroy, OpSignOff}}
	allowed := map[State]map[Op]State{
		"": {OpGenerate: StateActive}, StateActive: {OpSuspend: StateSuspended, OpRetire: StateRetired},
		StateSuspended: {OpResume: StateActive, OpRetire: StateRetired}, StateRetired: {OpDestroy: StateErased}, StateErased: {OpSignOff: StateDestroyed}, StateDestroyed: {},
	}
	for from, way := range ways {
		for op, act := range ops {
			inv := &Inventory{}
			for _, o := range way {
				if err := inv.Apply(ops[o], Done{Ceremony: 1, At: time.Unix(1, 0)}); err != nil {
					t.Fatal(err)
				}
			}
			err := inv.Apply(act, Done{Ceremony: 2, At: time.Unix(2, 0)})
			if to, may := allowed[from][op]; may != (err == nil) || may && inv.Find(key).State != to {
				t.Errorf("%s from %q: %v", op, from, err)
			}
		}
	}
}

// TestActsThatMakeNoSense: each is refused by itself.
func TestActsThatMakeNoSense(t *testing.T) {
	t.Parallel()
	two := []Copy{{Holder: "c1", Place: "p", KCV: "010203"}, {Holder: "c2", Place: "p", KCV: "010203"}}
	good := Act{Op: OpImport, Key: "persoline/test/kmc/m", Backup: BackupMedia, Owner: "maker", Until: until, Bytes: 16, Copies: two}
	if err := good.Check(); err != nil {
		t.Fatal(err)
	}
	for name, bend := range map[string]func(a *Act){
		"no owner": func(a *Act) { a.Owner = "" }, "no end": func(a *Act) { a.Until = time.Time{} }, "no key": func(a *Act) { a.Key = "" }, "no length": func(a *Act) { a.Bytes = 0 }, "one component": func(a *Act) { a.Copies = two[:1] },
		"made inside on media": func(a *Act) { a.Op, a.Bytes, a.Copies = OpGenerate, 0, nil }, "no component value": func(a *Act) { a.Copies = []Copy{two[0], {Holder: "c2", Place: "p"}} },
		"no place": func(a *Act) { a.Copies = []Copy{two[0], {Holder: "c2", KCV: "010203"}} }, "one holder": func(a *Act) { a.Copies = []Copy{two[0], two[0]} },
		"a reason": func(a *Act) { a.Reason = "why" }, "an officer": func(a *Act) { a.Person = []statement.Officer{tt.Officer("x", statement.RoleQuality)} },
		"operator key imported": func(a *Act) { a.Key = "persoline/test/op/m" }, "key sealed": func(a *Act) { a.Op = OpSealOP }, "KCV in capitals": func(a *Act) { a.KCV = "ABCDEF" },
		"cluster": func(a *Act) { a.Backup = BackupCluster }, "sign-off": func(a *Act) { a.Op = OpSignOff }, "by people": func(a *Act) { a.By = []perso.Name{"a", "b"} },
		"sign-off by one": func(a *Act) {
			*a = Act{Op: OpSignOff, Key: a.Key, Copies: []Copy{{Holder: "c1", Place: "p"}}, By: []perso.Name{"a", "a"}}
		},
		"retire without reason": func(a *Act) { *a = Act{Op: OpRetire, Key: a.Key} }, "retire with an owner": func(a *Act) { *a = tt.Word(OpRetire, "kmc/m"); a.Owner = "me" },
	} {
		a := good
		bend(&a)
		if err := a.Check(); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func FuzzDecode(f *testing.F) {
	s := tt.New()
	f.Add(s.Hold(s.Order(tt.Generate("log/S1"))).Encode())
	f.Add([]byte("==\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		file, err := Decode(b)
		if err != nil {
			return
		}
		if !bytes.Equal(file.Encode(), b) {
			t.Fatalf("second spelling: %q", b)
		}
		for _, step := range file.Steps {
			if s, err := ParseStep(step); err == nil && !bytes.Equal(must(s.Encode()), step) {
				t.Fatalf("second spelling of a step: %q", step)
			}
		}
		if o, err := ParseOrder(file.Order.Body); err == nil && !bytes.Equal(must(o.Encode()), file.Order.Body) {
			t.Fatalf("second spelling of an order: %q", file.Order.Body)
		}
		_, _ = NewChain([32]byte{}).Follow(file)
	})
}
