package hsm

import (
	"sync"

	"github.com/miekg/pkcs11"
)

// Faulty is a device between this package and a real module: slow, failing, or
// gone. It is the seam of module.go from the other side, for tests in hsm_test.
type Faulty struct {
	module
	mu     sync.Mutex
	before func(op string) error
	after  func(op string) error
	mute   bool
	serial string
}

// Put makes the configuration's token go through f.
func (f *Faulty) Put(c Config) Config {
	c.between = func(m module) module {
		f.module = m
		return f
	}
	return c
}

// Before is called before each call to the module, with the name of the
// PKCS#11 function. It may block; its error is returned instead of calling.
func (f *Faulty) Before(hook func(op string) error) { f.set(func() { f.before = hook }) }

// After is called after each call that succeeded; its error is returned though
// the module has done it.
func (f *Faulty) After(hook func(op string) error) { f.set(func() { f.after = hook }) }

// Mute makes the module say yes and write nothing.
func (f *Faulty) Mute(on bool) { f.set(func() { f.mute = on }) }

// Serial makes the token one of another serial number.
func (f *Faulty) Serial(s string) { f.set(func() { f.serial = s }) }

func (f *Faulty) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func (f *Faulty) behind() module { return f.module }

func (f *Faulty) call(op string, do func() error) error {
	f.mu.Lock()
	before, after := f.before, f.after
	f.mu.Unlock()
	if before != nil {
		if err := before(op); err != nil {
			return err
		}
	}
	err := do()
	if err == nil && after != nil {
		err = after(op)
	}
	return err
}

// secret is a call whose answer may be kept back.
func (f *Faulty) secret(op string, out []byte, do func() (int, error)) (n int, err error) {
	err = f.call(op, func() error {
		n, err = do()
		return err
	})
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.mute {
		clear(out)
	}
	return n, err
}

func (f *Faulty) Initialize(p string) error {
	return f.call("C_Initialize", func() error { return f.module.Initialize(p) })
}

func (f *Faulty) GetSlotList(present bool) (list []uint, err error) {
	err = f.call("C_GetSlotList", func() error { list, err = f.module.GetSlotList(present); return err })
	return list, err
}

func (f *Faulty) GetTokenInfo(slot uint) (info pkcs11.TokenInfo, err error) {
	err = f.call("C_GetTokenInfo", func() error { info, err = f.module.GetTokenInfo(slot); return err })
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.serial != "" {
		info.SerialNumber = f.serial
	}
	return info, err
}

func (f *Faulty) GetMechanismList(slot uint) (list []*pkcs11.Mechanism, err error) {
	err = f.call("C_GetMechanismList", func() error { list, err = f.module.GetMechanismList(slot); return err })
	return list, err
}

func (f *Faulty) OpenSession(slot, flags uint) (s pkcs11.SessionHandle, err error) {
	err = f.call("C_OpenSession", func() error { s, err = f.module.OpenSession(slot, flags); return err })
	return s, err
}

func (f *Faulty) GetSessionInfo(s pkcs11.SessionHandle) (info pkcs11.SessionInfo, err error) {
	err = f.call("C_GetSessionInfo", func() error { info, err = f.module.GetSessionInfo(s); return err })
	return info, err
}

func (f *Faulty) FindObjectsInit(s pkcs11.SessionHandle, want []*pkcs11.Attribute) error {
	return f.call("C_FindObjectsInit", func() error { return f.module.FindObjectsInit(s, want) })
}

func (f *Faulty) FindObjects(s pkcs11.SessionHandle, most int) (list []pkcs11.ObjectHandle, more bool, err error) {
	err = f.call("C_FindObjects", func() error { list, more, err = f.module.FindObjects(s, most); return err })
	return list, more, err
}

func (f *Faulty) GetAttributeValue(s pkcs11.SessionHandle, o pkcs11.ObjectHandle, a []*pkcs11.Attribute) (list []*pkcs11.Attribute, err error) {
	err = f.call("C_GetAttributeValue", func() error { list, err = f.module.GetAttributeValue(s, o, a); return err })
	return list, err
}

func (f *Faulty) GenerateKey(s pkcs11.SessionHandle, m []*pkcs11.Mechanism, key []*pkcs11.Attribute) (h pkcs11.ObjectHandle, err error) {
	err = f.call("C_GenerateKey", func() error { h, err = f.module.GenerateKey(s, m, key); return err })
	return h, err
}

func (f *Faulty) GenerateKeyPair(s pkcs11.SessionHandle, m []*pkcs11.Mechanism, public, private []*pkcs11.Attribute) (pub, priv pkcs11.ObjectHandle, err error) {
	err = f.call("C_GenerateKeyPair", func() error { pub, priv, err = f.module.GenerateKeyPair(s, m, public, private); return err })
	return pub, priv, err
}

func (f *Faulty) DestroyObject(s pkcs11.SessionHandle, o pkcs11.ObjectHandle) error {
	return f.call("C_DestroyObject", func() error { return f.module.DestroyObject(s, o) })
}

func (f *Faulty) LoginBytes(s pkcs11.SessionHandle, user uint, pin []byte) error {
	return f.call("C_Login", func() error { return f.module.LoginBytes(s, user, pin) })
}

func (f *Faulty) CreateSecret(s pkcs11.SessionHandle, list []*pkcs11.Attribute, value []byte) (h pkcs11.ObjectHandle, err error) {
	err = f.call("C_CreateObject", func() error { h, err = f.module.CreateSecret(s, list, value); return err })
	return h, err
}

func (f *Faulty) RandomInto(s pkcs11.SessionHandle, out []byte) error {
	_, err := f.secret("C_GenerateRandom", out, func() (int, error) { return len(out), f.module.RandomInto(s, out) })
	return err
}

func (f *Faulty) SignInto(s pkcs11.SessionHandle, mechanism uint, key pkcs11.ObjectHandle, msg, out []byte) (int, error) {
	return f.secret("C_Sign", out, func() (int, error) { return f.module.SignInto(s, mechanism, key, msg, out) })
}

func (f *Faulty) EncryptInto(s pkcs11.SessionHandle, mechanism uint, key pkcs11.ObjectHandle, plain, out []byte) (int, error) {
	return f.secret("C_Encrypt", out, func() (int, error) { return f.module.EncryptInto(s, mechanism, key, plain, out) })
}

func (f *Faulty) DecryptInto(s pkcs11.SessionHandle, mechanism uint, key pkcs11.ObjectHandle, in, out []byte) (int, error) {
	return f.secret("C_Decrypt", out, func() (int, error) { return f.module.DecryptInto(s, mechanism, key, in, out) })
}

func (f *Faulty) GCMInto(s pkcs11.SessionHandle, key pkcs11.ObjectHandle, g gcm, out []byte) (int, error) {
	op := "C_Encrypt"
	if g.open {
		op = "C_Decrypt"
	}
	return f.secret(op, out, func() (int, error) { return f.module.GCMInto(s, key, g, out) })
}

func (f *Faulty) WrapInto(s pkcs11.SessionHandle, mechanism uint, wrapping, key pkcs11.ObjectHandle, out []byte) (int, error) {
	return f.secret("C_WrapKey", out, func() (int, error) { return f.module.WrapInto(s, mechanism, wrapping, key, out) })
}
