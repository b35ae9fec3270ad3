package pcom

import (
	"errors"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/persoline/persoline/perso/script"
)

func folderOf(files ...string) fstest.MapFS {
	folder := fstest.MapFS{}
	for i := 0; i < len(files); i += 2 {
		folder[files[i]] = &fstest.MapFile{Data: []byte(files[i+1])}
	}
	return folder
}

const sample = `; select the MF
.POWER_ON
.CALL names.var
A0A4 0000 02 %MF (9F22)     ; master file
A0C0 0000 W(2;1) (9000)

a0a4000002 %ICCID \
   (9FXX)
.DEFINE %AGAIN 0A
A0B0 0000 %AGAIN [98075110 XXXXXXXXXXXX] (9000)
.POWER_OFF
.POWER_ON /COLD
80F2 4000 02 4F00 00 (6A88)
A0FE 0000 (6DXX)
.ALLUNDEFINE
.INSERT
`

func TestImport(t *testing.T) {
	t.Parallel()
	folder := folderOf("a.pcom", sample, "names.var", ".DEFINE %MF 3F00\r\n.DEFINE %EF E2\n.DEFINE %ICCID 2F%EF ; nested\n")
	got, err := Import(folder, "a.pcom", Options{FirstByte: 1})
	if err != nil {
		t.Fatal(err)
	}
	want := `; From a.pcom, in PCOM. These are commands to include in a phase; 'perso script check' judges what they come to.

; select the MF
; nested
         A0A40000 <3F00> (9F22)  ; master file
         A0C0000022      (9000)

         A0A40000 <2FE2>                     (9FXX)
         A0B000000A [98075110XXXXXXXXXXXX]   (9000)
         .POWER
         80F24000 <4F00> 00                  (6A88)
         A0FE0000                            (6DXX)
`
	want = strings.ReplaceAll(want, "]   (", "] (")
	if squeeze(string(got.Text)) != squeeze(want) {
		t.Errorf("got\n%s\nwant\n%s", got.Text, want)
	}
	if got.Commands != 6 || got.Powers != 1 || strings.Join(got.Files, " ") != "a.pcom names.var" {
		t.Errorf("%d commands, %d power cycles, files %v", got.Commands, got.Powers, got.Files)
	}
}

// squeeze makes a run of blanks one: columns are the formatter's affair.
func squeeze(text string) string {
	var lines []string
	for line := range strings.Lines(text) {
		lines = append(lines, strings.Join(strings.Fields(line), " "))
	}
	return strings.Join(lines, "\n")
}

