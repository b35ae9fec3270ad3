package script

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/persoline/persoline/perso/apdu"
	"github.com/persoline/persoline/perso/scp"
)

const packageScript = `.SCRIPT package 1
.CHANNEL SCP03 LEVEL=33
.PHASE identify
cplc:    80CA9F7F 00 (9000) => chip
.PHASE open
         80E62000 <0000 <{AID.ISDP}> 000000> 00 (9000|6A88)
p.isdp:  80E29100 <5C <DF28>> 00 (9000|6985) => probe
.PHASE write
.SECTION isdp REDO=delete-first DONE=p.isdp[DF28 <{PROFILE.HASH}>]
         80E40000 <4F <{AID.ISDP}>> 00 (9000|6A88)
         80E62000 <0000 <{AID.ISDP}> 000000> 00 (9000)
keys:    .STORE MODE=dgi <8113 <d {dek:PROFILE.ENC} {dek:PROFILE.MAC} {dek:PROFILE.DEK}>> (9000)
open:    .SCP03T OPEN PROFILE KVN=30 (9000)
.ACT
.SECTION profile CONTINUES=isdp
load:    .SCP03T LOAD PROFILE (9000)
         80E62000 <0000 <{AID.ISDP}> 000000> 00 (9000)
.WITH PROFILE2
.SECTION second REDO=safe DONE=p.isdp[DF28 <{PROFILE2.HASH}>]
         80E62000 <0000 <{AID.ISDP2}> 000000> 00 (9000)
two:     .SCP03T OPEN PROFILE2 KVN=31 (9000)
.ACT
.SECTION second-profile CONTINUES=second
         .SCP03T LOAD PROFILE2 (9000)
.END
.PHASE verify
         80E62000 <0000 <{AID.ISDP}> 000000> 00 (9000)
v.isdp:  80E29100 <5C <DF28>> 00 [DF28 <{PROFILE.HASH}>] (9000) => readback
.WITH PROFILE2
         80E62000 <0000 <{AID.ISDP2}> 000000> 00 (9000)
v.isdp2: 80E29100 <5C <DF28>> 00 [DF28 <{PROFILE2.HASH}>] (9000) => readback
.END
`

func packageCatalogue(n int) Catalogue {
	return StandardCatalogue(40, 200).WithPackage(PackageBootstrap, n)
}

func TestPackage(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 100, 1024, 3000, scp.MaxPackage} {
		s := mustCompile(t, packageScript, packageCatalogue(n))
		if got := s.Packages(); !slices.Equal(got, []string{PackageBootstrap}) || len(s.Acts) != 3 {
			t.Fatalf("packages %v, %d acts", got, len(s.Acts))
		}
		if !s.Carries(PackageBootstrap, n) || n > 20 && s.Carries(PackageBootstrap, n-17) {
			t.Errorf("%d bytes: carries %v", n, s.Carries(PackageBootstrap, n))
		}
		back, err := Decode(s.Encode())
		if err != nil || back.Hash() != s.Hash() {
			t.Fatalf("%d bytes: %v", n, err)
		}
		var sent int
		objects := scp.StreamObjects(n, 8)
		for _, st := range back.Acts[2][0].Steps {
			if st.Package == "" {
				break
			}
			ref := st.Body[0].Var
			if ref.From != sent || ref.To-ref.From > 239 || ref.To-ref.From < 1 {
				t.Fatalf("block %q has %d to %d behind %d", st.Label, ref.From, ref.To, sent)
			}
			sent = ref.To
			if st.Purpose == PurposeObject {
				if sent != objects[0] || st.Header[2] != 0x91 {
					t.Fatalf("object ends at %d, want %d", sent, objects[0])
				}
				if objects = objects[1:]; len(objects) > 0 {
					objects[0] += sent
				}
			}
		}
		if len(objects) != 0 {
			t.Errorf("%d bytes: %d objects missing", n, len(objects))
		}
	}
}

// With the second package there is one act more, and without it nothing of it is in the script.
func TestWith(t *testing.T) {
	t.Parallel()
	one, two := mustCompile(t, packageScript, packageCatalogue(100)), mustCompile(t, packageScript, packageCatalogue(100).WithPackage(PackageOperational, 200))
	if len(two.Acts) != len(one.Acts)+1 || !slices.Equal(two.Packages(), []string{PackageBootstrap, PackageOperational}) || !two.Carries(PackageOperational, 200) {
		t.Errorf("%d and %d acts, packages %v", len(one.Acts), len(two.Acts), two.Packages())
	}
	for _, u := range one.Variables() {
		if strings.HasPrefix(u.Name, PackageOperational) {
			t.Errorf("without the package, act %d needs %s", u.Act, u.Name)
		}
	}
	out, err := Format([]byte(packageScript))
	if err != nil {
		t.Fatal(err)
	}
	if again := mustCompile(t, string(out), packageCatalogue(100)); again.Hash() != one.Hash() {
		t.Error("laid out, it is another script")
	}
	if _, found, err := Lint(fstest.MapFS{"t.script": {Data: []byte(packageScript)}}, "t.script", packageCatalogue(100).WithPackage(PackageOperational, 200)); err != nil || len(found) > 0 {
		t.Errorf("%v %v", found, err)
	}
}

