package statement

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/id"
	"github.com/persoline/persoline/perso/record/recordtest"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func hash(b byte) (h [32]byte) {
	h[0], h[31] = b, 0xA5
	return h
}

var at = time.Date(2027, 3, 1, 8, 0, 0, 0, time.UTC)

// key is a software key that depends on a name only.
func key(name string) ed25519.PrivateKey {
	seed := bytes.Repeat([]byte(name), ed25519.SeedSize)
	return ed25519.NewKeyFromSeed(seed[:ed25519.SeedSize])
}

func officer(name perso.Name, role Role) Officer {
	return Officer{ID: name, Person: "Person " + string(name), Role: role, Key: key(string(name)).Public().(ed25519.PublicKey)}
}

func sign(body []byte, names ...perso.Name) Signed {
	s := Signed{Body: body}
	for _, n := range names {
		s.Sign(n, key(string(n)))
	}
	return s
}

func genesis(officers ...Officer) Signed {
	g := Genesis{Env: perso.EnvTest, Site: "site-1", At: at, Nonce: hash(1), Officers: officers}
	s := Signed{Body: must(g.Encode())}
	for _, o := range officers {
		s.Sign(o.ID, key(string(o.ID)))
	}
	return s
}

func threeOfficers() Signed {
	return genesis(officer("prod", RoleProduction), officer("sec", RoleSecurity), officer("prod2", RoleProduction))
}

func change(kind string, prev Signed, o Officer, signers ...perso.Name) Signed {
	return sign(must(Change{Kind: kind, Prev: prev.Hash(), At: at, Nonce: hash(2), Officer: o}.Encode()), signers...)
}

func release() Release {
	const units = 24
	return Release{
		Env: perso.EnvTest, Site: "site-1", Lot: "L1", Order: "DEMO-1", At: at, Expires: at.AddDate(1, 0, 0), Nonce: hash(1),
		OrderHash: hash(2), Product: "m2m-200s-mff2", ProductHash: hash(3), ScriptHash: hash(4), Good: 20, Spares: 4,
		EIDs:   must(id.NewEIDRange(must(id.ParseEID("89049099001000000000000000000034")), units)),
		ICCIDs: must(id.NewICCIDRange(must(id.ParseICCID("8988001010000000006")), units)),
		IMSIs:  must(id.NewIMSIRange(must(id.ParseIMSI("001010100000000", 2)), units)),
		Remake: "same-identity", KiSource: "derived", KeyOrigin: "card", Algorithm: "milenage", Codes: "PIN1=fixed:1234", TransportMode: "AES-CBC-0", ChipID: "kdd", Channel: "scp03", FactoryKVN: 0xFF, CardKVN: 0x30,
		Proof:     "scp-reopen, rmac-readback, authenticate",
		AuthProof: "auts", KMC: "kmc", OP: "op", TransportKey: "tk", WrapKey: "wk", SMSR: "smsr", Delivery: "auc",
		Constants: []Constant{{Name: "EF.SPN", Value: []byte{1, 2}}, {Name: "EMPTY"}},
	}
}

