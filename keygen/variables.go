package keygen

import (
	"context"
	"errors"
	"fmt"

	"github.com/persoline/persoline/perso/aka"
	"github.com/persoline/persoline/perso/entry"
	"github.com/persoline/persoline/perso/order/auth"
	"github.com/persoline/persoline/perso/product"
	"github.com/persoline/persoline/perso/script"
	"github.com/persoline/persoline/perso/secret"
)

// errNoCertificate says that a script wants the certificate before there is a key to certify.
var errNoCertificate = errors.New("no key was proven and no certificate is on record")

// amf of the one authentication that the vault makes: bit 0 set, as for a real one (TS 33.102 Annex H).
var amf = aka.AMF{0x80, 0x00}

// variables gives a script's variables for one card and one act (script.Binder). The seed, which costs an HSM operation, is
// fetched when a variable first needs it.
type variables struct {
	ctx    context.Context
	v      *Vault
	l      *lot
	claim  entry.Claim
	hash   [32]byte // of the claim's entry
	serial uint64
	stamp  stamp
	host   encrypter

	carried  map[string][]byte
	captures map[string][]byte   // of probes, by label; not there before the first act is rendered
	keys     *cardKeys           // nil until the seed was needed
	opc      []byte              // OPc, or TOPc of 32 bytes; nil until Ki was needed
	second   *second             // of the operational profile; nil until it was needed
	loads    map[string]*loading // of packages; what this act rendered of them

	cert  func() ([]byte, error)       // whole 7F21
	pair  func() (secret.Bytes, error) // private key that the chip is given
	point func() []byte                // its public key
	ki    func() (secret.Bytes, error) // of a lot whose Ki are not derived
	// deciding: conditions are being compared. A certificate that does not exist yet is then one that nothing equals.
	deciding bool
}

func (x *variables) wipe() {
	if x.keys != nil {
		x.keys.wipe()
	}
	clear(x.opc)
	x.second.wipe()
	for _, l := range x.loads {
		l.wipe()
	}
}

// derived gives what follows from the seed, derived once per act. Of a lot whose Ki are not derived there is none in it.
func (x *variables) derived() (*cardKeys, error) {
	if x.keys != nil {
		return x.keys, nil
	}
	c := x.claim
	seed, err := x.v.cfg.Token.MAC(x.ctx, x.l.key, kdfInput(labelSeed, seedContext(c.Lot, c.Unit, c.Gen, c.Chip)))
	defer clear(seed[:])
	if err != nil {
		return nil, fmt.Errorf("deriving seed of unit %d: %w", c.Unit, err)
	}
	keys, err := deriveCard(&seed, x.l.codes, x.l.auth)
	if err == nil && x.l.terms.channel == product.ChannelSCP02 {
		err = keys.deriveISD02(&seed, ownSet02(x.l.release.CardKVN))
	}
	if err != nil {
		return nil, fmt.Errorf("deriving keys of unit %d: %w", c.Unit, err)
	}
	if x.l.storedKi() {
		clear(keys.KI)
	}
	if len(x.l.packages) > 0 {
		keys.seed = seed
	}
	x.keys = keys
	return keys, nil
}

