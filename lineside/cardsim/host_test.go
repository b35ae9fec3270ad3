package cardsim

import (
	"bytes"
	"encoding/hex"
	"slices"
	"strings"
	"testing"

	"github.com/persoline/persoline/perso/apdu"
	"github.com/persoline/persoline/perso/scp"
	"github.com/persoline/persoline/perso/tlv"
)

// factoryKeys and the keys after them are test values without meaning.
func testKeys(first byte) scp.StaticKeys {
	key := func(i byte) []byte { return bytes.Repeat([]byte{first + i}, 16) }
	return scp.StaticKeys{ENC: key(0), MAC: key(1), DEK: key(2)}
}

func testPersonality(faults ...Fault) Personality {
	p := Personality{ATR: unhex("3B9F96801F878031E073FE2113674D324D3230300076"), KVN: 0xFF, Keys: testKeys(0x40), Faults: faults}
	for i := range p.CPLC {
		p.CPLC[i] = byte(i + 1)
	}
	return p
}

// counter is a reader that never gives the same scalar twice.
type counter struct{ n byte }

func (c *counter) Read(b []byte) (int, error) {
	c.n++
	for i := range b {
		b[i] = c.n
	}
	return len(b), nil
}

func newChip(t testing.TB, nvm NVM, faults ...Fault) *Chip {
	t.Helper()
	c, err := New(testPersonality(faults...), nvm, &counter{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		panic(err)
	}
	return b
}

// line is a test's way to a chip: plain commands, and a channel that the software host holds.
type line struct {
	t    testing.TB
	chip *Chip
	host *scp.Host
	sent int // commands since power on
	cost Cost
	keep *[][]byte // when set, the commands are recorded
}

func newLine(t testing.TB, c *Chip) *line {
	t.Helper()
	if len(c.PowerOn()) == 0 {
		t.Fatal("no ATR")
	}
	return &line{t: t, chip: c}
}

func (l *line) send(raw []byte) []byte {
	l.sent++
	if l.keep != nil {
		*l.keep = append(*l.keep, raw)
	}
	resp, cost := l.chip.Process(raw)
	l.cost.In, l.cost.Out = l.cost.In+cost.In, l.cost.Out+cost.Out
	l.cost.Pages, l.cost.ECC = l.cost.Pages+cost.Pages, l.cost.ECC+cost.ECC
	return resp
}

// plain sends a command given in hex and wants the status word.
func (l *line) plain(want apdu.SW, command string) []byte {
	l.t.Helper()
	return l.wants(want, l.send(unhex(command)), command)
}

func (l *line) wants(want apdu.SW, resp []byte, command string) []byte {
	l.t.Helper()
	data, sw, err := apdu.SWOf(resp)
	if err != nil || sw != want {
		l.t.Fatalf("%s: %X (%v), expected %v", command, resp, err, want)
	}
	return data
}

// open opens a channel; it reports false when the chip lost power on the way.
func (l *line) open(keys scp.StaticKeys, kvn byte, level scp.Level) bool {
	l.t.Helper()
	challenge := unhex("00112233445566778899AABBCCDDEEFF")[:l.chip.p.Options.macBytes()]
	for _, command := range [][]byte{unhex("00A4040008" + hex.EncodeToString([]byte(aidISD)) + "00"), scp.InitUpdateCommand(kvn, challenge).Bytes()} {
		resp := l.send(command)
		if resp == nil {
			return false
		}
		data := l.wants(apdu.SWOK, resp, hex.EncodeToString(command))
		if command[1] != insInitUpdate {
			continue
		}
		iu, err := scp.ParseInitUpdate(bytes.Clone(data))
		if err != nil {
			l.t.Fatal(err)
		}
		if l.host, err = scp.OpenHost(keys, challenge, iu); err != nil {
			l.t.Fatal(err)
		}
	}
	auth, err := l.host.ExternalAuthenticate(level)
	if err != nil {
		l.t.Fatal(err)
	}
	resp := l.send(auth)
	if resp != nil {
		l.wants(apdu.SWOK, resp, "EXTERNAL AUTHENTICATE")
	}
	return resp != nil
}

// secure sends a command through the channel; nil data with ok false says that the chip lost power.
func (l *line) secure(command []byte) (data []byte, sw apdu.SW, ok bool) {
	l.t.Helper()
	cmd, err := apdu.Parse(command)
	if err != nil {
		l.t.Fatalf("%X: %v", command, err)
	}
	wrapped, mark, err := l.host.Wrap(cmd)
	if err != nil {
		l.t.Fatalf("%X: %v", command, err)
	}
	resp := l.send(wrapped)
	if resp == nil {
		return nil, 0, false
	}
	data, sw, err = l.host.UnwrapAt(mark, resp)
	if err != nil && (sw.OK() || sw.Warning()) {
		l.t.Fatalf("%X: %X: %v", command, resp, err)
	}
	return data, sw, true
}

// in sends a command through the channel and wants the status word.
func (l *line) in(want apdu.SW, command string) []byte {
	l.t.Helper()
	data, sw, ok := l.secure(unhex(command))
	if !ok || sw != want {
		l.t.Fatalf("%s: %v (power %v), expected %v", command, sw, ok, want)
	}
	return data
}

// subscriber is what a test writes.
type subscriber struct {
	ki, opc, pins1, pins2, adm []byte
	isd, ota                   scp.StaticKeys
	address                    []byte
}

func testSubscriber() subscriber {
	return subscriber{
		ki: bytes.Repeat([]byte{0x11}, 16), opc: bytes.Repeat([]byte{0x22}, 16),
		pins1: []byte("1234\xFF\xFF\xFF\xFF12345678"), pins2: []byte("5678\xFF\xFF\xFF\xFF87654321"),
		adm: []byte("\x01\x02\x03\x04\x05\x06\x07\x08\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF"),
		isd: testKeys(0x70), ota: testKeys(0x60), address: bytes.Repeat([]byte{0xA3}, 300),
	}
}

// dek encrypts under the session's DEK.
func (l *line) dek(secret []byte) []byte {
	l.t.Helper()
	b, err := l.host.EncryptDEK(secret)
	if err != nil {
		l.t.Fatal(err)
	}
	return b
}

func kcv(key []byte) []byte {
	k := scp.KCV(key)
	return k[:]
}

func command(header string, data []byte) []byte {
	c := apdu.Command{CLA: unhex(header)[0], INS: unhex(header)[1], P1: unhex(header)[2], P2: unhex(header)[3], Data: data, Le: apdu.MaxLe}
	return c.Bytes()
}

func forPerso(aid string) []byte {
	return command("80E62000", slices.Concat([]byte{0, 0, byte(len(aid))}, []byte(aid), []byte{0, 0, 0}))
}

// blocks cuts data groupings into STORE DATA commands.
func blocks(data []byte) (all [][]byte) {
	const blockBytes = scp.MaxDataS8Level33
	for n := byte(0); ; n++ {
		if len(data) <= blockBytes {
			return append(all, command("80E288"+hex.EncodeToString([]byte{n}), data))
		}
		all, data = append(all, command("80E208"+hex.EncodeToString([]byte{n}), data[:blockBytes])), data[blockBytes:]
	}
}

func dgi(id uint16, value ...[]byte) []byte { return tlv.AppendDGI(nil, id, slices.Concat(value...)) }

func objects(pairs ...any) []byte {
	var out []byte
	for i := 0; i < len(pairs); i += 2 {
		out = tlv.Append(out, uint32(pairs[i].(int)), pairs[i+1].([]byte))
	}
	return dgi(dgiObjects, out)
}

func certificate(point []byte) []byte {
	return slices.Concat(tlv.Encode(0x93, make([]byte, 16)), tlv.Encode(0x5F20, make([]byte, eidBytes)),
		tlv.Encode(tagPublicKey, tlv.Encode(tagPoint, point), tlv.Encode(tagCurve, []byte{0})), tlv.Encode(tagSignature, make([]byte, 64)))
}

const testISDP = aidSGP02 + "\x00\x00\x10\x00"

// writeSteps is act 1 of the product's script: everything before the certificate.
func (l *line) writeSteps(s subscriber) (steps [][]byte) {
	add := func(all ...[]byte) { steps = append(steps, all...) }
	id := bytes.Repeat([]byte{0x89}, 16)
	add(forPerso(aidISD))
	add(blocks(objects(tagStamp, bytes.Repeat([]byte{0x5A}, stampBytes)))...)
	add(forPerso(aidECASD))
	add(blocks(objects(tagIIN, id[:4], tagCIN, id, tagEID, id))...)
	add(command("80460000", tlv.Encode(tagChallenge, make([]byte, challengeBytes))))
	add(forPerso(aidISDR))
	var keys []byte
	for i, key := range [][]byte{s.ota.ENC, s.ota.MAC, s.ota.DEK} {
		template := slices.Concat([]byte{0x95, 1, []byte{0x18, 0x14, 0x48}[i]}, unhex("800188 810110 8201"), []byte{byte(i + 1)}, unhex("830101 8403"), kcv(key))
		keys = slices.Concat(keys, dgi(dgiKeyTemplate, template), dgi(dgiKeyValue, l.dek(key)))
	}
	add(blocks(slices.Concat(keys, objects(tagIIN, id[:4], tagCIN, id), dgi(dgiAddressing, s.address)))...)
	add(command("80E60C00", slices.Concat([]byte{16}, []byte(aidLoadFile), []byte{16}, []byte(aidModule), []byte{16}, []byte(testISDP),
		[]byte("\x03"+privilegesISDP+"\x06"+profileParams+"\x00"))))
	add(forPerso(testISDP))
	var files []byte
	for _, f := range profileFiles() {
		files = slices.Concat(files, dgi(uint16(f.id), bytes.Repeat([]byte{byte(f.size)}, f.size)))
	}
	add(blocks(files)...)
	add(blocks(dgi(dgiAKA, []byte{1}, l.dek(s.ki), kcv(s.ki), l.dek(s.opc), kcv(s.opc)))...)
	add(blocks(slices.Concat(dgi(dgiPIN, []byte{refPIN1}, l.dek(s.pins1), unhex("33AA")), dgi(dgiPIN, []byte{refPIN2}, l.dek(s.pins2), unhex("33AA")),
		dgi(dgiADM, l.dek(s.adm))))...)
	return append(steps, l.putKeyCommand(0, 0x30, s.isd))
}

func (l *line) putKeyCommand(replace, kvn byte, keys scp.StaticKeys) []byte {
	l.t.Helper()
	cmd, err := scp.PutKeyCommand(l.host, replace, kvn, [][]byte{keys.ENC, keys.MAC, keys.DEK})
	if err != nil {
		l.t.Fatal(err)
	}
	return cmd.Bytes()
}

// finishSteps is act 2, once the public key is known.
func finishSteps(point []byte) (steps [][]byte) {
	steps = append(steps, forPerso(aidECASD))
	steps = append(steps, blocks(objects(tagCertificate, certificate(point)))...)
	steps = append(steps, command("80F0400F", []byte(aidECASD)), command("80F0400F", []byte(aidISDR)), command("80F08007", nil), command("80F0800F", nil))
	return steps
}

// personalize writes the whole chip, from wherever it stands; false says that it lost power on the way.
func (l *line) personalize(s subscriber) bool {
	l.t.Helper()
	var point []byte
	for _, step := range l.writeSteps(s) {
		data, sw, ok := l.secure(step)
		if !ok {
			return false
		}
		exists := step[1] == insInstall && step[2] == installAndSelect && sw == apdu.SWConditions
		if !sw.OK() && !exists {
			l.t.Fatalf("%X: %v", step, sw)
		}
		if step[1] == insGenerate {
			value, found, err := tlv.FindPath(data, tagPublicKey, tagPoint)
			if err != nil || !found {
				l.t.Fatalf("public key in %X: %v", data, err)
			}
			point = bytes.Clone(value)
		}
	}
	for _, step := range finishSteps(point) {
		_, sw, ok := l.secure(step)
		if !ok {
			return false
		}
		if !sw.OK() {
			l.t.Fatalf("%X: %v", step, sw)
		}
	}
	return true
}
