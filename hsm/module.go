package hsm

import "github.com/miekg/pkcs11"

// A module is PKCS#11 as this package calls it, and the seam at which tests put
// a slow, failing or vanishing device between us and a real one. The product's
// only implementation is library.
type module interface {
	lifecycle
	slots
	sessions
	objects
	secrets
}

type lifecycle interface {
	Initialize(parameters string) error
	Finalize() error
	Destroy()
}

type slots interface {
	GetInfo() (pkcs11.Info, error)
	GetSlotList(tokenPresent bool) ([]uint, error)
	GetTokenInfo(slot uint) (pkcs11.TokenInfo, error)
	GetMechanismList(slot uint) ([]*pkcs11.Mechanism, error)
	GetMechanismInfo(slot uint, m []*pkcs11.Mechanism) (pkcs11.MechanismInfo, error)
	InitToken(slot uint, pin, label string) error
	InitPIN(s pkcs11.SessionHandle, pin string) error
}

type sessions interface {
	OpenSession(slot, flags uint) (pkcs11.SessionHandle, error)
	CloseSession(s pkcs11.SessionHandle) error
	CloseAllSessions(slot uint) error
	GetSessionInfo(s pkcs11.SessionHandle) (pkcs11.SessionInfo, error)
	Logout(s pkcs11.SessionHandle) error
}

type objects interface {
	FindObjectsInit(s pkcs11.SessionHandle, want []*pkcs11.Attribute) error
	FindObjects(s pkcs11.SessionHandle, most int) ([]pkcs11.ObjectHandle, bool, error)
	FindObjectsFinal(s pkcs11.SessionHandle) error
	GetAttributeValue(s pkcs11.SessionHandle, o pkcs11.ObjectHandle, a []*pkcs11.Attribute) ([]*pkcs11.Attribute, error)
	GenerateKey(s pkcs11.SessionHandle, m []*pkcs11.Mechanism, key []*pkcs11.Attribute) (pkcs11.ObjectHandle, error)
	GenerateKeyPair(s pkcs11.SessionHandle, m []*pkcs11.Mechanism, public, private []*pkcs11.Attribute) (pub, priv pkcs11.ObjectHandle, err error)
	DestroyObject(s pkcs11.SessionHandle, o pkcs11.ObjectHandle) error
}

// secrets are the calls that take or return what must not stay in memory. They
// return an Error of ours and work in the caller's memory.
type secrets interface {
	LoginBytes(s pkcs11.SessionHandle, user uint, pin []byte) error
	CreateSecret(s pkcs11.SessionHandle, list []*pkcs11.Attribute, value []byte) (pkcs11.ObjectHandle, error)
	RandomInto(s pkcs11.SessionHandle, out []byte) error
	SignInto(s pkcs11.SessionHandle, mechanism uint, key pkcs11.ObjectHandle, msg, out []byte) (int, error)
	EncryptInto(s pkcs11.SessionHandle, mechanism uint, key pkcs11.ObjectHandle, plain, out []byte) (int, error)
	DecryptInto(s pkcs11.SessionHandle, mechanism uint, key pkcs11.ObjectHandle, in, out []byte) (int, error)
	WrapInto(s pkcs11.SessionHandle, mechanism uint, wrapping, key pkcs11.ObjectHandle, out []byte) (int, error)
	GCMInto(s pkcs11.SessionHandle, key pkcs11.ObjectHandle, g gcm, out []byte) (int, error)
}

// gcm is one use of CKM_AES_GCM.
type gcm struct {
	open           bool // decrypt
	nonce, aad, in []byte
}
