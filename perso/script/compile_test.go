package script

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// small is the least script that obeys every rule; its lines are replaced by the cases below, counting from 1.
const small = `.SCRIPT t 1
.CHANNEL SCP03 LEVEL=33
.PHASE identify
cplc: 80CA9F7F 00 (9000) => chip
.PHASE open
p.a: 80E29100 <5C <E0>> 00 (9000) => probe
.PHASE write
.SECTION one REDO=safe DONE=p.a[E000]
80E62000 <0000 <{AID}> 000000> 00 (9000)
80E28800 <0070 <42 <01>>> 00 (9000)
.PHASE verify
80E62000 <0000 <{AID}> 000000> 00 (9000)
80E29100 <5C <42>> 00 [42 <01>] (9000)`

func smallCatalogue() Catalogue {
	return Catalogue{VarStamp: {Len: 32}, "AID": {Len: 16}, "PUB": {Len: 2}, "LONG": {Len: 240}, "KEY": {Len: 16, Secret: true}, "ODD": {Len: 5, Secret: true}}
}

// with replaces one line (or, with n beyond the end, appends).
func with(n int, text string) string {
	lines := strings.Split(small, "\n")
	if n > len(lines) {
		return small + "\n" + text
	}
	lines[n-1] = text
	return strings.Join(lines, "\n")
}

func TestSmallCompiles(t *testing.T) {
	t.Parallel()
	s := mustCompile(t, small, smallCatalogue())
	crlf := mustCompile(t, strings.ReplaceAll(small, "\n", "  ; remark\r\n")+"\r\n", smallCatalogue())
	if s.Hash() != crlf.Hash() {
		t.Error("comments or line ends changed the compiled script")
	}
}

// faultCase is one way to be wrong: the line of small that is replaced, and the beginning of the one fault expected.
type faultCase struct {
	line int
	text string
	want string
}

