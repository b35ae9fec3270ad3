package chipfarm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/persoline/persoline/lineside/card"
	"github.com/persoline/persoline/lineside/cardsim"
	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/aka"
	"github.com/persoline/persoline/perso/apdu"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/scp"
	"github.com/persoline/persoline/perso/script"
	"github.com/persoline/persoline/perso/tlv"
)

const (
	smsrAddrBytes = 40
	certBytes     = 200
)

// productScript compiles the script that is shipped.
func productScript(t testing.TB) *script.Script {
	t.Helper()
	src, err := os.ReadFile(filepath.Join("..", "..", "perso", "script", "testdata", "m2m-200s.script"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := script.Compile(src, script.StandardCatalogue(smsrAddrBytes, certBytes))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// claim is what one chip is to become, and what is on record about it; it stands for vault and ledger.
type claim struct {
	script *script.Script
	values map[string][]byte
	point  []byte // of the certificate on record
	host   *scp.Host
	probes map[string][]byte
}

func newClaim(t testing.TB, s *script.Script, n int) *claim {
	c := &claim{script: s, values: map[string][]byte{}}
	for name, v := range script.StandardCatalogue(smsrAddrBytes, certBytes) {
		c.values[name] = bytes.Repeat([]byte{byte(len(name)) ^ name[len(name)-1] ^ byte(n)}, v.Len)
	}
	const sgp02 = "A0000005591010FFFFFFFF89"
	for name, aid := range map[string]string{"ISD": "A000000151000000", "ISDR": sgp02 + "00000100", "ECASD": sgp02 + "00000200", "LOADFILE": sgp02 + "00000D00",
		"MODULE": sgp02 + "00000E00", "ISDP": sgp02 + "00001000", "USIM": "A0000000871002FF86FF0389FFFFFFFF"} {
		c.values["AID."+name] = unhex(aid)
	}
	c.values["PINSET1"], c.values["PINSET2"] = []byte("0000\xFF\xFF\xFF\xFF12345678"), []byte("1111\xFF\xFF\xFF\xFF87654321")
	c.values["AKA"] = []byte{1}
	c.values["ADMSET"] = []byte("abcdefgh\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF")
	check := scp.CMAC(c.values["KI"], c.values["PINSET1"], c.values["PINSET2"], c.values["ADMSET"])
	c.values["PINCHECK"] = check[:8]
	m, err := aka.New(c.values["KI"], c.values["OPC"])
	if err != nil {
		t.Fatal(err)
	}
	autn := m.BuildAUTN(aka.Rand(c.values["AUTH.RAND"]), aka.SQN{}, aka.AMF{})
	c.values["AUTH.AUTN"] = autn[:]
	return c
}

// Bind gives a value in the form that a step wants.
func (c *claim) Bind(dst []byte, form script.Form, name string) ([]byte, error) {
	value := c.values[name]
	switch form {
	case script.DEK:
		enc, err := c.host.EncryptDEK(value)
		return append(dst, enc...), err
	case script.KCV:
		kcv := scp.KCV(value)
		return append(dst, kcv[:]...), nil
	}
	return append(dst, value...), nil
}

// certify puts the certificate for a public key on record.
func (c *claim) certify(point []byte) {
	c.point = bytes.Clone(point)
	key := tlv.Encode(0x7F49, tlv.Encode(0xB0, point), tlv.Encode(0xF0, []byte{0}))
	const header = 3 // 5F37 and a length
	c.values["CERT"] = slices.Concat(key, tlv.Encode(0x5F37, make([]byte, certBytes-len(key)-header-1)))
	if n := certBytes - len(c.values["CERT"]); n != 0 {
		c.values["CERT"] = slices.Concat(key, tlv.Encode(0x5F37, make([]byte, certBytes-len(key)-header-1+n)))
	}
}

// line is what a claim needs of a machine.
type line interface {
	Contact(ctx context.Context, head uint16) ([]byte, error)
	Transmit(ctx context.Context, head uint16, apdu []byte) ([]byte, error)
	Play(ctx context.Context, head uint16, window []bus.Play) ([][]byte, error)
}

// present takes the chip under the head through the script once. A lost contact is card.ErrMute.
func (c *claim) present(ctx context.Context, client line, head uint16) error {
	c.probes = map[string][]byte{}
	if atr, err := client.Contact(ctx, head); err != nil || len(atr) == 0 {
		return errors.Join(err, card.ErrMute)
	}
	identify := c.script.IdentifyWindow()
	plays := make([]bus.Play, len(identify))
	for i, p := range identify {
		plays[i] = bus.Play(p)
	}
	if _, err := client.Play(ctx, head, plays); err != nil {
		return err
	}
	challenge := unhex("0011223344556677")
	resp, err := client.Transmit(ctx, head, scp.InitUpdateCommand(0, challenge).Bytes())
	if err != nil {
		return err
	}
	iu, err := scp.ParseInitUpdate(resp[:len(resp)-2])
	if err != nil {
		return err
	}
	keys := scp.StaticKeys{ENC: c.values["ISD.ENC"], MAC: c.values["ISD.MAC"], DEK: c.values["ISD.DEK"]}
	if iu.KVN == 0xFF {
		if keys, err = scp.DiversifyKDF3(masterKey(), iu.KDD); err != nil {
			return err
		}
	}
	if c.host, err = scp.OpenHost(keys, challenge, iu); err != nil {
		return err
	}
	for act := range c.script.Acts {
		if err := c.play(ctx, client, head, act); err != nil {
			return fmt.Errorf("act %d: %w", act, err)
		}
	}
	return nil
}

// play renders an act, plays it and checks every answer.
func (c *claim) play(ctx context.Context, client line, head uint16, act int) error {
	skip, err := c.script.Skip(act, c.probes, map[string]bool{"ecka": c.point == nil || !bytes.Contains(c.probes["p.eca"], c.point), "stamp": true}, c)
	if err != nil {
		return err
	}
	commands, err := c.script.Render(act, skip, c)
	if err != nil {
		return err
	}
	var window []bus.Play
	if act == 0 {
		auth, err := c.host.ExternalAuthenticate(scp.LevelAll)
		if err != nil {
			return err
		}
		window = append(window, bus.Play{APDU: auth, SW: "9000"})
	}
	marks := make([]scp.Mark, len(commands))
	for i, cmd := range commands {
		raw := cmd.APDU.Bytes()
		if cmd.Step.Secure {
			if raw, marks[i], err = c.host.Wrap(cmd.APDU); err != nil {
				return err
			}
		}
		window = append(window, bus.Play{APDU: raw, SW: cmd.Step.SW.String()})
	}
	responses, err := client.Play(ctx, head, window)
	if err != nil {
		return err
	}
	responses = responses[len(window)-len(commands):]
	for i, resp := range responses {
		if err := c.check(commands[i].Step, marks[i], resp); err != nil {
			return err
		}
	}
	if len(responses) != len(commands) {
		return fmt.Errorf("%d of %d commands were answered", len(responses), len(commands))
	}
	return nil
}

func (c *claim) check(step *script.Step, mark scp.Mark, resp []byte) error {
	data, sw, err := apdu.SWOf(resp)
	if step.Secure {
		if data, sw, err = c.host.UnwrapAt(mark, resp); errors.Is(err, scp.ErrUnprotected) && step.SW.Match(sw) {
			err = nil
		}
	}
	if err != nil {
		return fmt.Errorf("step %q: %w", step.Label, err)
	}
	if err := step.Check(data, sw, c); err != nil {
		return err
	}
	switch step.Purpose {
	case script.PurposeProbe:
		c.probes[step.Label] = bytes.Clone(data)
	case script.PurposeECKA:
		point, _, err := tlv.FindPath(data, 0x7F49, 0xB0)
		c.certify(point)
		return err
	case script.PurposeAUTS:
		m, err := aka.New(c.values["KI"], c.values["OPC"])
		if err == nil {
			_, err = m.VerifyAUTS(aka.Rand(c.values["AUTH.RAND"]), aka.AUTS(data[2:]))
		}
		return err
	case script.PurposeReopen:
		iu, err := scp.ParseInitUpdate(data)
		if err != nil {
			return err
		}
		return scp.VerifyCard(scp.StaticKeys{ENC: c.values["ISD.ENC"], MAC: c.values["ISD.MAC"], DEK: c.values["ISD.DEK"]}, c.values["CHALLENGE2"], iu)
	}
	return nil
}

// scriptAPDUs is what a chip gets at its first presentation: identify, INITIALIZE UPDATE, EXTERNAL AUTHENTICATE, acts.
func scriptAPDUs(s *script.Script) int {
	n := len(s.Identify) + 2
	for _, act := range s.Acts {
		for _, section := range act {
			n += len(section.Steps)
		}
	}
	return n
}

// TestProductScript makes one chip without a fault, and one for each command at which contact can be lost, before and
// after it took effect; the same chip is contacted again, and the script goes on with what it finds.
func TestProductScript(t *testing.T) {
	t.Parallel()
	s := productScript(t)
	n := scriptAPDUs(s)
	var faults []FaultSpec
	for at := 1; at <= n; at++ {
		for i, kind := range []cardsim.FaultKind{cardsim.FaultTearBefore, cardsim.FaultTearAfter} {
			faults = append(faults, FaultSpec{Kind: kind, Chips: []uint32{uint32(2*at + i - 1)}, APDU: uint32(at)})
		}
	}
	c, ctx := serve(t, testSpec(uint32(1+2*n), faults...)).client(), t.Context()
	for chip := range 1 + 2*n {
		if loaded, err := c.Load(ctx, 0); err != nil || !loaded {
			t.Fatal(loaded, err)
		}
		claim := newClaim(t, s, chip)
		err := claim.present(ctx, c, 0)
		if torn := chip > 0; torn != errors.Is(err, card.ErrMute) || !torn && err != nil {
			t.Fatalf("chip %d: %v", chip, err)
		}
		if err != nil {
			if err := claim.present(ctx, c, 0); err != nil {
				t.Fatalf("chip %d, torn at command %d: %v", chip, (chip+1)/2, err)
			}
		}
		if err := c.Bin(ctx, 0, perso.BinGood); err != nil {
			t.Fatal(err)
		}
		responses, err := c.Inspect(ctx, Ref{Index: uint32(chip)}, [][]byte{unhex("00A4040010A0000005591010FFFFFFFF890000020000"), unhex("80CA005A00")})
		if err != nil || !bytes.Equal(responses[1], slices.Concat(unhex("5A10"), claim.values["EID"], unhex("9000"))) {
			t.Fatalf("chip %d: %X, %v", chip, responses, err)
		}
	}
}

// BenchmarkProductScript is a whole chip through the socket, the host's cryptography included.
func BenchmarkProductScript(b *testing.B) {
	s := productScript(b)
	c, ctx := serve(b, testSpec(MaxChips)).client(), b.Context()
	for b.Loop() {
		if loaded, err := c.Load(ctx, 0); err != nil || !loaded {
			b.Fatal(loaded, err)
		}
		if err := newClaim(b, s, 0).present(ctx, c, 0); err != nil {
			b.Fatal(err)
		}
		if err := c.Bin(ctx, 0, perso.BinGood); err != nil {
			b.Fatal(err)
		}
	}
}