func TestAnswersAreFilledIn(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		first     int
		src, want string
	}{
		{1, "A0A40000 (9F22)\nA0C00000 W(2;1) (9000)", "A0C0000022 (9000)"},
		{0, "A0A40000 (9F22)\nA0C00000 W(1;1) (9000)", "A0C0000022 (9000)"},
		{1, "00CA000000 [0102] (9000)\n00A40000 04 W(1;4) (9000)", "00A40000 <01029000> (9000)"},
		{1, "00CA000000 [0102] (9000)\n.DEFINE %X R( 2 ; 1 )\n00A40000 01 %X (9000)", "00A40000 <02> (9000)"},
	} {
		got, err := Import(folderOf("a.pcom", c.src), "a.pcom", Options{FirstByte: c.first})
		if err != nil || !strings.Contains(squeeze(string(got.Text)), c.want) {
			t.Errorf("%s\n%v\n%s\nwant %s", c.src, err, got.Text, c.want)
		}
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ src, want string }{
		{".SOURCE x", `1:1: directive ".SOURCE"`},
		{"\n .POWER_ON /WARM", `2:12: "/WARM" behind .POWER_ON`},
		{".POWER_OFF now", `1:12: "now" behind .POWER_OFF`},
		{".POWER_OFF\n00A40000 (9000)", `2:1: a command behind .POWER_OFF`},
		{".DEFINE NAME 00", `1:9: a definition without a name`},
		{".DEFINE", `1:1: a definition without a name`},
		{".DEFINE %NAME", `1:9: %NAME without a value`},
		{".DEFINE %A %B", `1:12: %B is not defined`},
		{"00A4 %F (9000)", `1:6: %F is not defined`},
		{".DEFINE %A 00\n.ALLUNDEFINE\n00A40000 %A (9000)", `3:10: %A is not defined`},
		{".DEFINE %A 00A40000\n%A%A%A (9000)", `2:3: P3 says 0 bytes, 7 follow`},
		{"00A40000 02 3F (9000)", `1:10: P3 says 2 bytes, 1 follow`},
		{"00A400 (9000)", `1:1: a command of 6 digits`},
		{"00A40000 0 (9000)", `1:1: a command of 9 digits`},
		{"00A40000", `1:8: a status of 0 digits`},
		{"00A40000 (90)", `1:13: a status of 2 digits`},
		{"00A40000 (9000|6A82)", `1:15: unexpected character "|"`},
		{"00A40000 (9000) 00", `1:17: "0" behind the status`},
		{"00A40000 (9000", `1:10: "(" is not closed`},
		{"00A40000 [00 (9000)", `1:10: "[" is not closed`},
		{"00CA000000 [0] (9000)", `1:13: expected data of 1 digits`},
		{"00CA000000 [00] (90XX)", `1:18: expected data under an open status`},
		{"00XX0000 (9000)", `1:3: unexpected character "X"`},
		{"IF (9000)", `1:1: unexpected character "I"`},
		{"00A4 \\\n 0000 \\\n Z (9000)", `3:2: unexpected character "Z"`},
		{"00A40000 (9000) \\", `2:1: the file ends in a continuation`},
		{"00A40000 (9F22)\n00C00000 W(4;1) (9000)", `2:10: W(4;1) is outside the answer of 2 bytes`},
		{"00A40000 (9F22)\n00C00000 W(0;1) (9000)", `2:10: W(0;1) is outside the answer of 2 bytes`},
		{"00A40000 (9F22)\n00C00000 W(2) (9000)", `2:10: "W(2)"`},
		{"00A40000 (9FXX)\n00C00000 W(2;1) (9000)", `2:10: W(2;1) takes an answer that only the chip knows`},
		{"00B0000002 (9000)\n00C00000 W(1;1) (9000)", `2:10: W(1;1) takes an answer that only the chip knows`},
		{".DEFINE %A R(1;1)", `1:12: R(1;1) takes an answer that only the chip knows`},
		{".CALL", `1:1: .CALL without a file`},
		{".CALL ../x.pcom", `1:7: "../x.pcom" is no file to call`},
		{".CALL x.pcom", `1:7: reading "x.pcom"`},
		{".CALL self.pcom", `self.pcom:1:7: "self.pcom" calls itself: a.pcom → self.pcom → self.pcom`},
		{".CALL data.var", `data.var:1:1: a command in a .var file`},
	} {
		folder := folderOf("a.pcom", c.src, "self.pcom", ".CALL self.pcom", "data.var", "00A40000 (9000)")
		_, err := Import(folder, "a.pcom", Options{FirstByte: 1})
		var faults script.Faults
		if !errors.As(err, &faults) || len(faults) != 1 || !strings.HasPrefix(faults[0].Error(), c.want) || faults[0].Hint == "" {
			t.Errorf("%s\ngot  %v\nwant %s", c.src, err, c.want)
		}
	}
	_, err := Import(folderOf("a.pcom", "00A40000 (9F22)\n00C00000 W(2;1) (9000)"), "a.pcom", Options{FirstByte: NoFirstByte})
	if err == nil || !strings.Contains(err.Error(), "without a first byte") {
		t.Errorf("unknown first byte: %v", err)
	}
	if _, err := Import(folderOf(), "a.pcom", Options{}); err == nil {
		t.Error("a file that is not there was read")
	}
}

// FuzzImport: no text panics, and what is read can be read again as the project's own language.
func FuzzImport(f *testing.F) {
	f.Add(sample, 1)
	f.Add(".DEFINE %A 00\n.DEFINE %A %A%A%A\n00CA0000%A%A [00] (9000)\n00C00000W(1;1)(9000)", 0)
	f.Fuzz(func(t *testing.T, src string, first int) {
		got, err := Import(folderOf("a.pcom", src, "names.var", ".DEFINE %MF 3F00\n.DEFINE %ICCID 2FE2"), "a.pcom", Options{FirstByte: first})
		var faults script.Faults
		if errors.As(err, &faults) {
			for _, fault := range faults {
				if fault.Line < 1 || fault.Col < 1 || fault.What == "" || fault.Hint == "" {
					t.Fatalf("incomplete fault %+v", fault)
				}
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		frame := ".SCRIPT t 1\n.CHANNEL SCP03 LEVEL=33\n.PHASE identify\n80CA9F7F 00 (9000) => chip\n.PHASE open\n.PHASE write\n.PLAIN\n80F08007 (9000)\n"
		_, err = script.Compile([]byte(frame+string(got.Text)), script.Catalogue{})
		errors.As(err, &faults)
		for _, fault := range faults {
			if fault.Rule == script.RuleSyntax {
				t.Fatalf("%v\n%s", fault, got.Text)
			}
		}
	})
}
