package script

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/persoline/persoline/perso/apdu"
)

// folderWith is a folder with a script and further files.
func folderWith(src string, files ...string) fstest.MapFS {
	folder := fstest.MapFS{"t.script": {Data: []byte(src)}}
	for i := 0; i < len(files); i += 2 {
		folder[files[i]] = &fstest.MapFile{Data: []byte(files[i+1])}
	}
	return folder
}

func compileIn(t *testing.T, folder fstest.MapFS) *Script {
	t.Helper()
	s, err := CompileFile(folder, "t.script", smallCatalogue())
	if err != nil {
		t.Fatalf("compiling:\n%v", err)
	}
	return s
}

func actLabels(act Act) (labels []string) {
	for _, sec := range act {
		for _, st := range sec.Steps {
			labels = append(labels, st.Label)
		}
	}
	return labels
}

// TestInclude: what is included counts as if it stood there, in the hash too.
func TestInclude(t *testing.T) {
	t.Parallel()
	whole := mustCompile(t, small, smallCatalogue())
	target := "80E62000 <0000 <{AID}> 000000> 00 (9000)"
	src := with(9, ".INCLUDE target.inc")
	s := compileIn(t, folderWith(src, "target.inc", "; the domain\n"+target))
	if s.Hash() != whole.Hash() {
		t.Error("an included line is not the line")
	}
	changed := compileIn(t, folderWith(src, "target.inc", target+"\n80CA0000 00 (9000)"))
	if changed.Hash() == whole.Hash() {
		t.Error("the hash does not cover what is included")
	}
	nested := compileIn(t, folderWith(src, "target.inc", ".INCLUDE a.inc\n.INCLUDE b.inc", "a.inc", "; empty", "b.inc", target))
	if nested.Hash() != whole.Hash() {
		t.Error("nested files changed the script")
	}
}