func readingFaults() []faultCase {
	return []faultCase{
		{1, `.PHASE identify`, `1:1: .PHASE before .SCRIPT`},
		{1, `.SCRIPT t 0`, `1:11: version "0"`},
		{1, `.SCRIPT t 1 2`, `1:13: unexpected "2" after .SCRIPT`},
		{2, `.CHANNEL SCP01 LEVEL=33`, `2:10: channel "SCP01"`},
		{2, `.CHANNEL SCP02 LEVEL=33`, `2:1: SCP02 at level 33`},
		{2, `.CHANNEL SCP02 LEVEL=03 MODE=S16`, `2:1: SCP02 at level 03`},
		{2, `.CHANNEL SCP03 LEVEL=33 KVN=80`, `2:25: KVN=80`},
		{2, `.CHANNEL SCP03 LEVEL=33 KVN=3`, `2:25: KVN=3`},
		{6, `.CHANNEL SCP03 LEVEL=33`, `6:1: misplaced .CHANNEL`},
		{11, ".CHANNEL SCP03 LEVEL=33\n.CHANNEL SCP03 LEVEL=33\n.PHASE verify", `12:1: a second .CHANNEL in one act`},
		{2, `.CHANNEL SCP03 LEVEL=31`, `2:16: LEVEL=31`},
		{2, `.CHANNEL SCP03 MODE=S16`, `2:21: no LEVEL`},
		{2, `; no channel`, `3:1: .PHASE before .CHANNEL`},
		{3, `.PHASE write`, `3:8: phase "write" after nothing`},
		{5, `.PHASE write`, `5:8: phase "write" after "identify"`},
		{11, `.PHASE open`, `11:8: phase "open" after "write"`},
		{11, `.PHASE wirte`, `11:8: unknown phase "wirte"`},
		{4, `.SECTION x REDO=safe`, `4:1: .SECTION in phase "identify"`},
		{11, ".PHASE verify\n.SECTION x REDO=safe", `12:1: .SECTION in phase "verify"`},
		{6, `.ACT`, `6:1: .ACT in phase "open"`},
		{4, `.SECURE`, `4:1: .SECURE in phase "identify"`},
		{8, `.SECTION one`, `8:1: section "one" without REDO`},
		{8, `.SECTION one REDO=maybe`, `8:14: setting REDO=maybe`},
		{8, `.SECTION one REDO=safe DONE=p.a`, `8:29: end of line where [ was expected`},
		{9, `.WRITE`, `9:1: unknown directive ".WRITE"`},
		{9, `80E620 <00> (9000)`, `9:1: a header of 3 bytes`},
		{9, `80E62000 0 (9000)`, `9:10: "0" is not whole bytes`},
		{9, `80E6200G <00> (9000)`, `9:1: "80E6200G" is not hex`},
		{9, `80E6XX00 <00> (9000)`, `9:1: X in a command header`},
		{9, `80E62000 <0000 <{AID}> 0000XX> 00 (9000)`, `9:24: X in data to be sent`},
		{9, `80E62000 <0000 <{AID}> 000000 (9000)`, `9:31: unexpected "9000"`},
		{9, `80E62000 <> (9000)`, `9:10: empty command data`},
		{9, `80E62000 <00> 0000 (9000)`, `9:15: "0000" where Le was expected`},
		{9, `80E62000 <00> 00`, `9:15: end of line where status mask was expected`},
		{9, `80E62000 <00> 00 (900)`, `9:18: status mask "900"`},
		{9, `80E62000 <00> 00 (9000`, `9:18: "(" is not closed`},
		{9, `80E62000 <00> 00 (9000) => keep`, `9:28: unknown purpose "keep"`},
		{9, `80E62000 <00> 00 (9000) 00`, `9:25: unexpected "00" after the command`},
		{9, `80E62000 <{aid}> 00 (9000)`, `9:11: "aid" is no variable`},
		{9, `80E62000 <{NOBODY}> 00 (9000)`, `9:11: unknown variable "NOBODY"`},
		{9, `80E62000 <{raw:KEY}> 00 (9000)`, `9:11: unknown form "raw"`},
		{9, `80E62000 <{KEY}> 00 (9000)`, `9:11: a secret variable used in the open`},
		{9, `80E62000 <{dek:AID}> 00 (9000)`, `9:11: form "dek" of a variable that is no secret`},
		{9, `80E62000 <{dek:ODD}> 00 (9000)`, `9:11: variable of 5 bytes under the DEK`},
		{9, `80E62000 <00*0> 00 (9000)`, `9:11: repetition "00*0"`},
		{9, `80E62000 <` + strings.Repeat("<", 9) + strings.Repeat(">", 9) + `> 00 (9000)`, `9:19: groups nested more than 8 deep`},
		{9, `80E62000 <00> 00 (9000) é`, `9:25: unexpected character`},
		{9, `Label: 80E62000 <00> 00 (9000)`, `9:1: label "Label"`},
		{10, `.STORE MODE=tlv <00> (9000)`, `10:8: MODE=tlv`},
		{10, `.STORE <00> (9000)`, `10:8: no MODE`},
		{10, `.STORE MODE=dgi BLOCK=0 <00> (9000)`, `10:17: BLOCK=0`},
		{10, `.STORE MODE=ber BLOCK=1 <00*256 00> (9000)`, `10:25: 257 blocks, limit 256`},
		{10, `.LOAD MODE=dgi <00> (9000)`, `10:7: MODE=dgi`},
		{10, `.LOAD <@app.bin> (9000)`, `10:8: there is no folder to read "app.bin" from`},
		{10, `.INCLUDE a.inc`, `10:10: there is no folder to read "a.inc" from`},
		{10, `.INCLUDE -a`, `10:10: "-a" is no file name`},
		{10, `80E28800 <@> 00 (9000)`, `10:11: unexpected character '@'`},
		{10, `.POWER 00`, `10:8: unexpected "00" after .POWER`},
		{10, `.DEFINE PUB <00>`, `10:9: "PUB" is a variable`},
		{10, ".DEFINE NEW <00>\n.DEFINE NEW <00>", `11:9: second "NEW"`},
		{10, `.DEFINE new <00>`, `10:9: name "new"`},
		{10, `.DEFINE NEW 00`, `10:13: "00" where < was expected`},
		{10, `.VAR PUB 3`, `10:6: "PUB" is another variable of the product: 2 bytes`},
		{10, `.VAR NEW 0`, `10:6: variable "NEW" of "0" bytes`},
		{10, `.VAR NEW 1 PUBLIC`, `10:12: "PUBLIC" behind the length`},
		{10, `80E28800 <{p.a[0+0]}> 00 (9000)`, `10:11: "p.a[0+0]" is outside any answer`},
		{10, `80E28800 <{p.a[250+7]}> 00 (9000)`, `10:11: "p.a[250+7]" is outside any answer`},
		{10, `.STORE MODE=dgi <00> (9000) => probe`, `10:29: unexpected "=>"`},
		{9, "80E62000 <\\\n0000 {dek:NOBODY}> 00 (9000)", `10:6: unknown variable "NOBODY"`},
		{13, `80E29100 <5C <42>> 00 [42] (9000) \`, `13:28: the file ends in a continuation`},
	}
}

// stamped is the line of small that probes, and behind it a section of the phase open.
func stamped(redo, write string) string {
	return "p.a: 80E29100 <5C <E0>> 00 (9000) => probe\n.SECTION x REDO=" + redo + " WHEN=stamp\n80E62000 <0000 <{AID}> 000000> 00 (9000)\n" + write
}

func TestStampSection(t *testing.T) {
	t.Parallel()
	if _, ok := mustCompile(t, small, smallCatalogue()).StampSection(); ok {
		t.Error("a stamp where there is none")
	}
	s := mustCompile(t, with(6, stamped("safe", `80E28800 <0070 <DF20 <{STAMP}>>> 00 (9000)`)), smallCatalogue())
	if i, ok := s.StampSection(); !ok || i != 1 || s.Acts[0][i].Name != "x" {
		t.Errorf("stamp in section %d, %v", i, ok)
	}
	if again, err := Decode(s.Encode()); err != nil || again.Hash() != s.Hash() {
		t.Errorf("decoding it: %v", err)
	}
}

func ruleFaults() []faultCase {
	return []faultCase{
		{1, `.SCRIPT T 1`, `1:1: script "T" version 1`},
		{4, `cplc: 80CA9F7F 00 (9000)`, `4:1: identify reads no chip id`},
		{4, `cplc: 80CA9F7F <{AID}> 00 (9000) => chip`, `4:17: variable {AID} in phase identify`},
		{4, `cplc: 80D69F7F <00> 00 (9000) => chip`, `4:1: 80D69F7F changes the chip in phase "identify"`},
		{6, `p.a: 80E28800 <5C <E0>> 00 (9000) => probe`, `6:1: 80E28800 changes the chip in phase "open"`},
		{6, `id: 80E29100 <5C <E0>> 00 (9000) => chip` + "\n" + `p.a: 80CA00E0 00 (9000) => probe`, `6:1: purpose "chip" in phase "open"`},
		{6, `p.b: 80E29100 <5C <E0>> 00 (9000) => probe`, `8:29: DONE names an unknown label "p.a"`},
		{6, `p.a: 80E29100 <5C <E0>> 00 (9000)`, `8:29: DONE names "p.a", which is no probe`},
		{6, stamped("safe", "80E28800 <{STAMP}> 00 (9000)\n.SECTION y REDO=safe WHEN=z\n80E62000 <0000 <{AID}> 000000> 00 (9000)\n80E28800 <{STAMP}> 00 (9000)"),
			`7:1: section "x" in phase open is not the only one`},
		{6, stamped("never", `80E28800 <{STAMP}> 00 (9000)`), `7:1: section "x" in phase open with REDO=never`},
		{6, stamped("safe", `80E28800 <{PUB}> 00 (9000)`), `9:1: 80E28800 changes the chip in phase "open"`},
		{6, stamped("safe", `80E28800 <{STAMP}> 00 (9000|6A80)`), `9:1: 80E28800 changes the chip in phase "open"`},
		{6, stamped("safe", `80E28800 <{STAMP}{dek:KEY}> 00 (9000)`), `9:1: 80E28800 changes the chip in phase "open"`},
		{6, stamped("safe", `80D80000 <{STAMP}> 00 (9000)`), `9:1: 80D80000 changes the chip in phase "open"`},
		{6, stamped("safe", "80E28800 <{STAMP}> 00 (9000)\n80E28801 <{STAMP}> 00 (9000)"), `10:1: 80E28801 changes the chip in phase "open"`},
		{6, stamped("safe", "80E28800 <{STAMP}> 00 (9000)\np.b: 80CA00E0 00 (9000) => probe"), `10:1: purpose "probe" behind the chip's state`},
		{6, stamped("safe", "80CA00E0 00 (9000)"), `7:1: section "x" in phase open writes nothing`},
		{6, strings.Replace(stamped("safe", `80E28800 <{STAMP}> 00 (9000)`), "80E62000", "80CA0000 00 (9000) ; ", 1), `9:1: 80E28800 before this section chose`},
		{8, `.SECTION one REDO=safe DONE=late[00]` + "\n" + `late: 80CA0000 00 (9000) => probe`, `8:29: DONE names "late", which is not answered yet`},
		{8, `.SECTION one REDO=safe DONE=p.a[]`, `8:29: a condition of 0 bytes`},
		{8, `.SECTION one REDO=safe DONE=p.a[{dek:KEY}]`, `8:33: {dek:KEY} in expected data`},
		{8, `.SECTION one REDO=never`, `8:1: section "one" is never redone and cannot be found done`},
		{8, `.SECTION one REDO=delete-first`, `8:1: section "one" does not delete first`},
		{8, `.SECTION two REDO=safe` + "\n" + `.SECTION one REDO=safe`, `8:1: section "two" has no commands`},
		{9, `; no target`, `10:1: 80E28800 before this section chose its target`},
		{9, `80E62000 <0000 <{dek:KEY}{LONG}> 000000> 00 (9000)`, `9:1: command data of 264 bytes, limit 239 here`},
		{9, `84E62000 <0000 <{AID}> 000000> 00 (9000)`, `9:1: class 84 inside the channel`},
		{10, `00A40400 <{AID}> 00 (9000)`, `10:1: 00A40400 inside the channel ends the channel`},
		{10, ".PLAIN\n80D80081 <{dek:KEY}> 00 (9000)\n.SECURE", `11:11: {dek:KEY} outside the channel`},
		{10, ".PLAIN\n80D80081 <{secret:KEY}> 00 (9000)\n.SECURE", `11:11: {secret:KEY} outside the channel`},
		{10, ".PLAIN\nsel: 00A40400 <{AID}> 00 (9000)\n.SECURE", `14:1: secure command after "sel" ended the channel`},
		{10, `80E28800 <{p.b[0+1]}> 00 (9000)`, `10:11: {p.b[0+1]} names an unknown label "p.b"`},
		{6, "p.a: 80E29100 <5C <E0>> 00 (9000) => probe\n80CA00E0 <{p.a[0+1]}> 00 (9000)", `7:11: {p.a[0+1]} names "p.a", which is not answered yet`},
		{10, ".PLAIN\n80CA00E0 <{p.a[0+1]}> 00 (9000)\n.SECURE", `11:11: {p.a[0+1]} outside the channel`},
		{10, ".POWER", `12:1: secure command after "one#2" ended the channel`},
		{6, "p.a: 80E29100 <5C <E0>> 00 (9000) => probe\n.POWER", `7:1: the power is cycled in phase "open"`},
		{14, ".POWER [{PUB}]", `14:1: a variable in an answer to reset`},
		{10, `.LOAD <00> (9000)`, `10:1: 80E88000 before this section chose its target`},
		{10, ".PLAIN\n80CA0000 00 (9000) => ecka\n.SECURE", `11:1: purpose "ecka" outside the channel`},
		{10, `p.a: 80CA0000 00 (9000)`, `10:1: second label "p.a"`},
		{10, "80CA0000 00 (9000) => auts\n80CA0000 00 (9000) => auts", `11:1: second "auts"`},
		{10, ".SECTION one REDO=safe\n80CA0000 00 (9000)", `10:1: second section "one"`},
		{13, `80E29100 <5C <42>> 00 (9000)`, `1:1: no verify phase that checks anything`},
		{13, `80E29100 <5C <42>> 00 [42 <01>] (9000|6A88)`, `13:1: expected data with 2 kinds of status`},
		{13, `80E29100 <5C <42>> 00 [{LONG}] (9000)`, `13:1: expected data of 240 bytes, limit 239 here`},
		{13, `80E29100 <5C <42>> 00 [{secret:KEY}] (9000)`, `13:24: {secret:KEY} in expected data`},
		{13, `80D60000 <00> (9000)` + "\n80CA0000 00 [00] (9000)", `13:1: 80D60000 changes the chip in phase "verify"`},
		{14, strings.Repeat(".ACT\n80CA0000 00 (9000)\n", 5), `22:1: 7 acts, limit 6`},
		{14, ".ACT", `14:1: an act without commands`},
		{8, ".ACT\n.SECTION one REDO=safe", `7:1: an act without commands`},
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	for _, c := range append(readingFaults(), ruleFaults()...) {
		t.Run(c.want, func(t *testing.T) {
			t.Parallel()
			_, err := Compile([]byte(with(c.line, c.text)), smallCatalogue())
			var faults Faults
			if !errors.As(err, &faults) {
				t.Fatalf("error %v, want Faults", err)
			}
			if len(faults) != 1 || !strings.HasPrefix(faults[0].Error(), c.want) || faults[0].Hint == "" {
				t.Errorf("got\n%v\nwant one fault, with a hint\n%s", err, c.want)
			}
		})
	}
}

func TestFaultsAreAllReported(t *testing.T) {
	t.Parallel()
	src := with(9, `80E62000 <{ONE} {TWO}> 00 (9000)`)
	src = strings.Replace(src, "[42 <01>] (9000)", "[42 <01>]", 1)
	_, err := Compile([]byte(src), smallCatalogue())
	var faults Faults
	if !errors.As(err, &faults) || len(faults) != 3 {
		t.Fatalf("got\n%v\nwant three faults", err)
	}
	if !slices.IsSortedFunc(faults, func(a, b Fault) int { return a.Line - b.Line }) {
		t.Errorf("faults out of order:\n%v", err)
	}
	_, err = Compile([]byte(with(9, strings.Repeat(".NONSENSE\n", 2*MaxFaults))), smallCatalogue())
	if !errors.As(err, &faults) || len(faults) != MaxFaults+1 {
		t.Errorf("%d faults, want %d and a count", len(faults), MaxFaults)
	}
}

func TestLevels(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		channel      string
		data, answer int
	}{
		{"SCP03 LEVEL=33", 239, 239},
		{"SCP03 LEVEL=33 MODE=S16", 223, 239},
		{"SCP03 LEVEL=13", 239, 248},
		{"SCP03 LEVEL=11", 247, 248},
		{"SCP03 LEVEL=11 MODE=S16", 239, 240},
		{"SCP03 LEVEL=01 KVN=30", 247, 256},
		{"SCP03 LEVEL=03 MODE=S16", 223, 256},
		{"SCP02 LEVEL=01", 247, 256},
		{"SCP02 LEVEL=13 KVN=FF", 239, 248},
		{"ADM", 255, 256},
	} {
		s := mustCompile(t, with(2, ".CHANNEL "+c.channel), smallCatalogue())
		if ch := s.Channel(0); ch.MaxData() != c.data || ch.MaxAnswer() != c.answer {
			t.Errorf("%s: data %d, answer %d; want %d, %d", c.channel, ch.MaxData(), ch.MaxAnswer(), c.data, c.answer)
		}
	}
	raw := strings.Replace(small, "<01>>> 00", "{secret:KEY}>> 00", 1)
	mustCompile(t, raw, smallCatalogue())
	_, err := Compile([]byte(strings.Replace(raw, "LEVEL=33", "LEVEL=13", 1)), smallCatalogue())
	if err == nil || !strings.Contains(err.Error(), "{secret:KEY} at level 13") {
		t.Errorf("raw secret at level 13: %v", err)
	}
}

// TestADM: without a secure channel secrets go as they are and not under a key that nobody has; codes stay verified whatever is
// selected, but not when the power goes.
func TestADM(t *testing.T) {
	t.Parallel()
	const head, body = ".SCRIPT sim 1\n.CHANNEL ADM\n.PHASE identify\n80CA9F7F 00 (9000) => chip\n.PHASE open\n0020000A <{secret:KEY}> (9000)\n" +
		"p: 00A40004 <3F00> 00 (9000) => probe\n.SECTION stamp REDO=safe WHEN=stamp\n00DADF20 <{STAMP}> (9000)\n.PHASE write\n",
		".SECTION one REDO=safe DONE=p[8A 01 05]\n00DA8F20 <{secret:KEY} {kcv:KEY}> (9000)\n"
	const end = ".PHASE verify\nv: 80CADF26 00 [{kcv:KEY}] (9000)\n.PHASE close\n00A40404 <3F00 3F00 3F> (9000)\n80CADF20 00 (9000)\n" +
		".SECTION pin REDO=safe WHEN=pin1\n00260001 <{secret:KEY}> (9000|6985)\n"
	vars := smallCatalogue()
	vars[VarStamp] = Var{Len: 32}
	s := mustCompile(t, head+body+end, vars)
	if i, ok := s.StampSection(); !ok || s.Acts[0][i].Name != "stamp" {
		t.Error("PUT DATA of the stamp is not found")
	}
	for name, c := range map[string]struct{ src, want string }{
		"no key":        {head + strings.Replace(body, "{secret:KEY}", "{dek:KEY}", 1) + end, "without a secure channel"},
		"level":         {strings.Replace(head, "ADM", "ADM LEVEL=33", 1) + body + end, "ADM at level 33"},
		"power":         {head + body + ".POWER\n" + end, "ended the channel"},
		"secret read":   {head + body + strings.Replace(end, "{kcv:KEY}", "{secret:KEY}", 1), "a chip gives no secret back"},
		"plain secret":  {head + body + strings.Replace(end, ".PHASE close", ".PHASE close\n.PLAIN", 1), "outside the channel"},
		"close decides": {head + body + strings.Replace(end, " WHEN=pin1", "", 1), "decides nothing"},
		"verify":        {head + body + strings.Replace(end, ".PHASE verify", ".PHASE verify\n.SECTION v REDO=safe WHEN=x", 1), "sections belong to"},
	} {
		if _, err := Compile([]byte(c.src), vars); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// In a secure channel a file may be selected, an application of GlobalPlatform not.
	mustCompile(t, with(9, "00A4080C <7F10> (9000)\n80E62000 <0000 <{AID}> 000000> 00 (9000)"), smallCatalogue())
	if _, err := Compile([]byte(with(9, "00A40400 <{AID}> 00 (9000)\n80E62000 <0000 <{AID}> 000000> 00 (9000)")), smallCatalogue()); err == nil {
		t.Error("a secure SELECT of an application compiles")
	}
}

func TestDeleteFirst(t *testing.T) {
	t.Parallel()
	src := with(8, ".SECTION one REDO=delete-first\n80E40000 <4F <{AID}>> 00 (9000|6A88)")
	if s := mustCompile(t, src, smallCatalogue()); s.Acts[1][0].Redo != RedoDeleteFirst {
		t.Errorf("REDO=%s", s.Acts[1][0].Redo)
	}
}

func TestCatalogueIsChecked(t *testing.T) {
	t.Parallel()
	for name, v := range map[string]Var{"low": {Len: 1}, "NONE": {}, "HUGE": {Len: MaxVarBytes + 1}} {
		vars := smallCatalogue()
		vars[name] = v
		if _, err := Compile([]byte(small), vars); err == nil {
			t.Errorf("variable %q of %d bytes accepted", name, v.Len)
		}
	}
}

func TestLengthOctets(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		n        int
		ber, dgi string
	}{
		{0, "00", "00"},
		{0x7F, "7F", "7F"},
		{0x80, "8180", "80"},
		{0xFE, "81FE", "FE"},
		{0xFF, "81FF", "FF00FF"},
		{0x123, "820123", "FF0123"},
	} {
		if ber, dgi := fmt.Sprintf("%X", lengthBER(c.n)), fmt.Sprintf("%X", lengthDGI(c.n)); ber != c.ber || dgi != c.dgi {
			t.Errorf("length %d: BER %s, DGI %s; want %s, %s", c.n, ber, dgi, c.ber, c.dgi)
		}
	}
}

// FuzzCompile: no input panics, every fault has a place and a hint, and what compiles survives the wire.
func FuzzCompile(f *testing.F) {
	f.Add(small)
	f.Add(string(productSource(f)))
	f.Add(with(10, `.STORE MODE=dgi <0070 <d {LONG}{LONG}{LONG}>> (9000|63CX)`))
	for _, c := range append(readingFaults(), ruleFaults()...) {
		f.Add(with(c.line, c.text))
	}
	f.Add(with(8, `.SECTION a REDO=safe WHEN=b DONE=p.a[0X*3 {PUB}] & p.a[<>] | p.a[{kcv:KEY}]`))
	f.Add(everything())
	f.Add(with(9, ".INCLUDE a.inc\n.INCLUDE t.script"))
	f.Add(with(10, ".DEFINE A <@b.hex>\n80E28800 <{A} @c.cap @b.hex @b.hex[1+1] @b.hex[0+]> 00 (9000)"))
	f.Fuzz(func(t *testing.T, src string) {
		folder := folderWith(src, "a.inc", ".INCLUDE b.hex\n.PLAIN", "b.hex", "00 01", "c.cap", "PK")
		s, err := CompileFile(folder, "t.script", smallCatalogue())
		if judged, found, lintErr := Lint(folder, "t.script", smallCatalogue()); lintErr != nil || (judged != nil) != (err == nil) || judged == nil && len(found) == 0 {
			t.Fatalf("judged otherwise than compiled: %v, %v, %v", judged, found, lintErr)
		}
		if err != nil {
			var faults Faults
			if !errors.As(err, &faults) {
				t.Fatalf("error is no Faults: %v", err)
			}
			for _, fault := range faults {
				if fault.Line < 1 || fault.Col < 1 || fault.What == "" || fault.Hint == "" {
					t.Fatalf("incomplete fault %+v", fault)
				}
			}
			return
		}
		back, err := Decode(s.Encode())
		if err != nil {
			t.Fatalf("a compiled script does not decode: %v", err)
		}
		if back.Hash() != s.Hash() || listing(back) != listing(s) {
			t.Fatal("decoding changed the script")
		}
	})
}