func TestBodiesHaveOneSpelling(t *testing.T) {
	t.Parallel()
	rel := release()
	body := must(rel.Encode())
	back, err := ParseRelease(body)
	if err != nil || !reflect.DeepEqual(back, rel) {
		t.Fatalf("%v: read back as %+v, want %+v", err, back, rel)
	}
	recordtest.Canonical(t, body, func(b []byte) ([]byte, error) {
		r, err := ParseRelease(b)
		if err != nil {
			return nil, err
		}
		return r.Encode()
	})
	rel.KiSource, rel.Customer = "customer", CustomerKi{Root: hash(9), Rows: rel.Units(), ReceiveKey: "rk", Mode: "AES-CBC-0", Output: "omitted"}
	body = must(rel.Encode())
	if back, err := ParseRelease(body); err != nil || !reflect.DeepEqual(back, rel) {
		t.Fatalf("%v: read back as %+v, want %+v", err, back, rel)
	}
	recordtest.Canonical(t, body, func(b []byte) ([]byte, error) {
		r, err := ParseRelease(b)
		if err != nil {
			return nil, err
		}
		return r.Encode()
	})
	twoProfiles(t)
	closing := Close{Env: perso.EnvTest, Lot: "L1", At: at, Nonce: hash(1), Counts: Counts{1, 2, 3, 4, 5, 6, 7, 8, 9}}
	body = must(closing.Encode())
	if back, err := ParseClose(body); err != nil || back != closing {
		t.Fatalf("%v: read back as %+v, want %+v", err, back, closing)
	}
	recordtest.Canonical(t, body, func(b []byte) ([]byte, error) {
		c, err := ParseClose(b)
		if err != nil {
			return nil, err
		}
		return c.Encode()
	})
	lost := Lost{Env: perso.EnvTest, Site: "S1", Lot: "L1", Release: hash(1), Unit: 2, Gen: 3, Index: 4, EID: rel.EIDs.First(), Chip: must(id.ParseChipID("47901234000165a30000")),
		Claim: hash(5), Session: perso.Session(hash(6)), Fate: FateMissing, Reason: "fell off the belt", At: at, Nonce: hash(7)}
	body = must(lost.Encode())
	if back, err := ParseLost(body); err != nil || back != lost {
		t.Fatalf("%v: read back as %+v, want %+v", err, back, lost)
	}
	recordtest.Canonical(t, body, func(b []byte) ([]byte, error) {
		l, err := ParseLost(b)
		if err != nil {
			return nil, err
		}
		return l.Encode()
	})
	recordtest.Canonical(t, threeOfficers().Body, func(b []byte) ([]byte, error) {
		g, err := parseGenesis(b)
		if err != nil {
			return nil, err
		}
		return g.Encode()
	})
}

