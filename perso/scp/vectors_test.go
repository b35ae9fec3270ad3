package scp

import (
	"bytes"
	"testing"

	"github.com/persoline/persoline/perso/apdu"
	"github.com/persoline/persoline/perso/reftest"
)

// recorded is one session that another implementation, or a real eUICC, has recorded.
type recorded struct {
	Name             string
	ENC, MAC, DEK    reftest.Hex
	HostChallenge    reftest.Hex `json:"host_challenge"`
	CardChallenge    reftest.Hex `json:"card_challenge"`
	SeqCounter       reftest.Hex `json:"seq_counter"`
	ChallengeAID     reftest.Hex `json:"challenge_aid"`
	SENC             reftest.Hex `json:"s_enc"`
	SMAC             reftest.Hex `json:"s_mac"`
	SRMAC            reftest.Hex `json:"s_rmac"`
	CardCryptogram   reftest.Hex `json:"card_cryptogram"`
	HostCryptogram   reftest.Hex `json:"host_cryptogram"`
	InitUpdate       reftest.Hex `json:"init_update_cmd"`
	InitUpdateAnswer reftest.Hex `json:"init_update_rsp"`
	ExtAuth          reftest.Hex `json:"ext_auth_cmd"`
	Level            reftest.Hex `json:"security_level"`
	Exchange         []struct {
		Plain, Wrapped  reftest.Hex
		AnswerProtected reftest.Hex `json:"response_protected"`
		AnswerPlain     reftest.Hex `json:"response_plain"`
	}
	// only in the third source
	AID        reftest.Hex `json:"sd_aid"`
	ExtAuthSL1 reftest.Hex `json:"ext_auth_sl1"`
	ChainAfter reftest.Hex `json:"mac_chain_after_ext_auth"`
	PlainSL3   reftest.Hex `json:"sl3_plain"`
	WrappedSL3 reftest.Hex `json:"sl3_wrapped"`
}

type reference struct {
	PySim, Samsung []recorded
	Asterix        recorded
	KDF            []struct {
		Key, Constant, Context, Output reftest.Hex
		Bits                           int `json:"l_bits"`
	}
	KCV []struct {
		Alg      string
		Key, KCV reftest.Hex
	}
	PutKey struct {
		DEK      reftest.Hex
		NewKVN   reftest.Hex   `json:"new_kvn"`
		NewKeys  []reftest.Hex `json:"new_keys"`
		APDU     reftest.Hex
		Response reftest.Hex `json:"expected_response"`
	} `json:"put_key_computed"`
}

func loadReference(t *testing.T) reference {
	t.Helper()
	var r reference
	reftest.Vectors(t, "scp03.json", &r)
	if len(r.PySim) < 9 || len(r.Samsung) < 6 || len(r.KDF) < 40 || len(r.KCV) < 4 {
		t.Fatalf("read %d, %d, %d and %d records", len(r.PySim), len(r.Samsung), len(r.KDF), len(r.KCV))
	}
	return r
}

func same(t *testing.T, what string, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Errorf("%s: got %x, want %x", what, got, want)
	}
}

func (r recorded) keys() StaticKeys { return StaticKeys{ENC: r.ENC, MAC: r.MAC, DEK: r.DEK} }

func (r recorded) level() Level { return Level(r.Level[0]) }

func mustParse(t testing.TB, b []byte) apdu.Command {
	t.Helper()
	c, err := apdu.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func withSW(data []byte) []byte { return apdu.SWOK.Append(bytes.Clone(data)) }

func TestRecordedSessions(t *testing.T) {
	t.Parallel()
	ref := loadReference(t)
	for source, sessions := range map[string][]recorded{"pysim": ref.PySim, "samsung": ref.Samsung} {
		for _, r := range sessions {
			t.Run(source+"/"+r.Name+"/host", func(t *testing.T) { t.Parallel(); replayHost(t, r) })
			t.Run(source+"/"+r.Name+"/card", func(t *testing.T) { t.Parallel(); replayCard(t, r) })
		}
	}
}

func openRecorded(t *testing.T, r recorded) *Host {
	t.Helper()
	iu, err := ParseInitUpdate(r.InitUpdateAnswer)
	if err != nil {
		t.Fatal(err)
	}
	h, err := OpenHost(r.keys(), r.HostChallenge, iu)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "S-ENC", h.s.key(0), r.SENC)
	same(t, "S-MAC", h.s.key(1), r.SMAC)
	same(t, "S-RMAC", h.s.key(2), r.SRMAC)
	same(t, "host cryptogram", h.hostProof[:h.s.macBytes], r.HostCryptogram)
	if err := VerifyCard(r.keys(), r.HostChallenge, iu); err != nil {
		t.Error(err)
	}
	return h
}