func TestIncludeFaults(t *testing.T) {
	t.Parallel()
	src := with(9, ".INCLUDE a.inc")
	deep := []string{"a.inc", ".INCLUDE b0.inc"}
	for i := range MaxIncludeDepth {
		deep = append(deep, fmt.Sprintf("b%d.inc", i), fmt.Sprintf(".INCLUDE b%d.inc", i+1))
	}
	for _, c := range []struct {
		want  string
		src   string
		files []string
	}{
		{`9:10: reading "a.inc"`, src, nil},
		{`a.inc:1:10: "a.inc" includes itself: t.script → a.inc → a.inc`, src, []string{"a.inc", ".INCLUDE a.inc"}},
		{`a.inc:2:10: "t.script" includes itself`, src, []string{"a.inc", "\n.INCLUDE t.script"}},
		{fmt.Sprintf("b%d.inc:1:10: more than 8 files deep", MaxIncludeDepth-2), src, deep},
		{`a.inc:64:10: more than 8 files deep or 64 in all`, src, []string{"a.inc", strings.Repeat(".INCLUDE b.inc\n", MaxIncludes+1), "b.inc", ""}},
		{`a.inc:1:1: source of`, src, []string{"a.inc", strings.Repeat(" ", MaxSourceBytes-100)}},
		{`9:10: "a.inc" has more than`, src, []string{"a.inc", strings.Repeat(" ", MaxSourceBytes+1)}},
		{`a.inc:1:1: second .SCRIPT`, src, []string{"a.inc", ".SCRIPT x 1"}},
		{`9:10: "../a.inc" is no file name`, strings.Replace(src, "a.inc", "..", 1), nil},
		{`9:16: unexpected "b.inc" after .INCLUDE`, with(9, ".INCLUDE a.inc b.inc"), []string{"a.inc", "", "b.inc", ""}},
		{`10:18: reading "no.bin"`, with(10, ".STORE MODE=dgi <@no.bin> (9000)"), nil},
		{`10:18: "x.bin[2+2]" of a file of 3 bytes`, with(10, ".STORE MODE=dgi <@x.bin[2+2]> (9000)"), []string{"x.bin", "abc"}},
		{`10:18: "x.bin[3+]" of a file of 3 bytes`, with(10, ".STORE MODE=dgi <@x.bin[3+]> (9000)"), []string{"x.bin", "abc"}},
		{`10:18: "x.bin[0+0]" of a file of 3 bytes`, with(10, ".STORE MODE=dgi <@x.bin[0+0]> (9000)"), []string{"x.bin", "abc"}},
		{`10:18: "x.bin[0+5000]" of a file of 6000 bytes, where 4096`, with(10, ".STORE MODE=dgi <@x.bin[0+5000]> (9000)"), []string{"x.bin", strings.Repeat("x", 6000)}},
		{`10:24: unexpected "["`, with(10, ".STORE MODE=dgi <@x.bin[a]> (9000)"), []string{"x.bin", "abc"}},
		{`10:18: reading "x.hex"`, with(10, ".STORE MODE=dgi <@x.hex> (9000)"), []string{"x.hex", "0x"}},
		{`10:18: reading "x.cap"`, with(10, ".STORE MODE=dgi <@x.cap> (9000)"), []string{"x.cap", "PK"}},
		{`10:18: more than the 4096 bytes that are possible`, with(10, ".STORE MODE=dgi <"+strings.Repeat("@x.bin ", 10000)+"> (9000)"), []string{"x.bin", strings.Repeat("x", MaxStoreBytes)}},
		{`10:19: more than the 4096 bytes that are possible`, with(10, ".STORE MODE=dgi <<"+strings.Repeat("<@x.bin> ", 10000)+">> (9000)"), []string{"x.bin", strings.Repeat("x", MaxStoreBytes-1)}},
		{`18:11: more than 524288 bytes in all`, with(10, strings.Repeat(".DEFINE A <@x.bin>\n", 100)), []string{"x.bin", strings.Repeat("x", 60000)}},
		{`10:18: "x.bin" has more than the 4096 bytes`, with(10, ".STORE MODE=dgi <@x.bin> (9000)"), []string{"x.bin", strings.Repeat("x", MaxStoreBytes+1)}},
	} {
		_, err := CompileFile(folderWith(c.src, c.files...), "t.script", smallCatalogue())
		var faults Faults
		if !errors.As(err, &faults) {
			t.Errorf("%s: %v", c.want, err)
			continue
		}
		want := strings.Replace(c.want, `"../a.inc"`, `".."`, 1)
		if !slices.ContainsFunc(faults, func(f Fault) bool { return strings.HasPrefix(f.Error(), want) && f.Rule != "" }) {
			t.Errorf("got\n%v\nwant %s", err, want)
		}
	}
	if _, err := CompileFile(folderWith(small), "none.script", nil); err == nil {
		t.Error("a script that is not there compiled")
	}
}

