package script

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestLint(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		rule Rule
		line int
		text string
		want string
	}{
		{RuleMissingProbe, 8, ".SECTION two REDO=safe\n80F08007 00 (9000)\n.SECTION one REDO=safe DONE=p.a[E000]", `8:1: section "two" cannot be found done`},
		{RuleMissingProbe, 8, "80F08007 00 (9000)\n.SECTION one REDO=safe DONE=p.a[E000]", `8:1: 80F08007 writes outside any section`},
		{RuleAnswerDecides, 9, `80E62000 <0000 <{AID}> 000000> 00 (9000|61XX)`, `9:1: status 6100 asks`},
		{RuleAnswerDecides, 9, `80E62000 <0000 <{AID}> 000000> 00 (6C1X|9000)`, `9:1: status 6C10 asks`},
		{RuleAnswerDecides, 9, `80E62000 <0000 <{AID}> 000000> 00 (9000|63XX)`, `9:1: status 6310 asks`},
		{RuleAnswerDecides, 10, "80E28800 <0070 <42 <01>>> 00 (9000)\n.PLAIN\n00C0000010 (9000)\n.SECURE", `12:1: GET RESPONSE`},
		{RulePlainPIN, 10, "80E28800 <0070 <42 <01>>> 00 (9000)\n.PLAIN\n00200001 <31323334 FF*4> (9000)\n.SECURE", `12:1: 00200001 sends a PIN`},
		{RuleNeverReadBack, 10, `80E28800 <0070 <42 <01> {PUB} {PUB}>> 00 (9000)`, `10:25: {PUB} is stored and never compared`},
		{RuleUncheckedRead, 13, "80E29100 <5C <42>> 00 [42 <01>] (9000)\n80CA00E0 00 (9000) => readback", `14:1: 80CA00E0 is read`},
		{RuleUnused, 6, "p.a: 80E29100 <5C <E0>> 00 (9000) => probe\np.b: 80CA00E0 00 (9000) => probe", `7:1: nothing uses the probe "p.b"`},
		{RuleUnused, 3, ".DEFINE A <00>\n.PHASE identify", `3:9: nothing uses "A"`},
		{RuleUnused, 3, ".VAR A 1\n.PHASE identify", `3:6: nothing uses "A"`},
		{RuleSecret, 10, ".PLAIN\n80D80081 <{dek:KEY}> 00 (9000)\n.SECURE", `11:11: {dek:KEY} outside the channel`},
		{RulePhase, 3, `.PHASE write`, `3:8: phase "write" after nothing`},
		{RuleVerify, 13, `80E29100 <5C <42>> 00 (9000)`, `1:1: no verify phase`},
		{RuleSyntax, 9, `80E620 <00> (9000)`, `9:1: a header of 3 bytes`},
	} {
		s, found, err := Lint(folderWith(with(c.line, c.text)), "t.script", smallCatalogue())
		if err != nil || len(found) != 1 || found[0].Rule != c.rule || !strings.HasPrefix(found[0].Error(), c.want) {
			t.Errorf("%v\n%v\nwant %s: %s", err, found, c.rule, c.want)
		}
		if compiles := slices.Contains([]Rule{RuleMissingProbe, RuleAnswerDecides, RulePlainPIN, RuleNeverReadBack, RuleUncheckedRead, RuleUnused}, c.rule); compiles != (s != nil) {
			t.Errorf("%s: script %v", c.want, s)
		}
	}
	if s, found, err := Lint(folderWith(small), "t.script", smallCatalogue()); s == nil || len(found) > 0 || err != nil {
		t.Errorf("the small script: %v, %v", found, err)
	}
	shared := folderWith(with(3, ".INCLUDE names.inc\n.PHASE identify"), "names.inc", ".DEFINE A <00>")
	if _, found, _ := Lint(shared, "t.script", smallCatalogue()); len(found) > 0 {
		t.Errorf("a name of a shared file: %v", found)
	}
	if _, _, err := Lint(folderWith(small), "none.script", nil); err == nil {
		t.Error("a script that is not there was judged")
	}
}

func TestLintProduct(t *testing.T) {
	t.Parallel()
	folder := os.DirFS(filepath.Join("..", "..", "deploy", "products"))
	scripts, err := fs.Glob(folder, "*.script")
	if err != nil || len(scripts) < 2 {
		t.Fatalf("%d scripts are shipped, %v", len(scripts), err)
	}
	for _, name := range scripts {
		_, found, err := Lint(folder, name, StandardCatalogue(smsrAddrLen, certLen).WithPackage(PackageBootstrap, 4000).WithPackage(PackageOperational, 4000))
		if err != nil || len(found) > 0 {
			t.Errorf("%s: %v\n%v", name, found, err)
		}
	}
}

// TestRulesAreDescribed compares the rules with LANGUAGE.md.
func TestRulesAreDescribed(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("LANGUAGE.md")
	if err != nil {
		t.Fatal(err)
	}
	src, err := os.ReadFile("rule.go")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(src)) {
		if _, after, is := strings.Cut(line, "Rule = \""); is {
			rule, _, _ := strings.Cut(after, `"`)
			if n++; !strings.Contains(string(page), "| `"+rule+"` |") {
				t.Errorf("LANGUAGE.md does not say what %q is", rule)
			}
		}
	}
	if n < 20 {
		t.Errorf("%d rules found", n)
	}
}

// TestExample: the whole script of LANGUAGE.md compiles, is laid out, and has no finding.
func TestExample(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("LANGUAGE.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "\n## A whole script\n")
	chapter, _, found := strings.Cut(rest, "\n## ")
	var src strings.Builder
	for line := range strings.Lines(chapter) {
		code, is := strings.CutPrefix(line, "    ")
		if is || src.Len() > 0 {
			src.WriteString(code)
		}
	}
	text := strings.TrimRight(src.String(), "\n") + "\n"
	if out := formatted(t, text); !found || out != text {
		t.Errorf("it is laid out otherwise:\n%s", out)
	}
	vars := StandardCatalogue(smsrAddrLen, certLen)
	if _, faults, err := Lint(folderWith(text, "applet.cap", capFile(t, "Header", "Method")), "t.script", vars); err != nil || len(faults) > 0 {
		t.Errorf("%v\n%v", err, faults)
	}
}