func TestReleaseMustMakeSense(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*Release){
		"no good units":       func(r *Release) { r.Good = 0 },
		"more than a lot":     func(r *Release) { r.Good = MaxLotUnits + 1 },
		"range too short":     func(r *Release) { r.Spares++ },
		"expires at once":     func(r *Release) { r.Expires = r.At },
		"unknown remake":      func(r *Release) { r.Remake = "any" },
		"no nonce":            func(r *Release) { r.Nonce = [32]byte{} },
		"no environment":      func(r *Release) { r.Env = "" },
		"customer without Ki": func(r *Release) { r.KiSource = "customer" },
		"a Ki too few": func(r *Release) {
			r.KiSource, r.Customer = "customer", CustomerKi{Root: hash(9), Rows: r.Units() - 1, ReceiveKey: "rk", Mode: "AES-ECB", Output: "omitted"}
		},
		"constant too large": func(r *Release) { r.Constants[0].Value = make([]byte, 9000) },
	} {
		r := release()
		spoil(&r)
		body, err := r.Encode()
		if err == nil {
			_, err = ParseRelease(body)
		}
		if err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestCountsBalance(t *testing.T) {
	t.Parallel()
	c := Counts{In: 10, CarriedOver: 2, Good: 6, RejectBlank: 1, RejectLive: 1, Sample: 1, Returned: 1, Missing: 1, InWork: 1}
	if d := c.Difference(); d != 0 {
		t.Errorf("balanced counts differ by %d", d)
	}
	c.Good++
	if d := c.Difference(); d != -1 {
		t.Errorf("one unit too many: difference %d", d)
	}
}

func TestSignedHasOneSpelling(t *testing.T) {
	t.Parallel()
	s := sign(must(release().Encode()), "prod", "sec")
	text := s.Encode()
	recordtest.Canonical(t, text, func(b []byte) ([]byte, error) {
		s, err := DecodeSigned(b)
		if err != nil {
			return nil, err
		}
		return s.Encode(), nil
	})
	if other := sign(s.Body, "sec", "prod"); !bytes.Equal(other.Encode(), text) {
		t.Errorf("who signed first shows:\n%s", other.Encode())
	}
	lines := strings.SplitAfter(string(text), "\n")
	first, second := lines[len(lines)-3], lines[len(lines)-2]
	for name, bad := range map[string]string{
		"another order":    strings.Replace(string(text), first+second, second+first, 1),
		"one twice":        strings.Replace(string(text), first, first+first, 1),
		"byte order mark":  "\ufeff" + string(text),
		"UTF-16":           "\xff\xfe" + strings.Join(strings.Split(string(text), ""), "\x00") + "\x00",
		"three words":      strings.Replace(string(text), "signed prod ", "signed prod x ", 1),
		"short signature":  string(text[:len(text)-3]) + "\n",
		"long":             string(text) + strings.Repeat("signed prod "+strings.Repeat("0", 128)+"\n", MaxSignatures),
		"no blank line":    strings.Replace(string(text), "\n\n", "\n", 1),
		"no record":        "hello\n\n",
		"over the maximum": string(text) + strings.Repeat("x", MaxSignedBytes),
	} {
		if _, err := DecodeSigned([]byte(bad)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	for name, bad := range map[string]string{
		"NUL":           strings.Replace(string(s.Body), "lot ", "lot \x00", 1),
		"a field twice": strings.Replace(string(s.Body), "\nlot ", "\nlot X\nlot ", 1),
		"not UTF-8":     strings.Replace(string(s.Body), "order ", "order \xff", 1),
	} {
		if _, err := ParseRelease([]byte(bad)); err == nil || bad == string(s.Body) {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestAuthorizeNeedsTwoPersonsAndRoles(t *testing.T) {
	t.Parallel()
	reg := must(NewRegister([32]byte{}, []Signed{threeOfficers()}))
	body := must(release().Encode())
	forged := sign(body, "prod", "sec")
	forged.Signatures[1].Sig[5] ^= 1
	changed := sign(body, "prod", "sec")
	changed.Body = append(bytes.Clone(body), ' ')
	as := sign(body, "prod", "prod2")
	as.Signatures[1].Officer = "sec"
	for name, c := range map[string]struct {
		s  Signed
		ok bool
	}{
		"two roles": {sign(body, "prod", "sec"), true}, "three": {sign(body, "prod", "sec", "prod2"), true},
		"nobody": {sign(body), false}, "one": {sign(body, "prod"), false}, "same role": {sign(body, "prod", "prod2"), false},
		"same officer twice": {sign(body, "prod", "prod"), false}, "stranger beside two": {sign(body, "prod", "sec", "eve"), false},
		"forged": {forged, false}, "other body": {changed, false}, "under another's name": {as, false},
	} {
		err := reg.Authorize(c.s)
		if (err == nil) != c.ok || (err != nil && !errors.Is(err, ErrNotAuthorized)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRegisterChain(t *testing.T) {
	t.Parallel()
	g := threeOfficers()
	quality := officer("qual", RoleQuality)
	add := change(KindAdd, g, quality, "prod", "sec")
	revoke := change(KindRevoke, add, officer("prod", RoleProduction), "sec", "qual")
	reg := must(NewRegister(g.Hash(), []Signed{g, add, revoke}))
	if _, ok := reg.Officer("prod"); ok || reg.Head != revoke.Hash() || reg.Pin != g.Hash() {
		t.Errorf("after revocation: prod is there %v, head %x", ok, reg.Head)
	}
	if err := reg.Authorize(sign(g.Body, "prod", "sec")); !errors.Is(err, ErrNotAuthorized) {
		t.Errorf("a revoked officer may still sign: %v", err)
	}
	incomplete := threeOfficers()
	incomplete.Signatures = incomplete.Signatures[:2]
	wrongRole := officer("prod", RoleSecurity)
	twinPerson, twinKey := officer("new", RoleSecurity), officer("new", RoleSecurity)
	twinPerson.Person, twinKey.Key = "PERSON PROD", officer("sec", RoleSecurity).Key
	for name, chain := range map[string][]Signed{
		"empty":                     {},
		"genesis not signed by all": {incomplete},
		"one officer":               {genesis(officer("prod", RoleProduction))},
		"no genesis":                {add},
		"wrong order":               {g, revoke, add},
		"left out":                  {g, revoke},
		"twice":                     {g, add, add},
		"added by one":              {g, change(KindAdd, g, quality, "prod")},
		"added by himself":          {g, change(KindAdd, g, quality, "prod", "qual")},
		"same person":               {g, change(KindAdd, g, twinPerson, "prod", "sec")},
		"same key":                  {g, change(KindAdd, g, twinKey, "prod", "sec")},
		"revoke a stranger":         {g, change(KindRevoke, g, quality, "prod", "sec")},
		"revoke with another role":  {g, change(KindRevoke, g, wrongRole, "prod", "sec")},
		"a release in the chain":    {g, sign(must(release().Encode()), "prod", "sec")},
		"a second genesis":          {g, g},
	} {
		if _, err := NewRegister([32]byte{}, chain); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := NewRegister(hash(9), []Signed{g}); !errors.Is(err, ErrNotAuthorized) {
		t.Errorf("other pin: %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(sign(must(release().Encode()), "prod", "sec").Encode())
	f.Add(threeOfficers().Encode())
	f.Add(sign(must(Close{Env: perso.EnvTest, Lot: "L1", At: at, Nonce: hash(1)}.Encode()), "prod").Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := DecodeSigned(b)
		if err != nil {
			return
		}
		if !bytes.Equal(s.Encode(), b) {
			t.Fatalf("second spelling accepted: %q", b)
		}
		if r, err := ParseRelease(s.Body); err == nil && !bytes.Equal(must(r.Encode()), s.Body) {
			t.Fatalf("second spelling of a release accepted: %q", s.Body)
		}
		if l, err := ParseLost(s.Body); err == nil && !bytes.Equal(must(l.Encode()), s.Body) {
			t.Errorf("a loss has two spellings: %q", s.Body)
		}
		if c, err := ParseClose(s.Body); err == nil && !bytes.Equal(must(c.Encode()), s.Body) {
			t.Fatalf("second spelling of a close accepted: %q", s.Body)
		}
		_, _ = NewRegister([32]byte{}, []Signed{s})
	})
}

// TestDuties: who may sign what; what is not listed nobody may, and a role without a say does not count.
func TestDuties(t *testing.T) {
	t.Parallel()
	all := []Officer{officer("prod", RoleProduction), officer("sec", RoleSecurity), officer("qual", RoleQuality), officer("desk", RoleOrderDesk), officer("oper", RoleOperator),
		officer("super", RoleSupervisor), officer("audit", RoleAuditor), officer("keys", RoleCustodian), officer("admin", RoleAdmin)}
	reg := must(NewRegister([32]byte{}, []Signed{genesis(all...)}))
	ok := map[string][][]perso.Name{
		KindRelease: {{"prod", "sec"}, {"qual", "sec"}, {"prod", "sec", "oper"}},
		KindFreeze:  {{"prod"}, {"sec"}, {"qual"}, {"super"}},
		KindReview:  {{"prod"}, {"sec"}, {"qual"}, {"super"}, {"audit"}},

		KindShort: {{"prod", "sec"}}, KindSamples: {{"qual"}}, KindTaken: {{"desk"}}, KindCancelled: {{"desk"}},
	}
	no := map[string][][]perso.Name{
		KindRelease:    {{}, {"prod"}, {"oper", "super"}, {"prod", "super"}, {"prod", "audit"}, {"desk", "admin"}, {"keys", "sec"}},
		KindUnfreeze:   {{"prod"}, {"prod", "super"}},
		KindFreeze:     {{}, {"oper"}, {"desk"}, {"audit"}, {"keys"}, {"admin"}, {"oper", "desk"}},
		KindSamples:    {{}, {"prod", "sec"}, {"desk"}},
		KindShort:      {{}, {"prod"}, {"prod", "super"}, {"desk", "audit"}},
		KindTaken:      {{}, {"prod", "sec", "qual"}, {"keys", "admin"}},
		KindCancelled:  {{}, {"prod", "sec", "qual"}, {"keys", "admin"}},
		KindReview:     {{}, {"oper"}, {"desk"}, {"keys"}, {"admin"}},
		KindGenesis:    {{"prod", "sec", "qual"}},
		KindAssigned:   {{"prod", "sec", "qual"}},
		"lot-giveaway": {{"prod", "sec", "qual"}},
	}
	for kind := range duties {
		if _, tried := no[kind]; !tried {
			no[kind] = [][]perso.Name{{}, {"admin", "desk", "keys"}}
		}
	}
	for want, cases := range map[bool]map[string][][]perso.Name{true: ok, false: no} {
		for kind, signers := range cases {
			for _, names := range signers {
				err := reg.Authorize(sign([]byte("persoline/1 "+kind+"\nx 1\n"), names...))
				if (err == nil) != want || err != nil && !errors.Is(err, ErrNotAuthorized) {
					t.Errorf("%s by %v: %v", kind, names, err)
				}
			}
		}
	}
}

// TestExclusiveRoles: one person holds two roles only where they do not exclude one another, in the ceremony as later.
func TestExclusiveRoles(t *testing.T) {
	t.Parallel()
	allowed := 0
	for i, a := range Roles() {
		for _, b := range Roles()[i:] {
			second := officer("two", b)
			second.Person = "PERSON one"
			_, err := NewRegister([32]byte{}, []Signed{genesis(officer("one", a), second)})
			if Exclude(a, b) != Exclude(b, a) || (err == nil) == Exclude(a, b) {
				t.Errorf("%s and %s: %v", a, b, err)
			}
			if !Exclude(a, b) {
				allowed++
			}
		}
	}
	if allowed != len(together) || !Exclude(RoleProduction, RoleSecurity) || !Exclude(RoleAdmin, RoleAuditor) || !Exclude(RoleOrderDesk, RoleCustodian) {
		t.Errorf("%d pairs are allowed", allowed)
	}
	super := officer("super", RoleSupervisor)
	super.Person = "Person prod"
	g := threeOfficers()
	reg := must(NewRegister(g.Hash(), []Signed{g, change(KindAdd, g, super, "prod", "sec")}))
	if err := reg.Authorize(sign([]byte("persoline/1 release\nx 1\n"), "prod", "super")); err == nil {
		t.Error("one person released alone, in two roles")
	}
}

func TestFreezeForms(t *testing.T) {
	t.Parallel()
	for _, f := range []Freeze{
		{Kind: KindFreeze, Env: perso.EnvTest, Site: "site-1", What: FrozenOrder, Name: "A-1.B", Reason: "why", At: at, Nonce: hash(1)},
		{Kind: KindUnfreeze, Env: perso.EnvTest, Site: "site-1", What: FrozenKey, Name: "kmc", Lifts: hash(2), Reason: "why", At: at, Nonce: hash(1)},
	} {
		b := must(f.Encode())
		if back, err := ParseFreeze(b); err != nil || back != f {
			t.Errorf("read back as %+v, %v", back, err)
		}
		recordtest.Canonical(t, b, func(b []byte) ([]byte, error) {
			f, err := ParseFreeze(b)
			if err != nil {
				return nil, err
			}
			return f.Encode()
		})
	}
	for old, other := range map[string]string{"what order": "what all", "name A": "name -", "reason why": "reason -"} {
		f := Freeze{Kind: KindFreeze, Env: perso.EnvTest, Site: "site-1", What: FrozenOrder, Name: "A", Reason: "why", At: at, Nonce: hash(1)}
		if _, err := ParseFreeze([]byte(strings.Replace(string(must(f.Encode())), old, other, 1))); err == nil {
			t.Errorf("%q is accepted", other)
		}
	}
	r := release()
	r.Customer.ReceiveKey = "rk"
	for name, what := range map[string]Frozen{"L1": FrozenLot, "DEMO-1": FrozenOrder, "kmc": FrozenKey, "op": FrozenKey, "tk": FrozenKey, "wk": FrozenKey, "rk": FrozenKey} {
		if !(Freeze{What: what, Name: name}).Stops(r) || (Freeze{What: what, Name: name + "x"}).Stops(r) || (Freeze{What: FrozenLine, Name: name}).Stops(r) {
			t.Errorf("a freeze of %s %s", what, name)
		}
	}
}

// TestFloorForms: each has one spelling, and says what it must.
func TestFloorForms(t *testing.T) {
	t.Parallel()
	h := Header{Env: perso.EnvTest, Site: "site-1", At: at, Nonce: hash(1)}
	chips := []id.ChipID{must(id.ParseChipID("47901234000112345678")), must(id.ParseChipID("47901234000112345679"))}
	again := func(kind string, body []byte) ([]byte, error) {
		switch kind {
		case KindPolicy:
			return encoded(ParsePolicy(body))
		case KindFirstArticle:
			return encoded(ParseFirstArticle(body))
		case KindClearance:
			return encoded(ParseClearance(body))
		case KindExplained:
			return encoded(ParseExplained(body))
		case KindSamples:
			return encoded(ParseSamples(body))
		case KindShort:
			return encoded(ParseShort(body))
		case KindTaken, KindCancelled:
			return encoded(ParseDesk(body))
		case KindForget:
			return encoded(ParseForget(body))
		}
		return encoded(ParseRejects(body))
	}
	bodies := map[string][]byte{
		KindPolicy:       must(Policy{Header: h, FirstArticle: 5, Clearance: true, Sampling: "kept 50:8/0"}.Encode()),
		KindSamples:      must(Samples{Header: h, Lot: "L1", Examined: 3, Finding: "fine", Failed: chips}.Encode()),
		KindTaken:        must(Desk{Kind: KindTaken, Header: h, Order: "O-1", OrderHash: hash(3), Reason: "read back"}.Encode()),
		KindCancelled:    must(Desk{Kind: KindCancelled, Header: h, Order: "O-1", OrderHash: hash(3), Reason: "withdrawn"}.Encode()),
		KindFirstArticle: must(FirstArticle{Header: h, Lot: "L1", Good: 5, Finding: "as ordered"}.Encode()),
		KindClearance:    must(Clearance{Header: h, Line: "line-1", Lot: "L1", Finding: "empty"}.Encode()),
		KindExplained:    must(Explained{Header: h, Lot: "L1", Count: hash(2), Reason: "stuck together"}.Encode()),
		KindShort:        must(Short{Header: h, Lot: "L1", Release: hash(4), Reason: "no chips"}.Encode()),
		KindForget:       must(Forget{Header: h, Lot: "L1", Release: hash(4), Certificate: hash(5), Good: 9, Proof: "auts", Asks: "clearance", Taken: [][32]byte{hash(6), hash(7)}}.Encode()),
		KindRejects:      must(Rejects{Header: h, Lot: "L1", Place: "cellar", How: "shredded", Chips: chips}.Encode()),
	}
	twice := must(Rejects{Header: h, Lot: "L1", Place: "cellar", How: "shredded", Chips: []id.ChipID{chips[0], chips[1], chips[1]}}.Encode())
	recordtest.Canonical(t, twice, func(b []byte) ([]byte, error) { return again(KindRejects, b) })
	if d := must(ParseRejects(twice)); d.Pieces(chips[0]) != 1 || d.Pieces(chips[1]) != 2 || d.Pieces(must(id.ParseChipID("47901234000112345670"))) != 0 {
		t.Errorf("pieces of %v are counted otherwise", d.Chips)
	}
	if s, err := ParseSamples(bytes.Replace(bodies[KindSamples], []byte("45679\n"), []byte("45678\n"), 1)); err == nil {
		t.Errorf("samples that failed twice are accepted: %v", s.Failed)
	}
	for kind, body := range bodies {
		recordtest.Canonical(t, body, func(b []byte) ([]byte, error) { return again(kind, b) })
	}
	for kind, c := range map[string][2]string{KindPolicy: {"clearance required", "clearance yes"}, KindFirstArticle: {"finding as ordered", "finding -"},
		KindClearance: {"lot L1", "lot -"}, KindExplained: {"reason stuck together", "reason -"}, KindRejects: {"45678\n", "45680\n"}, KindShort: {"reason no chips", "reason -"},
		KindSamples: {"examined 3", "examined 1"}, KindTaken: {"order O-1", "order -"}, KindForget: {"order_asks clearance", "order_asks clean"}, KindCancelled: {"reason withdrawn", "reason -"}} {
		if b, err := again(kind, bytes.Replace(bodies[kind], []byte(c[0]), []byte(c[1]), 1)); err == nil {
			t.Errorf("%s: %s is accepted as %s", kind, c[1], b)
		}
	}
}

func encoded[S interface{ Encode() ([]byte, error) }](s S, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	return s.Encode()
}

// withOperational is a release with a second subscription.
func withOperational() Release {
	r := release()
	r.Packages = []Package{{Variable: "PROFILE", Name: "one", Bytes: 3000, Hash: hash(5)}, {Variable: PackageOperational, Name: "two", Bytes: 4000, Hash: hash(6)}}
	r.Operational = Operational{
		ICCIDs:    must(id.NewICCIDRange(must(id.ParseICCID("8988003010000000004")), r.Units())),
		IMSIs:     must(id.NewIMSIRange(must(id.ParseIMSI("999401000000000", 2)), r.Units())),
		Algorithm: "tuak k=256", OP: "top", TransportKey: "tk-2", TransportMode: "AES-CBC-0", Delivery: "auc-2",
	}
	return r
}

// twoProfiles: the second subscription is there with its package and only then, has one spelling, and no number of the first.
func twoProfiles(t *testing.T) {
	t.Helper()
	r := withOperational()
	body := must(r.Encode())
	if back, err := ParseRelease(body); err != nil || !reflect.DeepEqual(back, r) {
		t.Fatalf("%v: read back as %+v, want %+v", err, back, r)
	}
	recordtest.Canonical(t, body, func(b []byte) ([]byte, error) {
		r, err := ParseRelease(b)
		if err != nil {
			return nil, err
		}
		return r.Encode()
	})
	if to := r.Receivers()["operational"]; to != "auc-2" || release().Receivers()["operational"] != "" {
		t.Errorf("the second operator is %q", to)
	}
	for what, name := range map[string]perso.Name{"op": "top", "transport key": "tk-2"} {
		if !(Freeze{What: FrozenKey, Name: string(name)}).Stops(r) {
			t.Errorf("a lot goes on with the frozen %s %s of its operational profile", what, name)
		}
	}
	for want, change := range map[string]func(*Release){
		"share numbers":        func(r *Release) { r.Operational.ICCIDs = r.ICCIDs },
		"holds fewer than":     func(r *Release) { r.Operational.IMSIs = must(id.NewIMSIRange(r.Operational.IMSIs.First(), 3)) },
		"a SIM with an operat": func(r *Release) { r.EIDs, r.KeyOrigin, r.SMSR, r.WrapKey = id.EIDRange{}, "", "", "" },
	} {
		r := withOperational()
		change(&r)
		if _, err := ParseRelease(must(r.Encode())); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
