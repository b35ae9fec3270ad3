package cardsim

import (
	"bytes"
	"encoding/binary"

	"github.com/persoline/persoline/perso/aka"
	"github.com/persoline/persoline/perso/apdu"
	"github.com/persoline/persoline/perso/order/auth"
	"github.com/persoline/persoline/perso/tlv"
)

// P2 of AUTHENTICATE, and the data of each context (TS 31.102 §7.1.2).
const (
	contextGSM   = 0x80
	context3G    = 0x81
	randBytes    = 16
	bytesOfGSM   = 1 + randBytes
	bytesOf3G    = 2 * (1 + randBytes)
	fileUST      = 0x6F38
	serviceOfGSM = 38 // GSM security context
)

// subscription is what an application authenticates with.
type subscription struct {
	how    []byte // parameters of the algorithm (auth.Algorithm), or testAlgorithm alone
	k, opc []byte
	policy aka.SQNPolicy
	sqn    cell
	first  []byte // sequence numbers of a new card; nil: all zero
}

// testAlgorithm is the algorithm of TS 34.108 §8.1.2.1, which test profiles have.
const testAlgorithm = 0x03

// subscription finds the keys of the application that is selected.
func (c *Chip) subscription() (s subscription, ok bool) {
	d := c.profile()
	adf, t := 0, c.telecom()
	switch {
	case t != nil:
		if adf = t.sys.Application(t.at); adf == 0 {
			return s, false
		}
		if s, ok = c.akaOf(d, adf); ok {
			return s, true
		}
	case c.v.app != appUSIM || c.v.sd != d:
		return s, false
	}
	k, hasK := c.mem.get(cellOf(d, kindData, cellKi))
	opc, hasOPc := c.mem.get(cellOf(d, kindData, cellOPc))
	return subscription{how: c.akaParameters(d), k: k, opc: opc, policy: aka.DefaultSQNPolicy(), sqn: cellOf(d, kindSQN, 0)}, hasK && hasOPc
}

// The cell of an application's authentication: akaShared and the number of the ADF whose parameters it has, or akaOwn, the
// checks of the sequence number with their limits (6 bytes each), then parameters, K and OPc, each with a length before it.
const (
	akaOwn      = 0x01
	akaShared   = 0x02
	akaLimits   = 2 + 6 + 6
	maxAKABytes = akaLimits + 1 + 86 + 1 + 32 + 1 + 32 + aka.SQNArrayBytes

	// Bits of the sequence number options (own: the specification's coding is not public).
	checkJump = 0x02
	checkAge  = 0x04
)

// bytes is the cell.
func (s subscription) bytes() []byte {
	checks := byte(0)
	if s.policy.Delta != 0 {
		checks |= checkJump
	}
	if s.policy.AgeLimit != 0 {
		checks |= checkAge
	}
	delta, age := aka.SQNOf(s.policy.Delta), aka.SQNOf(s.policy.AgeLimit)
	b := append(append([]byte{akaOwn, checks}, delta[:]...), age[:]...)
	for _, part := range [][]byte{s.how, s.k, s.opc} {
		b = append(append(b, byte(len(part))), part...)
	}
	return append(b, s.first...)
}

// akaOf reads the cell of an application, or of the one that it shares the parameters of.
func (c *Chip) akaOf(d domain, adf int) (s subscription, ok bool) {
	b, ok := c.mem.get(cellOf(d, kindAKA, uint16(adf)))
	if ok && b[0] == akaShared && len(b) == 3 {
		adf = int(binary.BigEndian.Uint16(b[1:]))
		b, ok = c.mem.get(cellOf(d, kindAKA, uint16(adf)))
	}
	if !ok || b[0] != akaOwn || len(b) < akaLimits {
		return s, false
	}
	if b[1]&checkJump != 0 {
		s.policy.Delta = aka.SQN(b[2:8]).Uint64()
	}
	if b[1]&checkAge != 0 {
		s.policy.AgeLimit = aka.SQN(b[8:14]).Uint64()
	}
	b = b[akaLimits:]
	for _, part := range []*[]byte{&s.how, &s.k, &s.opc} {
		if len(b) == 0 || int(b[0]) > len(b)-1 {
			return s, false
		}
		*part, b = b[1:1+int(b[0])], b[1+int(b[0]):]
	}
	if len(b) > 0 {
		s.first = b
	}
	s.sqn = cellOf(d, kindSQN, uint16(adf))
	return s, true
}

// card makes the chip's side of the algorithm.
func (s subscription) card() (auth.Card, error) {
	if s.isTest() {
		x, err := aka.NewXOR(s.k)
		return xorCard{x}, err
	}
	a, err := s.algorithm()
	if err != nil {
		return nil, err
	}
	return a.Card(s.k, s.opc)
}

func (s subscription) isTest() bool { return len(s.how) == 1 && s.how[0] == testAlgorithm }

func (s subscription) algorithm() (auth.Algorithm, error) {
	a, rest, err := auth.ParseParameters(s.how)
	if err == nil && len(rest) != 0 {
		err = ErrJournal
	}
	return a, err
}

// xorCard is the test algorithm.
type xorCard struct{ *aka.XOR }

func (x xorCard) Authenticate(rand aka.Rand, autn aka.AUTN, fresh aka.Freshness) (auth.Answer, error) {
	a, err := x.XOR.Authenticate(rand, autn, fresh)
	out := auth.Answer{Resync: a.Resync, AUTS: a.AUTS, Keys: a.Keys}
	if err == nil && !a.Resync {
		if kc, err := a.Keys.Kc(); err == nil {
			out.Kc = kc[:]
		}
	}
	return out, err
}

