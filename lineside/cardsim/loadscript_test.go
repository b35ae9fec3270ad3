package cardsim

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"testing"

	"github.com/persoline/persoline/perso/apdu"
	"github.com/persoline/persoline/perso/scp"
	"github.com/persoline/persoline/perso/script"
)

// values is a vault's part of a script: public values, and secrets in the forms that a script asks for.
type values struct {
	line *line
	of   map[string][]byte
}

func (v values) Bind(dst []byte, form script.Form, name string) ([]byte, error) {
	value, ok := v.of[name]
	switch {
	case !ok:
		return nil, fmt.Errorf("no value for %s", name)
	case form == script.DEK:
		return append(dst, v.line.dek(value)...), nil
	case form == script.KCV:
		return append(dst, kcv(value)...), nil
	}
	return append(dst, value...), nil
}

// firstSession is all objects that load a package in the first session of a key set, made without the chip: its challenge
// follows from key, AID and counter.
func firstSession(t testing.TB, chip *Chip, pkg []byte) (objects [][]byte) {
	t.Helper()
	challenge := unhex("8899AABBCCDDEEFF")
	_, iu, err := scp.OpenCard(scp.CardConfig{Keys: profileKeys(), KVN: profileKVN, KDD: chip.p.ChipID(), I: Options{}.i(), AID: []byte(testISDP), Seq: 1}, challenge)
	if err != nil {
		t.Fatal(err)
	}
	host, err := scp.OpenHost(profileKeys(), challenge, iu)
	if err != nil {
		t.Fatal(err)
	}
	auth, err := host.ExternalAuthenticateTLV()
	if err != nil {
		t.Fatal(err)
	}
	objects = append(objects, scp.InitUpdateTLV(profileKVN, 1, challenge), auth)
	for len(pkg) > 0 {
		n := min(scp.MaxTLVData, len(pkg))
		sent, _, err := host.WrapTLV(pkg[:n])
		if err != nil {
			t.Fatal(err)
		}
		objects, pkg = append(objects, sent), pkg[n:]
	}
	return objects
}

// TestLoadByScript loads a package by a script, whose commands are all made beforehand.
func TestLoadByScript(t *testing.T) {
	t.Parallel()
	s, err := script.CompileFile(os.DirFS("testdata"), "load.script", script.StandardCatalogue(40, 200))
	if err != nil {
		t.Fatal(err)
	}
	nvm := &Memory{}
	l := newLine(t, newChip(t, nvm))
	if !l.open(testKeys(0x40), 0xFF, scp.LevelAll) {
		t.Fatal("lost power")
	}
	pkg, keys := profilePackage(t), profileKeys()
	objects, digest := firstSession(t, l.chip, pkg), sha256.Sum256(pkg)
	vars := values{l, map[string][]byte{
		"AID.ISDP": []byte(testISDP), "AID.LOADFILE": []byte(aidLoadFile), "AID.MODULE": []byte(aidModule),
		"ISDP.ENC": keys.ENC, "ISDP.MAC": keys.MAC, "ISDP.DEK": keys.DEK, "T.DIGEST": digest[:],
		"T.INIT": objects[0], "T.AUTH": objects[1], "T.SEG1": objects[2], "T.SEG2": objects[3], "T.SEG3": objects[4],
	}}
	for act := range s.Acts {
		commands, err := s.Render(act, make([]bool, len(s.Acts[act])), vars)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range commands {
			data, sw, _ := l.secure(c.APDU.Bytes())
			if !c.Step.SW.Match(sw) {
				t.Fatalf("%s: %X is answered %X %v", c.Step.Label, c.APDU.Bytes(), data, sw)
			}
			if c.Step.Label == "v.isdp" && !bytes.Contains(data, digest[:]) {
				t.Errorf("read back %X", data)
			}
		}
		script.Wipe(commands)
	}
	l = newLine(t, reopen(t, nvm))
	l.plain(apdu.SWOK, "00A40004022FE200")
	checkLoaded(t, l, pkg)
}
