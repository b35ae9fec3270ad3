package bench

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/persoline/persoline/lineside/cardsim"
	"github.com/persoline/persoline/perso/aka"
	"github.com/persoline/persoline/perso/apdu"
	"github.com/persoline/persoline/perso/order/auth"
	"github.com/persoline/persoline/perso/scp"
	"github.com/persoline/persoline/perso/script"
	"github.com/persoline/persoline/perso/tlv"
)

// Chip is what one chip needs by itself.
type Chip struct {
	Commands   int     `json:"commands"`
	CPUMS      float64 `json:"cpu_ms"`          // of the virtual chip, without files, socket and host
	PhysicalMS float64 `json:"physical_ms"`     // a real chip's time, by cardsim's timing model
	Scale      float64 `json:"scale_for_demo"`  // at which 1,000 chips under 16 heads take demoSeconds
	Seconds    float64 `json:"seconds_at_full"` // 1,000 chips under 16 heads at scale 1
}

const (
	chipRounds  = 200
	demoUnits   = 1000
	demoHeads   = 16
	demoSeconds = 35
	// indexMS is the handler's time for one chip, as in the demo.
	indexMS = 300
	// certBytes and smsrBytes are usual lengths of what a lot brings along.
	certBytes = 200
	smsrBytes = 40
)

// player takes a chip through the product's script with made-up values, and keeps the commands.
type player struct {
	chip     *cardsim.Chip
	script   *script.Script
	values   map[string][]byte
	probes   map[string][]byte
	host     *scp.Host
	atr      []byte
	commands [][]byte
	physical time.Duration
}

// chipFloor records the commands of one personalization, then lets fresh chips of the same kind answer them again.
func chipFloor(f *Factory) (c Chip, err error) {
	text, err := fs.ReadFile(os.DirFS(f.Site.Catalogue("products")), f.product.Script)
	if err != nil {
		return c, err
	}
	s, err := script.Compile(text, script.StandardCatalogue(smsrBytes, certBytes))
	if err != nil {
		return c, err
	}
	p := &player{script: s, values: values(f), probes: map[string][]byte{}}
	if p.chip, err = freshChip(f); err != nil {
		return c, err
	}
	if err := p.personalize(); err != nil {
		return c, err
	}
	before, err := ownCPU()
	if err != nil {
		return c, err
	}
	for range chipRounds {
		chip, err := freshChip(f)
		if err != nil {
			return c, err
		}
		chip.PowerOn()
		for _, command := range p.commands {
			if answer, _ := chip.Process(command); answer == nil {
				return c, errors.New("the chip does not answer")
			}
		}
	}
	after, err := ownCPU()
	c = Chip{Commands: len(p.commands), CPUMS: milliseconds(after-before) / chipRounds, PhysicalMS: milliseconds(p.physical) + indexMS}
	c.Seconds = c.PhysicalMS / 1000 * demoUnits / demoHeads
	c.Scale = demoSeconds / c.Seconds
	return c, err
}

// freshChip is the same chip each time, its random numbers included.
func freshChip(f *Factory) (*cardsim.Chip, error) {
	atr, err := hex.DecodeString(strings.ReplaceAll(f.product.ATR.String(), "X", "0"))
	if err != nil {
		return nil, err
	}
	p := cardsim.Personality{ATR: atr, KVN: f.product.Factory.KVN}
	for i := range p.CPLC {
		p.CPLC[i] = byte(i + 1)
	}
	if p.Keys, err = scp.DiversifyKDF3(bytes.Repeat([]byte{0x42}, keyBytes), p.ChipID()); err != nil {
		return nil, err
	}
	return cardsim.New(p, &cardsim.Memory{}, rand.NewChaCha8([32]byte{1}))
}

func values(f *Factory) map[string][]byte {
	v := map[string][]byte{}
	for name, kind := range script.StandardCatalogue(smsrBytes, certBytes) {
		v[name] = bytes.Repeat([]byte{byte(len(name)) ^ name[len(name)-1]}, kind.Len)
	}
	a := f.product.AIDs
	for name, aid := range map[string]fmt.Stringer{"ISD": a.ISD, "ISDR": a.ISDR, "ECASD": a.ECASD, "LOADFILE": a.LoadFile, "MODULE": a.Module, "ISDP": a.ISDP, "USIM": a.USIM} {
		v["AID."+name], _ = hex.DecodeString(aid.String()) // the product's loader has parsed it
	}
	v["AKA"] = auth.Default().Parameters()
	v["PINSET1"], v["PINSET2"], v["ADMSET"] = []byte("0000\xFF\xFF\xFF\xFF12345678"), []byte("1111\xFF\xFF\xFF\xFF87654321"), []byte("abcdefgh\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF")
	check := scp.CMAC(v["KI"], v["PINSET1"], v["PINSET2"], v["ADMSET"])
	v["PINCHECK"] = check[:8]
	return v
}

