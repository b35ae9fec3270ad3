package hsm

import (
	"fmt"

	"github.com/miekg/pkcs11"
)

// findBatch is how many handles one C_FindObjects asks for.
const findBatch = 256

// maxObjects bounds a search. The largest token we plan for holds 3,200
// handles; more means that we are looking at something else.
const maxObjects = 1 << 14

// A session is one PKCS#11 session, used by one goroutine at a time. Its
// methods are the PKCS#11 calls in our error type.
type session struct {
	module *pkcs11.Ctx
	handle pkcs11.SessionHandle
}

// openSession opens a session for reading and writing: Generate and Destroy
// take any session of the pool.
func (t *Token) openSession() (*session, error) {
	h, err := t.module.OpenSession(t.slot, pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION)
	if err != nil {
		return nil, fault("C_OpenSession", err)
	}
	return &session{module: t.module, handle: h}, nil
}

// close ends the session. Its error says nothing new: a session is closed
// because it failed, or before the whole token is reopened.
func (s *session) close() { _ = s.module.CloseSession(s.handle) }

// check asks whether the session is alive and logged in.
func (s *session) check() error {
	info, err := s.module.GetSessionInfo(s.handle)
	if err != nil {
		return fault("C_GetSessionInfo", err)
	}
	if info.State != pkcs11.CKS_RW_USER_FUNCTIONS {
		return Error{Op: "C_GetSessionInfo", CKR: pkcs11.CKR_USER_NOT_LOGGED_IN}
	}
	return nil
}

// find returns the objects that match. It asks for the login first: private
// objects are invisible without it, and a lost login must not read as "no such
// key".
func (s *session) find(want ...*pkcs11.Attribute) (found []pkcs11.ObjectHandle, err error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	if err := s.module.FindObjectsInit(s.handle, want); err != nil {
		return nil, fault("C_FindObjectsInit", err)
	}
	defer func() {
		if final := s.module.FindObjectsFinal(s.handle); err == nil {
			err = fault("C_FindObjectsFinal", final)
		}
	}()
	for len(found) <= maxObjects {
		some, _, err := s.module.FindObjects(s.handle, findBatch)
		if err != nil {
			return nil, fault("C_FindObjects", err)
		}
		if len(some) == 0 {
			return found, nil
		}
		found = append(found, some...)
	}
	return nil, fmt.Errorf("%w: search finds more than %d objects", ErrRefused, maxObjects)
}

// read returns the values of attributes, in order.
func (s *session) read(o pkcs11.ObjectHandle, types ...uint) ([][]byte, error) {
	ask := make([]*pkcs11.Attribute, len(types))
	for i, typ := range types {
		ask[i] = pkcs11.NewAttribute(typ, nil)
	}
	got, err := s.module.GetAttributeValue(s.handle, o, ask)
	if err != nil {
		return nil, fault("C_GetAttributeValue", err)
	}
	values := make([][]byte, len(got))
	for i, a := range got {
		values[i] = a.Value
	}
	return values, nil
}

// sign makes a MAC or a signature in one call.
func (s *session) sign(m *pkcs11.Mechanism, o pkcs11.ObjectHandle, msg []byte) ([]byte, error) {
	if err := s.module.SignInit(s.handle, []*pkcs11.Mechanism{m}, o); err != nil {
		return nil, fault("C_SignInit", err)
	}
	out, err := s.module.Sign(s.handle, msg)
	return out, fault("C_Sign", err)
}

// encrypt encrypts in one call.
func (s *session) encrypt(m *pkcs11.Mechanism, o pkcs11.ObjectHandle, plain []byte) ([]byte, error) {
	if err := s.module.EncryptInit(s.handle, []*pkcs11.Mechanism{m}, o); err != nil {
		return nil, fault("C_EncryptInit", err)
	}
	out, err := s.module.Encrypt(s.handle, plain)
	return out, fault("C_Encrypt", err)
}

// decrypt decrypts in one call.
func (s *session) decrypt(m *pkcs11.Mechanism, o pkcs11.ObjectHandle, sealed []byte) ([]byte, error) {
	if err := s.module.DecryptInit(s.handle, []*pkcs11.Mechanism{m}, o); err != nil {
		return nil, fault("C_DecryptInit", err)
	}
	out, err := s.module.Decrypt(s.handle, sealed)
	return out, fault("C_Decrypt", err)
}

// random returns n bytes of the token's own generator.
func (s *session) random(n int) ([]byte, error) {
	out, err := s.module.GenerateRandom(s.handle, n)
	if err == nil && len(out) != n {
		return nil, fmt.Errorf("C_GenerateRandom: %d bytes, asked for %d", len(out), n)
	}
	return out, fault("C_GenerateRandom", err)
}

// destroy destroys objects, the first error ends it.
func (s *session) destroy(list ...pkcs11.ObjectHandle) error {
	for _, o := range list {
		if err := s.module.DestroyObject(s.handle, o); err != nil {
			return fault("C_DestroyObject", err)
		}
	}
	return nil
}