// gsm is SRES and Kc. The test algorithm has a GSM part of its own; the answers of the others are converted from those of 3G
// (TS 33.102 §6.8.1.2), which a token that the chip makes itself brings out: RES, CK and IK depend on the challenge alone.
func (s subscription) gsm(card auth.Card, rand aka.Rand) (sres [4]byte, kc [8]byte, err error) {
	if x, ok := card.(xorCard); ok {
		sres, kc = x.GSM(rand)
		return sres, kc, nil
	}
	a, err := s.algorithm()
	if err != nil {
		return sres, kc, err
	}
	network, err := a.Network(s.k, s.opc)
	if err != nil {
		return sres, kc, err
	}
	defer network.Wipe()
	autn, err := network.AUTN(rand, aka.SQNOf(1<<5), aka.AMF{})
	if err != nil {
		return sres, kc, err
	}
	answer, err := card.Authenticate(rand, autn, aka.NewSQNArray(aka.DefaultSQNPolicy()))
	if err != nil {
		return sres, kc, err
	}
	defer answer.Keys.Wipe()
	defer clear(answer.Kc)
	if len(answer.Kc) != len(kc) {
		return sres, kc, aka.ErrNoGSM
	}
	sres, err = answer.Keys.SRES()
	return sres, [8]byte(answer.Kc), err
}

// authenticate is AUTHENTICATE in the 3G context or in that of GSM (TS 31.102 §7.1.2.1, §7.1.2.2).
func (c *Chip) authenticate(cmd apdu.Command) ([]byte, apdu.SW) {
	want := bytesOf3G
	if cmd.P2 == contextGSM {
		want = bytesOfGSM
	}
	switch {
	case cmd.P1 != 0 || cmd.P2 != context3G && cmd.P2 != contextGSM:
		return nil, apdu.SWWrongP1P2
	case len(cmd.Data) != want || cmd.Data[0] != randBytes || want == bytesOf3G && cmd.Data[bytesOfGSM] != randBytes:
		return nil, apdu.SWWrongLength
	}
	s, ok := c.subscription()
	switch {
	case !ok:
		return nil, apdu.SWConditions
	case !c.pin1Satisfied():
		return nil, apdu.SWSecurity
	}
	card, err := s.card()
	if err != nil {
		return nil, apdu.SWMemoryProblem
	}
	defer card.Wipe()
	rand := aka.Rand(cmd.Data[1:bytesOfGSM])
	if cmd.P2 == contextGSM {
		return c.authenticateGSM(s, card, rand)
	}
	return c.authenticate3G(s, card, rand, aka.AUTN(cmd.Data[bytesOfGSM+1:]))
}

// authenticate3G answers with the keys, or a stale sequence number with AUTS, which changes nothing.
func (c *Chip) authenticate3G(s subscription, card auth.Card, rand aka.Rand, autn aka.AUTN) ([]byte, apdu.SW) {
	fresh, saved := aka.NewSQNArray(s.policy), s.first
	if now, ok := c.mem.get(s.sqn); ok {
		saved = now
	}
	if saved != nil {
		var err error
		if fresh, err = aka.LoadSQNArray(s.policy, saved); err != nil {
			return nil, apdu.SWMemoryProblem
		}
	}
	answer, err := card.Authenticate(rand, autn, fresh)
	if err != nil {
		return nil, apdu.SWAuthMAC
	}
	if answer.Resync {
		return tlv.Encode(0xDC, answer.AUTS[:]), apdu.SWOK
	}
	return c.authenticated(s.sqn, &answer, fresh)
}

// authenticateGSM answers with SRES and Kc. Where EF.UST does not have the service, or the algorithm's keys are longer than
// the conversion takes, there is no GSM context.
func (c *Chip) authenticateGSM(s subscription, card auth.Card, rand aka.Rand) ([]byte, apdu.SW) {
	t := c.telecom()
	if t == nil || !service(t.sys.Content(t.sys.Application(t.at), fileUST), serviceOfGSM) {
		return nil, apdu.SWGSMContext
	}
	sres, kc, err := s.gsm(card, rand)
	if err != nil {
		return nil, apdu.SWGSMContext
	}
	return bytes.Join([][]byte{{byte(len(sres))}, sres[:], {byte(len(kc))}, kc[:]}, nil), apdu.SWOK
}

// service says whether a service table has a service (TS 31.102 §4.2.8).
func service(table []byte, n int) bool {
	at := (n - 1) / 8
	return at < len(table) && table[at]>>((n-1)%8)&1 == 1
}

// authenticated remembers the sequence number before the keys are told.
func (c *Chip) authenticated(at cell, answer *auth.Answer, fresh *aka.SQNArray) ([]byte, apdu.SW) {
	defer answer.Keys.Wipe()
	defer clear(answer.Kc)
	sqn, err := fresh.AppendBinary(nil)
	if err != nil {
		return nil, apdu.SWUnknown
	}
	var all changes
	all.put(at, sqn...)
	if sw := c.commit(all); !sw.OK() {
		return nil, sw
	}
	const success = 0xDB
	out := []byte{success}
	parts := [][]byte{answer.Keys.RES, answer.Keys.CK, answer.Keys.IK}
	if answer.Kc != nil {
		parts = append(parts, answer.Kc)
	}
	for _, part := range parts {
		out = append(append(out, byte(len(part))), part...)
	}
	return out, apdu.SWOK
}
