package hsm

import (
	"bytes"
	"fmt"
	"runtime"

	"github.com/miekg/pkcs11"
)

// findBatch is how many handles one C_FindObjects asks for.
const findBatch = 256

// maxObjects bounds a search. The largest token we plan for holds 3,200
// handles; more means that we are looking at something else.
const maxObjects = 1 << 14

// leastRandomBytes is from how many on zeros cannot be chance.
const leastRandomBytes = 8

// A session is one PKCS#11 session, used by one goroutine at a time. Its
// methods are the PKCS#11 calls in our error type.
type session struct {
	module module
	handle pkcs11.SessionHandle
	// answer is where the token writes what may be secret; use clears it.
	answer locked
}

// openSession opens a session for reading and writing: Generate and Destroy
// take any session of the pool.
func (t *Token) openSession() (*session, error) {
	h, err := t.module.OpenSession(t.slot, pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION)
	if err != nil {
		return nil, fault("C_OpenSession", err)
	}
	s := &session{module: t.module, handle: h}
	if s.answer, err = newLocked(answerBytes); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// close ends the session. Its error says nothing new: a session is closed
// because it failed, or before the whole token is reopened.
func (s *session) close() {
	_ = s.module.CloseSession(s.handle)
	s.free()
}

// free clears the session's memory and gives it back.
func (s *session) free() {
	s.answer.free()
	s.answer = nil
}

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

// into lends n bytes of locked memory to an operation and what it wrote there to
// use, which must not keep it; then it clears them.
func (s *session) into(n int, operation func(out []byte) (int, error), use func(answer []byte) error) error {
	out := s.answer
	if n > len(out) {
		var err error
		if out, err = newLocked(n); err != nil {
			return err
		}
		defer out.free()
	}
	defer scrub()
	defer clear(out[:n])
	written, err := operation(out[:n])
	if err != nil {
		return err
	}
	if written > n {
		return fmt.Errorf("%w: module wrote %d bytes where it was given %d", ErrDevice, written, n)
	}
	return use(out[:written])
}

// random returns n bytes of the token's own generator.
func (s *session) random(n int) (out []byte, err error) {
	err = s.into(n, func(b []byte) (int, error) { return n, s.module.RandomInto(s.handle, b) }, func(b []byte) error {
		if n >= leastRandomBytes && blank(b) {
			return fmt.Errorf("%w: C_GenerateRandom: %d zeros", ErrDevice, n)
		}
		out = bytes.Clone(b)
		return nil
	})
	return out, err
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

// scrubBytes is deeper than the frames between a verb and its call of the
// module.
const scrubBytes = 4096

// scrub overwrites the goroutine's stack below its caller, where the frames that
// handled an answer lay.
//
//go:noinline
func scrub() {
	var frame [scrubBytes]byte
	clear(frame[:])
	runtime.KeepAlive(&frame)
}