// Bind implements script.Binder.
func (p *player) Bind(dst []byte, form script.Form, name string) ([]byte, error) {
	switch value := p.values[name]; form {
	case script.DEK:
		enc, err := p.host.EncryptDEK(value)
		return append(dst, enc...), err
	case script.KCV:
		kcv := scp.KCV(value)
		return append(dst, kcv[:]...), nil
	default:
		return append(dst, value...), nil
	}
}

// send keeps a command and adds up its time.
func (p *player) send(command []byte) ([]byte, error) {
	answer, cost := p.chip.Process(command)
	if answer == nil {
		return nil, errors.New("the chip does not answer")
	}
	p.commands = append(p.commands, command)
	p.physical += cardsim.DefaultTiming().Exchange(p.atr, cost)
	return answer, nil
}

func (p *player) personalize() error {
	m, err := aka.New(p.values["KI"], p.values["OPC"])
	if err != nil {
		return err
	}
	defer m.Wipe()
	autn := m.BuildAUTN(aka.Rand(p.values["AUTH.RAND"]), aka.SQN{}, aka.AMF{})
	p.values["AUTH.AUTN"] = autn[:]
	p.atr = p.chip.PowerOn()
	p.physical = cardsim.DefaultTiming().Reset(p.atr)
	for _, identify := range p.script.IdentifyWindow() {
		if _, err := p.send(identify.APDU); err != nil {
			return err
		}
	}
	if err := p.open(); err != nil {
		return err
	}
	for act := range p.script.Acts {
		if err := p.act(act); err != nil {
			return fmt.Errorf("act %d: %w", act, err)
		}
	}
	return nil
}

func (p *player) open() error {
	challenge := []byte{0, 1, 2, 3, 4, 5, 6, 7}
	answer, err := p.send(scp.InitUpdateCommand(0, challenge).Bytes())
	if err != nil {
		return err
	}
	data, _, err := apdu.SWOf(answer)
	if err != nil {
		return err
	}
	iu, err := scp.ParseInitUpdate(data)
	if err != nil {
		return err
	}
	keys, err := scp.DiversifyKDF3(bytes.Repeat([]byte{0x42}, keyBytes), iu.KDD)
	if err != nil {
		return err
	}
	if p.host, err = scp.OpenHost(keys, challenge, iu); err != nil {
		return err
	}
	authenticate, err := p.host.ExternalAuthenticate(scp.LevelAll)
	if err == nil {
		_, err = p.send(authenticate)
	}
	return err
}

// act renders an act, plays it, and takes in what later acts need.
func (p *player) act(n int) error {
	skip, err := p.script.Skip(n, p.probes, map[string]bool{"ecka": true, "stamp": true}, p)
	if err != nil {
		return err
	}
	commands, err := p.script.Render(n, skip, p)
	if err != nil {
		return err
	}
	raw, marks := make([][]byte, len(commands)), make([]scp.Mark, len(commands))
	for i, c := range commands {
		if raw[i] = c.APDU.Bytes(); !c.Step.Secure {
			continue
		}
		if raw[i], marks[i], err = p.host.Wrap(c.APDU); err != nil {
			return err
		}
	}
	for i, c := range commands {
		answer, err := p.send(raw[i])
		if err != nil {
			return err
		}
		if err := p.take(c.Step, marks[i], answer); err != nil {
			return fmt.Errorf("step %q: %w", c.Step.Label, err)
		}
	}
	return nil
}

func (p *player) take(step *script.Step, mark scp.Mark, answer []byte) error {
	data, sw, err := apdu.SWOf(answer)
	if step.Secure {
		if data, sw, err = p.host.UnwrapAt(mark, answer); errors.Is(err, scp.ErrUnprotected) {
			err = nil
		}
	}
	if err != nil || !step.SW.Match(sw) {
		return errors.Join(err, fmt.Errorf("status %04X", uint16(sw)))
	}
	switch step.Purpose {
	case script.PurposeProbe:
		p.probes[step.Label] = bytes.Clone(data)
	case script.PurposeECKA:
		point, _, err := tlv.FindPath(data, 0x7F49, 0xB0)
		if err != nil {
			return err
		}
		key := tlv.Encode(0x7F49, tlv.Encode(0xB0, point), tlv.Encode(0xF0, []byte{0}))
		const header = 3 // 5F37 and its length
		p.values["CERT"] = slices.Concat(key, tlv.Encode(0x5F37, make([]byte, certBytes-len(key)-header)))
	}
	return nil
}