func replayHost(t *testing.T, r recorded) {
	same(t, "INITIALIZE UPDATE", InitUpdateCommand(r.InitUpdate[2], r.HostChallenge).Bytes(), r.InitUpdate)
	h := openRecorded(t, r)
	ext, err := h.ExternalAuthenticate(r.level())
	if err != nil {
		t.Fatal(err)
	}
	same(t, "EXTERNAL AUTHENTICATE", ext, r.ExtAuth)
	for i, x := range r.Exchange {
		rebuilt := openRecorded(t, r)
		if err := rebuilt.Resume(r.level(), h.Mark()); err != nil {
			t.Fatal(err)
		}
		wrapped, mark, err := h.Wrap(mustParse(t, x.Plain))
		if err != nil {
			t.Fatal(err)
		}
		same(t, "wrapped", wrapped, x.Wrapped)
		again, markAgain, err := rebuilt.Wrap(mustParse(t, x.Plain))
		if err != nil || markAgain != mark {
			t.Fatalf("resumed before command %d: mark differs, %v", i, err)
		}
		same(t, "wrapped by a resumed host", again, x.Wrapped)
		if len(x.AnswerProtected) == 0 {
			continue
		}
		for name, end := range map[string]*Host{"host": h, "resumed host": rebuilt} {
			data, sw, err := end.UnwrapAt(mark, withSW(x.AnswerProtected))
			if err != nil || sw != apdu.SWOK {
				t.Fatalf("%s: %v, %v", name, sw, err)
			}
			same(t, "answer by "+name, data, x.AnswerPlain)
		}
	}
}

func replayCard(t *testing.T, r recorded) {
	known, err := ParseInitUpdate(r.InitUpdateAnswer)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "parsed and written", known.Append(nil), r.InitUpdateAnswer)
	cfg := CardConfig{Keys: r.keys(), KVN: known.KVN, KDD: known.KDD, I: known.I, AID: r.ChallengeAID, Seq: known.Seq}
	c, iu, err := openCard(cfg, r.HostChallenge, r.CardChallenge)
	if len(r.ChallengeAID) > 0 { // the card's own way to its challenge
		c, iu, err = OpenCard(cfg, r.HostChallenge)
	}
	if err != nil {
		t.Fatal(err)
	}
	same(t, "answer to INITIALIZE UPDATE", iu.Append(nil), r.InitUpdateAnswer)
	if err := c.ExternalAuthenticate(mustParse(t, r.ExtAuth)); err != nil {
		t.Fatal(err)
	}
	same(t, "answer to EXTERNAL AUTHENTICATE", c.Wrap(nil, apdu.SWOK), []byte{0x90, 0x00})
	for _, x := range r.Exchange {
		plain, err := c.Unwrap(mustParse(t, x.Wrapped))
		if err != nil {
			t.Fatal(err)
		}
		same(t, "plain", plain.Bytes(), x.Plain)
		// Some recorded answers carry a block of padding too many: the host reads them, our card does not
		// write them.
		if n := len(x.AnswerProtected); n > 0 && n <= padded(len(x.AnswerPlain))+len(r.CardChallenge) {
			same(t, "answer", c.Wrap(x.AnswerPlain, apdu.SWOK), withSW(x.AnswerProtected))
		}
	}
}

// The third source records EXTERNAL AUTHENTICATE at level 01, and a command of the same session opened
// at level 03 instead.
func TestRecordedThirdSource(t *testing.T) {
	t.Parallel()
	r := loadReference(t).Asterix
	h := openRecorded(t, r)
	ext, err := h.ExternalAuthenticate(LevelCMAC)
	if err != nil {
		t.Fatal(err)
	}
	chain := h.Mark().Chain
	same(t, "EXTERNAL AUTHENTICATE", ext, r.ExtAuthSL1)
	same(t, "chain", chain[:], r.ChainAfter)
	newCard := func() *Card {
		known, err := ParseInitUpdate(r.InitUpdateAnswer)
		if err != nil {
			t.Fatal(err)
		}
		c, iu, err := OpenCard(CardConfig{Keys: r.keys(), KVN: known.KVN, KDD: known.KDD, I: known.I, AID: r.AID, Seq: known.Seq}, r.HostChallenge)
		if err != nil {
			t.Fatal(err)
		}
		same(t, "answer to INITIALIZE UPDATE", iu.Append(nil), r.InitUpdateAnswer)
		return c
	}
	if err := newCard().ExternalAuthenticate(mustParse(t, r.ExtAuthSL1)); err != nil {
		t.Error(err)
	}

	h, c := openRecorded(t, r), newCard()
	if ext, err = h.ExternalAuthenticate(LevelCMACCENC); err != nil {
		t.Fatal(err)
	}
	if err := c.ExternalAuthenticate(mustParse(t, ext)); err != nil {
		t.Fatal(err)
	}
	wrapped, _ := wrap(t, h, mustParse(t, r.PlainSL3))
	same(t, "wrapped", wrapped.Bytes(), r.WrappedSL3)
	plain, err := c.Unwrap(mustParse(t, r.WrappedSL3))
	if err != nil {
		t.Fatal(err)
	}
	same(t, "plain", plain.Bytes(), r.PlainSL3)
}

