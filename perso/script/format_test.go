package script

import (
	"errors"
	"strings"
	"testing"
)

func formatted(t testing.TB, src string) string {
	t.Helper()
	out, err := Format([]byte(src))
	if err != nil {
		t.Fatalf("formatting:\n%v", err)
	}
	return string(out)
}

func TestFormat(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, src, want string }{
		{"directives", "\n\n.SCRIPT   t \t1\n\n\n\n.CHANNEL SCP03  LEVEL = 33;remark\n\n", ".SCRIPT t 1\n\n.CHANNEL SCP03 LEVEL=33  ;remark\n"},
		{"columns", "a:80ca9f7f 00(9000)\n80e28800<0070<d 42<01>>>00 (9000|63cx )=>probe ; why\n; alone\nb: 00 (90 00)",
			"a:       80CA9F7F 00                    (9000)\n         80E28800 <0070 <d 42 <01>>> 00 (9000|63CX) => probe  ; why\n; alone\nb:       00 (9000)\n"},
		{"conditions", ".section x\n.SECTION x REDO=safe DONE=a [ 4f<{A}{B}> ]&b[00*3]|c[x0]", ".section x\n.SECTION x REDO=safe DONE=a[4F <{A} {B}>] & b[00*3] | c[X0]\n"},
		{"answers", ".POWER [ 3b xx ]\n80CA0000 00 [ 01{p.a[0+1]} ] (9000)", "         .POWER [3B XX]\n         80CA0000 00 [01 {p.a[0+1]}] (9000)\n"},
		{"files", ".LOAD BLOCK=100 < @a.cap@b[1+2]@c[3+] 00 > (9000)", "         .LOAD BLOCK=100 <@a.cap @b[1+2] @c[3+] 00> (9000)\n"},
		{"continued", "  a: 80E2 \\\n       <01> \\ ; why\n   (9000)", "a:       80E2 \\\n           <01> \\  ; why\n         (9000)\n"},
		{"long labels", "a.very.long.label.x: 00 (9000)\nb: 00 (9000)", "a.very.long.label.x: 00 (9000)\nb:               00     (9000)\n"},
		{"ends a continuation", "80E2 \\\n\n00 (9000)", "         80E2 \\\n\n         00 (9000)\n"},
		{"nothing", "\n \n", ""},
	} {
		got := formatted(t, c.src)
		if got != c.want {
			t.Errorf("%s:\n%s\nwant\n%s", c.name, got, c.want)
		}
		if again := formatted(t, got); again != got {
			t.Errorf("%s, again:\n%s\nwant\n%s", c.name, again, got)
		}
	}
	var faults Faults
	if _, err := Format([]byte("80E2 é\n00 (9000")); !errors.As(err, &faults) || len(faults) != 2 {
		t.Errorf("unreadable: %v", err)
	}
}

// TestFormatProduct: the product's script keeps its hash, every comment and every break.
func TestFormatProduct(t *testing.T) {
	t.Parallel()
	src := string(productSource(t))
	out := formatted(t, src)
	if mustCompile(t, out, StandardCatalogue(smsrAddrLen, certLen)).Hash() != product(t).Hash() {
		t.Error("formatting changed the compiled script")
	}
	for _, sign := range []string{";", "\\\n", "\n"} {
		if strings.Count(out, sign) != strings.Count(src, sign) {
			t.Errorf("%q: %d, want %d", sign, strings.Count(out, sign), strings.Count(src, sign))
		}
	}
}

// FuzzFormat: what formats formats to the same again, and compiles to the same, or as little as before.
func FuzzFormat(f *testing.F) {
	f.Add(small)
	f.Add(string(productSource(f)))
	for _, c := range append(readingFaults(), ruleFaults()...) {
		f.Add(with(c.line, c.text))
	}
	f.Add("a: \\\n .STORE \\;x\n\n\\\n<d d> \\\n")
	f.Fuzz(func(t *testing.T, src string) {
		once, err := Format([]byte(src))
		if err != nil {
			return
		}
		twice, err := Format(once)
		if err != nil || string(twice) != string(once) {
			t.Fatalf("not settled, %v:\n%q\n%q", err, once, twice)
		}
		before, errBefore := Compile([]byte(src), smallCatalogue())
		after, errAfter := Compile(once, smallCatalogue())
		if (errBefore == nil) != (errAfter == nil) {
			t.Fatalf("before: %v\nafter: %v", errBefore, errAfter)
		}
		if errBefore == nil && before.Hash() != after.Hash() {
			t.Fatal("formatting changed the compiled script")
		}
	})
}