type streams struct{ sealed []byte }

func (b streams) Bind(dst []byte, form Form, name string) ([]byte, error) {
	if form == Sealed {
		return append(dst, b.sealed...), nil
	}
	n := map[Form]int{Public: 32, DEK: 16}[form]
	switch {
	case strings.HasPrefix(name, "AID."):
		n = 16
	case strings.HasSuffix(name, suffixChallenge):
		n = 8
	}
	return append(dst, make([]byte, n)...), nil
}

func TestPackageRender(t *testing.T) {
	t.Parallel()
	const n = 3000
	s := mustCompile(t, packageScript, packageCatalogue(n))
	var b streams
	for _, length := range scp.StreamObjects(n, 8) {
		b.sealed = append(b.sealed, bytes.Repeat([]byte{byte(length)}, length)...)
	}
	commands, err := s.Render(2, []bool{false, true}, b)
	if err != nil {
		t.Fatal(err)
	}
	var sent []byte
	for _, c := range commands {
		if c.Step.Package != "" {
			sent = append(sent, c.APDU.Data...)
			if c.APDU.Le != apdu.MaxLe {
				t.Errorf("%s has Le %d", c.Step.Label, c.APDU.Le)
			}
		}
	}
	if !bytes.Equal(sent, b.sealed) {
		t.Errorf("%d bytes sent of %d", len(sent), len(b.sealed))
	}
}

func TestPackageFaults(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ old, with, want string }{
		"unknown":      {"OPEN PROFILE KVN", "OPEN PROFIL KVN", "no profile package"},
		"no package":   {"OPEN PROFILE KVN", "OPEN AID.ISDP KVN", "no profile package"},
		"verb":         {"SCP03T LOAD PROFILE (9000)", "SCP03T SEND PROFILE (9000)", "write .SCP03T OPEN"},
		"no kvn":       {"PROFILE KVN=30", "PROFILE", "where word was expected"},
		"bad kvn":      {"KVN=30", "KVN=00", "KVN=00"},
		"status":       {"LOAD PROFILE (9000)", "LOAD PROFILE (9000|6985)", "malformed block"},
		"behind":       {"open:    .SCP03T OPEN PROFILE KVN=30 (9000)", "open:    .SCP03T OPEN PROFILE KVN=30 (9000)\n 80E62000 <0000 <{AID.ISDP}> 000000> 00 (9000)", "something follows"},
		"never loaded": {"load:    .SCP03T LOAD PROFILE (9000)\n", "", "does not begin its act with a package"},
		"never opened": {"open:    .SCP03T OPEN PROFILE KVN=30 (9000)\n", "", "does not open at its end"},
		"not first":    {"load:    .SCP03T", "         80E62000 <0000 <{AID.ISDP}> 000000> 00 (9000)\nload:    .SCP03T", "does not begin its act"},
		"twice":        {"load:    .SCP03T LOAD PROFILE (9000)", ".SCP03T LOAD PROFILE (9000)\n.SCP03T LOAD PROFILE (9000)", "malformed block"},
		"alone":        {"CONTINUES=isdp", "REDO=safe DONE=p.isdp[DF28 <{PROFILE.HASH}>]", "which the act before does not open"},
		"settings":     {"CONTINUES=isdp", "CONTINUES=isdp REDO=safe", "beside CONTINUES"},
		"no section":   {"CONTINUES=isdp", "CONTINUES=isd", "no section"},
		"as variable":  {"<8113 <d {dek:PROFILE.ENC}", "<8113 <d {secret:PROFILE}", "of a profile package"},
		"in the open":  {"<8113 <d {dek:PROFILE.ENC}", "<8113 <d {PROFILE}", "a profile package as a variable"},
		"not closed":   {".END\n.PHASE verify", ".PHASE verify", "without .END"},
		"not begun":    {".PHASE verify", ".END\n.PHASE verify", ".END without"},
		"with what":    {".WITH PROFILE2\n.SECTION", ".WITH profile2\n.SECTION", "name"},
	} {
		src := strings.Replace(packageScript, c.old, c.with, 1)
		if src == packageScript {
			t.Fatalf("%s: nothing changed", name)
		}
		if _, err := Compile([]byte(src), packageCatalogue(100)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