func TestPublishedKDF(t *testing.T) {
	t.Parallel()
	for i, v := range loadReference(t).KDF {
		var c cmac
		if err := c.init(v.Key); err != nil {
			t.Fatal(err)
		}
		out := make([]byte, v.Bits/8)
		half := len(v.Context) / 2
		c.derive(out, v.Constant[0], v.Context[:half], v.Context[half:])
		if !bytes.Equal(out, v.Output) {
			t.Errorf("record %d: got %x, want %x", i, out, v.Output)
		}
	}
}

func TestPublishedKCV(t *testing.T) {
	t.Parallel()
	for _, v := range loadReference(t).KCV {
		if v.Alg == "AES" {
			kcv := KCV(v.Key)
			same(t, "KCV", kcv[:], v.KCV)
		}
	}
}

func TestPublishedKDF3(t *testing.T) {
	t.Parallel()
	type derived []struct{ Key, KCV reftest.Hex }
	var ref struct {
		KDD reftest.Hex
		AES struct {
			Master128 derived `json:"master_128"`
			Master192 derived `json:"master_192"`
			Master256 derived `json:"master_256"`
			External  struct {
				Master, KDD, Key reftest.Hex
				K                int
			}
		} `json:"kdf3_aes_cmac"`
	}
	reftest.Vectors(t, "diversification.json", &ref)
	master := make([]byte, 32)
	for i := range master {
		master[i] = 0x40 + byte(i)
	}
	kdd := [10]byte(ref.KDD)
	for n, want := range map[int]derived{16: ref.AES.Master128, 24: ref.AES.Master192, 32: ref.AES.Master256} {
		keys, err := DiversifyKDF3(master[:n], kdd)
		if err != nil || len(want) != 3 {
			t.Fatal(len(want), err)
		}
		for i, got := range [][]byte{keys.ENC, keys.MAC, keys.DEK} {
			kcv := KCV(got)
			same(t, "key", got, want[i].Key)
			same(t, "KCV", kcv[:], want[i].KCV)
		}
	}
	checkECBWay(t, master[:16], kdd)

	ext := ref.AES.External
	keys, err := DiversifyKDF3(ext.Master, [10]byte(ext.KDD))
	if err != nil {
		t.Fatal(err)
	}
	same(t, "third party's key", [][]byte{keys.ENC, keys.MAC, keys.DEK}[ext.K-1], ext.Key)
}

// One ECB call over KDF3ECBInputs, as an HSM does it, gives the same keys as CMAC over KDF3Blocks.
func checkECBWay(t *testing.T, master []byte, kdd [10]byte) {
	t.Helper()
	block, err := newAES(master)
	if err != nil {
		t.Fatal(err)
	}
	var l [16]byte
	block.Encrypt(l[:], l[:])
	in := KDF3ECBInputs(kdd, CMACSubkey1(l))
	keys, err := DiversifyKDF3(master, kdd)
	if err != nil {
		t.Fatal(err)
	}
	blocks := KDF3Blocks(kdd)
	for i, want := range [][]byte{keys.ENC, keys.MAC, keys.DEK} {
		var got [16]byte
		block.Encrypt(got[:], in[16*i:])
		same(t, "ECB way", got[:], want)
		byCMAC := CMAC(master, blocks[i][:])
		same(t, "CMAC way", byCMAC[:], want)
	}
}

func TestPublishedPutKey(t *testing.T) {
	t.Parallel()
	p := loadReference(t).PutKey
	keys := StaticKeys{ENC: p.NewKeys[0], MAC: p.NewKeys[1], DEK: p.DEK}
	h, c := openPair(t, keys, 0x70, LevelAll)
	cmd, err := PutKeyCommand(h, 0, p.NewKVN[0], [][]byte{p.NewKeys[0], p.NewKeys[1], p.NewKeys[2]})
	if err != nil {
		t.Fatal(err)
	}
	same(t, "PUT KEY", cmd.Bytes(), p.APDU)
	kvn, got, err := ParsePutKey(c, cmd.Data)
	if err != nil || kvn != p.NewKVN[0] || len(got) != 3 {
		t.Fatal(kvn, len(got), err)
	}
	var kcvs [][3]byte
	for i, k := range got {
		same(t, "key", k, p.NewKeys[i])
		kcvs = append(kcvs, KCV(k))
	}
	same(t, "answer", PutKeyResponse(kvn, kcvs), p.Response)
}
