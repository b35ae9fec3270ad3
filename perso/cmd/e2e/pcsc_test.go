package e2e

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/persoline/persoline/hsm/hsmtest"
	"github.com/persoline/persoline/lineside/vpcd"
)

// TestLotThroughPCSC programs a lot through readers of pcscd, and has OpenSC's tool ask every finished chip who it is.
func TestLotThroughPCSC(t *testing.T) {
	t.Parallel()
	hsmtest.RequireSoftHSM(t)
	requirePCSCD(t)
	requireTool(t, "opensc-tool")
	f := newFactory(t)
	const lot = 20
	f.demo(t, filepath.Join(f.repo, "deploy", "samples", "orders", "small-20.json"), "--transport", "pcsc", "--seed", "1")
	if log := readFile(t, f.site.Dir+"/log/farm.log"); !bytes.Contains(log, []byte("under PC/SC readers")) {
		t.Fatalf("the chips were not made through readers\n%s", log)
	}
	good := f.good()
	if len(good) != lot {
		t.Fatalf("%d chips in the good bin, want %d", len(good), lot)
	}
	for _, c := range good {
		f.byOpenSC(t, c)
	}
	f.byEngineer(t, good[0])
}

// byEngineer looks at a chip with the program's own commands.
func (f *factory) byEngineer(t *testing.T, c chip) {
	t.Helper()
	at := f.examine(t, c)
	r := f.perso(t, "--json", "readers", "--pcscd", at.Socket)
	var listed struct {
		Readers []struct{ Name, State, ATR, Protocol string }
	}
	if err := json.Unmarshal([]byte(r.out), &listed); err != nil || r.code != 0 {
		t.Fatalf("readers: exit %d, %v: %s%s", r.code, err, r.out, r.err)
	}
	found := false
	for _, l := range listed.Readers {
		if l.Name != at.Reader && (l.State != "empty" || l.ATR != "" || l.Protocol != "") {
			t.Errorf("a reader whose chips are all in their bins: %+v", l)
		}
		found = found || l.Name == at.Reader && l.ATR == at.ATR && l.Protocol == "T=0" && l.State == "chip"
	}
	if !found {
		t.Errorf("reader %+v is not among %+v", at, listed)
	}
	r = f.perso(t, "--json", "apdu", "--pcscd", at.Socket, "--reader", at.Reader, selectECASD, getEID)
	var said struct {
		Exchanges []struct{ Command, Answer string }
	}
	if err := json.Unmarshal([]byte(r.out), &said); err != nil || r.code != 0 || len(said.Exchanges) != 2 || said.Exchanges[1].Answer != "5a10"+c.eid+"9000" {
		t.Errorf("apdu: exit %d, %v: %s%s", r.code, err, r.out, r.err)
	}
	if r = f.perso(t, "apdu", "--pcscd", at.Socket, "--reader", "none", getEID); r.code != 1 || !strings.Contains(r.err, "perso readers") {
		t.Errorf("a reader that is not there: exit %d, %s", r.code, r.err)
	}
	if r = f.perso(t, "readers", "--pcscd", f.cwd+"/nothing"); r.code != 1 || !strings.Contains(r.err, "--pcscd") {
		t.Errorf("a pcscd that is not there: exit %d, %s", r.code, r.err)
	}
}

// examined is where a chip lies to be looked at.
type examined struct {
	Reader string `json:"reader"`
	Socket string `json:"pcscd_socket"`
	ATR    string `json:"atr"`
}

func (f *factory) examine(t *testing.T, c chip) (at examined) {
	t.Helper()
	r := f.at(t, "--json", "chip", "examine", c.Chip.String())
	if err := json.Unmarshal([]byte(r.out), &at); err != nil || r.code != 0 {
		t.Fatalf("chip %s does not come into the test reader: exit %d, %v: %s", c.Chip, r.code, err, r.err)
	}
	return at
}

// byOpenSC compares what OpenSC's tool reads with what the chip says in the farm's own reader.
func (f *factory) byOpenSC(t *testing.T, c chip) {
	t.Helper()
	at := f.examine(t, c)
	if got := strings.ReplaceAll(strings.TrimSpace(opensc(t, at.Socket, "--reader", at.Reader, "--atr")), ":", ""); !strings.EqualFold(got, at.ATR) || len(got) < 20 {
		t.Errorf("chip %s: ATR %q, the line was told %q", c.Chip, got, at.ATR)
	}
	var args []string
	for _, command := range []string{selectMF, selectICCID, readICCID, selectECASD, getEID, "00A4040000", "80CA9F7F00"} {
		args = append(args, "--send-apdu", command)
	}
	out := opensc(t, at.Socket, append([]string{"--reader", at.Reader, "--card-driver", "default"}, args...)...)
	answers := openscAnswers(t, out)
	if len(answers) != 7 {
		t.Fatalf("chip %s: OpenSC got %d answers\n%s", c.Chip, len(answers), out)
	}
	if iccid := strings.TrimRight(swapped(answers[2]), "f"); iccid != c.iccid || len(iccid) < 18 {
		t.Errorf("chip %s: OpenSC reads ICCID %s, the chip said %s", c.Chip, iccid, c.iccid)
	}
	if eid := hex.EncodeToString(bytes.TrimPrefix(answers[4], []byte{tagEID, 16})); eid != c.eid {
		t.Errorf("chip %s: OpenSC reads EID %s, the chip said %s", c.Chip, eid, c.eid)
	}
	cplc := bytes.TrimPrefix(answers[6], []byte{0x9F, 0x7F, 42})
	if len(cplc) != 42 || hex.EncodeToString(cplc[:4])+hex.EncodeToString(cplc[16:18])+hex.EncodeToString(cplc[12:16]) != c.Chip.String() {
		t.Errorf("chip %s: OpenSC reads CPLC %X", c.Chip, cplc)
	}
}

func opensc(t *testing.T, socket string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "opensc-tool", args...)
	cmd.Env = append(os.Environ(), "PCSCLITE_CSOCK_NAME="+socket)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("opensc-tool %q: %v\n%s", args, err, out)
	}
	return string(out)
}

// openscAnswers reads the data of answers out of the tool's talk: hex of up to 16 bytes a line, text behind it. Every command
// must have been answered 9000.
func openscAnswers(t *testing.T, out string) (answers [][]byte) {
	t.Helper()
	line := regexp.MustCompile(`^((?:[0-9A-F]{2} ){1,16})`)
	for _, part := range strings.Split(out, "Sending: ")[1:] {
		_, part, _ = strings.Cut(part, "\n")
		head, body, _ := strings.Cut(part, "\n")
		if !strings.HasPrefix(head, "Received (SW1=0x90, SW2=0x00)") {
			t.Fatalf("OpenSC got %q", head)
		}
		var data []byte
		for _, l := range strings.Split(body, "\n") {
			const hexChars = 3 * 16
			if m := line.FindString(l[:min(len(l), hexChars)]); m != "" {
				data = append(data, unhex(t, strings.ReplaceAll(m, " ", ""))...)
			}
		}
		answers = append(answers, data)
	}
	return answers
}

// requirePCSCD skips where no pcscd with virtual readers can be started, or fails when PERSO_TEST_REQUIRE names it.
func requirePCSCD(t *testing.T) {
	t.Helper()
	if err := vpcd.Startable(); err != nil {
		missing(t, "pcscd", err.Error())
	}
}