// secrets gives all secrets of the card: what is derived, Ki wherever it comes from, and OPc.
func (x *variables) secrets() (*cardKeys, error) {
	keys, err := x.derived()
	if err != nil || x.opc != nil {
		return keys, err
	}
	if err := x.placeKi(keys.KI); err != nil {
		return nil, err
	}
	err = x.l.op.Reveal(func(op []byte) error {
		x.opc, err = x.l.auth.Bind(keys.KI, op)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("deriving keys of unit %d: %w", x.claim.Unit, err)
	}
	return keys, nil
}

// carry fills the state with every derived public value of the script, if the seed is at hand.
func (x *variables) carry() error {
	if x.keys == nil {
		return nil
	}
	for _, u := range x.l.plan.carry {
		name := carryName(u.Form, u.Name)
		if x.carried[name] != nil {
			continue
		}
		value, err := x.Bind(nil, u.Form, u.Name)
		if err != nil {
			return err
		}
		x.carried[name] = value
	}
	return nil
}

// Bind appends a variable.
func (x *variables) Bind(dst []byte, form script.Form, name string) ([]byte, error) {
	if value, ok := x.carried[carryName(form, name)]; ok {
		return append(dst, value...), nil
	}
	if form == script.Answer {
		return append(dst, x.captures[name]...), nil
	}
	if form == script.Public {
		return x.public(dst, name)
	}
	if name == varPairKey {
		return x.pairKey(dst, form)
	}
	if name == varTransport {
		code, err := x.transportCode()
		defer clear(code[:])
		return append(dst, code[:]...), err
	}
	if form == script.Sealed {
		return x.stream(dst, name)
	}
	keys, err := x.secrets()
	if err != nil {
		return dst, err
	}
	var room [maxSecretBytes]byte
	defer clear(room[:])
	value, err := x.packageKey(&room, keys, name)
	if err != nil {
		return dst, err
	}
	if value == nil {
		value = x.secret(&room, keys, name)
	}
	if len(value) == 0 {
		return dst, fmt.Errorf("secret variable %q is unknown", name)
	}
	switch form {
	case script.KCV:
		kcv, err := x.l.terms.checkValue(name, value)
		return append(dst, kcv[:]...), err
	case script.DEK:
		enc, err := x.host.EncryptDEK(value)
		return append(dst, enc...), err
	case script.Secret:
		return append(dst, value...), nil
	}
	return dst, fmt.Errorf("form %q is unknown", form)
}

// varTransport is the maker's code of a chip without a secure channel.
const varTransport = "ADM.TRANSPORT"

// maxSecretBytes is the longest secret variable: K and TOPc of TUAK.
const maxSecretBytes = 32

// secret copies a secret variable into the room, and gives the part that it takes; nothing of a name that is unknown.
func (x *variables) secret(room *[maxSecretBytes]byte, k *cardKeys, name string) []byte {
	var value []byte
	switch name {
	case "KI":
		value = k.KI
	case "OPC":
		value = x.opc
	case "ISD.ENC":
		value = k.ISDEnc[:]
	case "ISD.MAC":
		value = k.ISDMac[:]
	case "ISD.DEK":
		value = k.ISDDek[:]
	case "OTA.KIC":
		value = k.OTAKic[:]
	case "OTA.KID":
		value = k.OTAKid[:]
	case "OTA.KIK":
		value = k.OTAKik[:]
	case "PIN1":
		value = k.PIN1[:]
	case "ADM1":
		value = k.ADM1[:]
	case "PINSET1", "PINSET2", "ADMSET":
		sets := k.pinSets()
		defer clear(sets[:])
		value = sets[map[string]int{"PINSET1": 0, "PINSET2": 1, "ADMSET": 2}[name]][:]
	}
	return room[:copy(room[:], value)]
}

// ownVariable says that the vault gives the variable itself, whatever the release's constants say.
func ownVariable(name string) bool {
	switch name {
	case "EID", "EID.IIN", "CIN", "ICCID", "IMSI", "ACC", "IMPI", "IMPU", script.VarStamp, "CERT",
		"CHALLENGE2", "POP.CHALLENGE", "AUTH.RAND", "AUTH.AUTN", "PINCHECK", "AKA", varPairKey, varPairPoint, varTransport:
		return true
	}
	if packageName(name) {
		return true
	}
	var room [maxSecretBytes]byte
	some := make([]byte, keyBytes)
	return len((&variables{opc: some}).secret(&room, &cardKeys{KI: some}, name)) > 0
}

func (x *variables) public(dst []byte, name string) ([]byte, error) {
	switch name {
	case "EID", "CIN", "EID.IIN":
		eid := x.claim.EID.Bytes()
		if name == "EID.IIN" {
			return append(dst, eid[:4]...), nil
		}
		return append(dst, eid[:]...), nil
	case "ICCID", "IMSI", "ACC", "IMPI", "IMPU":
		return x.subscription(dst, name)
	case script.VarStamp:
		return append(dst, x.stamp[:]...), nil
	case "CHALLENGE2":
		return x.challenge(dst, challengeBytes, useReopen)
	case "POP.CHALLENGE":
		return x.challenge(dst, 16, usePossession)
	case "AUTH.RAND":
		return x.challenge(dst, 16, useAuth)
	case "AUTH.AUTN":
		return x.autn(dst)
	case "PINCHECK":
		keys, err := x.secrets()
		if err != nil {
			return dst, err
		}
		check := keys.pinCheck()
		return append(dst, check[:]...), nil
	case "CERT":
		return x.certificate(dst)
	case varPairPoint:
		return append(dst, x.point()...), nil
	case "AKA":
		return append(dst, x.l.auth.Parameters()...), nil
	}
	if p, what := x.l.packageVariable(name); p != nil && what != partPOL1 {
		return x.packagePublic(dst, p, what)
	}
	if value, ok := x.l.constants[name]; ok {
		return append(dst, value...), nil
	}
	return dst, fmt.Errorf("variable %q is unknown", name)
}

// subscription gives what follows from the unit's place in the released ranges.
func (x *variables) subscription(dst []byte, name string) ([]byte, error) {
	if name == "ICCID" {
		iccid, err := x.l.release.ICCIDs.At(uint64(x.claim.Unit))
		ef := iccid.EFBytes()
		return append(dst, ef[:]...), err
	}
	imsi, err := x.l.release.IMSIs.At(uint64(x.claim.Unit))
	if err != nil {
		return dst, err
	}
	var file []byte
	switch name {
	case "ACC":
		acc := imsi.ACC()
		return append(dst, acc[:]...), nil
	case "IMPI":
		file, err = product.EFIdentity(imsi.IMPI())
		return append(dst, file...), err
	case "IMPU":
		file, err = product.EFIdentity(imsi.IMPU())
		return append(dst, file...), err
	}
	ef := imsi.EFBytes()
	return append(dst, ef[:]...), err
}

// challenge gives the first n bytes of a challenge of this session.
func (x *variables) challenge(dst []byte, n int, use byte) ([]byte, error) {
	err := x.l.challenge.Reveal(func(key []byte) error {
		sum := challenge(key, x.serial, use)
		dst = append(dst, sum[:n]...)
		return nil
	})
	return dst, err
}

// autn is a token with SQN 0, which no card accepts as fresh: it answers with AUTS, and its counter stays as it is.
func (x *variables) autn(dst []byte) ([]byte, error) {
	rand, err := x.challenge(nil, 16, useAuth)
	if err != nil {
		return dst, err
	}
	n, err := x.network()
	if err != nil {
		return dst, err
	}
	defer n.Wipe()
	autn, err := n.AUTN(aka.Rand(rand), aka.SQN{}, amf)
	return append(dst, autn[:]...), err
}

// network is the authentication centre of this one card.
func (x *variables) network() (auth.Network, error) {
	keys, err := x.secrets()
	if err != nil {
		return nil, err
	}
	return x.l.auth.Network(keys.KI, x.opc)
}

func (x *variables) certificate(dst []byte) ([]byte, error) {
	cert, err := x.cert()
	if errors.Is(err, errNoCertificate) && x.deciding {
		return append(dst, make([]byte, CertValueBytes)...), nil
	}
	if err != nil {
		return dst, err
	}
	return append(dst, cert[len(certHeader):]...), nil
}