// TestBlocks cuts one content for each channel, and puts it together again.
func TestBlocks(t *testing.T) {
	t.Parallel()
	content := bytes.Repeat([]byte("0123456789ABCDEF"), 700/16+1)[:700]
	for _, c := range []struct {
		channel, line string
		p1            byte
		most, bytes   int
	}{
		{"SCP03 LEVEL=33", ".STORE MODE=ber <@app.bin>", 0x10, 239, 700},
		{"SCP03 LEVEL=33 MODE=S16", ".STORE MODE=raw <@app.bin>", 0x00, 223, 700},
		{"SCP03 LEVEL=01", ".STORE MODE=dgi <@app.bin>", 0x08, 247, 700},
		{"SCP03 LEVEL=11 MODE=S16", ".LOAD <@app.bin>", 0x00, 239, 704},
		{"SCP02 LEVEL=03", ".LOAD <@app.bin>", 0x00, 239, 704},
		{"SCP02 LEVEL=01", ".LOAD BLOCK=255 <@app.bin>", 0x00, 247, 704},
		{"SCP03 LEVEL=33", ".LOAD BLOCK=100 <@app.bin>", 0x00, 100, 704},
	} {
		src := strings.Replace(with(10, "80E60200 <<{AID}> 00 00 00 00> 00 (9000)\nbig: "+c.line+" (9000)"), "SCP03 LEVEL=33", c.channel, 1)
		s := compileIn(t, folderWith(src, "app.bin", string(content)))
		steps := s.Acts[1][0].Steps[2:]
		var joined []byte
		blocks := (c.bytes + c.most - 1) / c.most
		for i, st := range steps[:blocks] {
			p1 := c.p1
			if i == blocks-1 {
				p1 |= 0x80
			}
			if st.Header[2] != p1 || st.Header[3] != byte(i) || st.Le != apdu.MaxLe || i < blocks-1 && size(st.Body) != c.most {
				t.Errorf("%s: block %d: %X of %d bytes", c.line, i, st.Header, size(st.Body))
			}
			for _, g := range st.Body {
				joined = append(joined, g.Bytes...)
			}
		}
		want := content
		if c.bytes == 704 {
			want = append([]byte{0xC4, 0x82, 0x02, 0xBC}, content...)
		}
		if len(steps) < blocks || len(s.Acts[1][0].Steps) != 2+blocks || !bytes.Equal(joined, want) {
			t.Errorf("%s: %d commands, joined %d bytes", c.line, len(steps), len(joined))
		}
		if steps[1].Label != "big/2" {
			t.Errorf("labels %v", actLabels(s.Acts[1]))
		}
	}
	plain := strings.Replace(with(10, ".PLAIN\n.STORE MODE=raw <@app.bin> (9000)\n.SECURE"), "SCP03 LEVEL=33", "SCP03 LEVEL=33", 1)
	if s := compileIn(t, folderWith(plain, "app.bin", string(content))); size(s.Acts[1][0].Steps[1].Body) != apdu.MaxDataBytes {
		t.Error("plain blocks do not have 255 bytes")
	}
}

func capFile(t *testing.T, components ...string) string {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, name := range components {
		w, err := z.Create("com/example/javacard/" + name + ".cap")
		if err == nil {
			_, err = fmt.Fprintf(w, "(%s)", name)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestFiles(t *testing.T) {
	t.Parallel()
	src := with(10, "80E28800 <@a.hex @b.bin @c.cap> 00 (9000)")
	s := compileIn(t, folderWith(src, "a.hex", "01 02\n0a0B\n", "b.bin", "\x00\xFF", "c.cap", capFile(t, "Debug", "Method", "Descriptor", "Applet", "Import", "Header")))
	want := "\x01\x02\x0A\x0B\x00\xFF(Header)(Import)(Applet)(Method)"
	if got := s.Acts[1][0].Steps[1].Body[0].Bytes; string(got) != want {
		t.Errorf("%q, want %q", got, want)
	}
	parts := folderWith(with(10, "80E28800 <@b.bin[1+2] {PUB} @b.bin[4+] @a.hex[0+1]> 00 (9000)"), "b.bin", "0123456", "a.hex", "AA BB")
	if got := segmentText(compileIn(t, parts).Acts[1][0].Steps[1].Body); got != "3132{PUB}343536AA" {
		t.Errorf("parts: %s", got)
	}
	for _, bad := range []string{"no archive", capFile(t, "Applet")} {
		if b, err := loadFile([]byte(bad), 100); err == nil {
			t.Errorf("%q taken for a CAP file", b)
		}
	}
	if _, err := loadFile([]byte(capFile(t, "Header", "Method")), 12); !errors.Is(err, errCAPSize) {
		t.Errorf("too large: %v", err)
	}
}

func TestDeclarations(t *testing.T) {
	t.Parallel()
	src := with(8, ".DEFINE DOMAIN <0000 <{AID}> 000000>\n.VAR MY.KEY 32 SECRET\n.VAR PUB 2\n.SECTION one REDO=safe DONE=p.a[E000]")
	src = strings.Replace(src, "<0000 <{AID}> 000000>", "<{DOMAIN}>", 2)
	src = strings.Replace(src, ".DEFINE DOMAIN <{DOMAIN}>", ".DEFINE DOMAIN <0000 <{AID}> 000000>", 1)
	src = strings.Replace(src, "<42 <01>>", "<42 <01> {dek:MY.KEY} {PUB}>", 1)
	s := mustCompile(t, src, smallCatalogue())
	steps := s.Acts[1][0].Steps
	if got := segmentText(steps[0].Body); got != "000010{AID}000000" {
		t.Errorf("defined: %s", got)
	}
	if got := segmentText(steps[1].Body); got != "007025420101{dek:MY.KEY}{PUB}" {
		t.Errorf("declared: %s", got)
	}
	vars := smallCatalogue()
	mustCompile(t, src, vars)
	if _, leaked := vars["MY.KEY"]; leaked {
		t.Error("the caller's catalogue was changed")
	}
	_, err := Compile([]byte(strings.Replace(src, "{dek:MY.KEY}", "{MY.KEY}", 1)), smallCatalogue())
	var faults Faults
	if !errors.As(err, &faults) || faults[0].Rule != RuleSecret {
		t.Errorf("secret in the open: %v", err)
	}
}

// TestChannels: a second channel begins an act, and allows secure commands again; the power may be cycled before it.
func TestChannels(t *testing.T) {
	t.Parallel()
	src := with(11, `.POWER [3B9F XX*2]
.CHANNEL SCP03 KVN=30 LEVEL=11
more: 80E62000 <0000 <{AID}> 000000> 00 (9000)
.PHASE verify`)
	s := mustCompile(t, src, smallCatalogue())
	if len(s.Channels) != 2 || s.Channels[1] != (Channel{Act: 2, Protocol: SCP03, KVN: 0x30, Level: 0x11}) {
		t.Fatalf("channels %+v", s.Channels)
	}
	if s.Channel(-1) != nil || s.Channel(1).Level != 0x33 || s.Channel(2).Level != 0x11 {
		t.Error("channels of acts")
	}
	power := s.Acts[1][0].Steps[2]
	if power.Kind != KindPower || power.Secure || power.Check([]byte{0x3B, 0x9F, 1, 2}, apdu.SWOK, nil) != nil || power.Check([]byte{0x3B, 0x9E, 1, 2}, apdu.SWOK, nil) == nil {
		t.Errorf("power cycle %+v", power)
	}
	if back, err := Decode(s.Encode()); err != nil || listing(back) != listing(s) {
		t.Errorf("decoding: %v", err)
	}
	s.Channels[1].Act = 5
	if _, err := Decode(s.Encode()); err == nil {
		t.Error("a channel of no act was accepted")
	}
}

// TestAnswers: bytes of a probe's answer go into a later command, and must be there.
func TestAnswers(t *testing.T) {
	t.Parallel()
	src := with(10, "80E28800 <{p.a[2+3]} {p.a[0+1]}> 00 [{p.a[4+1]}] (9000)")
	s := mustCompile(t, src, smallCatalogue())
	if uses := s.Variables(); !slices.Contains(uses, Use{Act: 1, Name: "p.a", Form: Answer}) {
		t.Errorf("uses %v", uses)
	}
	answers := answerBinder{"p.a": []byte("abcdefg"), "AID": make([]byte, 16)}
	commands, err := s.Render(1, none(s, 1), answers)
	if err != nil || string(commands[1].APDU.Data) != "cdea" {
		t.Fatalf("%v, %v", commands, err)
	}
	if err := commands[1].Step.Check([]byte("e"), apdu.SWOK, answers); err != nil {
		t.Error(err)
	}
	for wrong, want := range map[int]error{0: ErrShortAnswer, 4: ErrShortAnswer, apdu.MaxLe + 1: ErrVariable} {
		answers["p.a"] = make([]byte, wrong)
		if _, err := s.Render(1, none(s, 1), answers); !errors.Is(err, want) {
			t.Errorf("answer of %d bytes: %v", wrong, err)
		}
	}
}

// answerBinder gives values whatever the form.
type answerBinder map[string][]byte

func (b answerBinder) Bind(dst []byte, _ Form, name string) ([]byte, error) {
	return append(dst, b[name]...), nil
}
