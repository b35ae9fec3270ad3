package hsm

/*
#cgo linux LDFLAGS: -ldl
#include <stdlib.h>
#include "shim.h"
*/
import "C"

import (
	"encoding/binary"
	"fmt"
	"unsafe"

	"github.com/miekg/pkcs11"
)

// A library is a module as it is loaded: the binding, and beside it the shim
// (shim.c) for all that takes or returns a secret. Both use the same copy of
// the module, which the dynamic loader counts.
type library struct {
	*pkcs11.Ctx
	list   *C.shim_list
	handle unsafe.Pointer
}

// loadLibrary loads a module; it is not initialized yet.
func loadLibrary(path string) (module, error) {
	l := &library{Ctx: pkcs11.New(path)}
	if l.Ctx == nil {
		return nil, fmt.Errorf("%w: %q is not there or no PKCS#11 module", ErrTokenGone, path)
	}
	name := C.CString(path)
	defer C.free(unsafe.Pointer(name))
	if l.list = C.shim_open(name, &l.handle); l.list == nil {
		l.Ctx.Destroy()
		return nil, fmt.Errorf("%w: %q has no function list", ErrTokenGone, path)
	}
	return l, nil
}

// Initialize is C_Initialize with the module's own parameters, if there are any
// (CK_C_INITIALIZE_ARGS.pReserved), and with locks of the operating system.
func (l *library) Initialize(parameters string) error {
	if parameters == "" {
		return l.Ctx.Initialize()
	}
	c := C.CString(parameters)
	defer C.free(unsafe.Pointer(c))
	return l.Ctx.Initialize(pkcs11.InitializeWithReserved(unsafe.Pointer(c)))
}

// Destroy unloads the module. Nothing else may be called afterwards.
func (l *library) Destroy() {
	C.shim_close(l.handle)
	l.Ctx.Destroy()
}

// LoginBytes is C_Login; the PIN is copied nowhere.
func (l *library) LoginBytes(s pkcs11.SessionHandle, user uint, pin []byte) error {
	return returned("C_Login", C.shim_login(l.list, C.ulong(s), C.ulong(user), bytesOf(pin), C.size_t(len(pin))))
}

// RandomInto fills out by C_GenerateRandom.
func (l *library) RandomInto(s pkcs11.SessionHandle, out []byte) error {
	return returned("C_GenerateRandom", C.shim_random(l.list, C.ulong(s), bytesOf(out), C.size_t(len(out))))
}

// SignInto is C_SignInit and C_Sign with a mechanism without parameter. It
// returns how many bytes of out the result has.
func (l *library) SignInto(s pkcs11.SessionHandle, mechanism uint, key pkcs11.ObjectHandle, msg, out []byte) (int, error) {
	n, op := C.size_t(len(out)), C.int(0)
	rv := C.shim_sign(l.list, C.ulong(s), C.ulong(mechanism), C.ulong(key), bytesOf(msg), C.size_t(len(msg)), bytesOf(out), &n, &op)
	return int(n), returned(opName(op, "C_SignInit", "C_Sign"), rv)
}

// EncryptInto is C_EncryptInit and C_Encrypt with a mechanism without
// parameter.
func (l *library) EncryptInto(s pkcs11.SessionHandle, mechanism uint, key pkcs11.ObjectHandle, plain, out []byte) (int, error) {
	n, op := C.size_t(len(out)), C.int(0)
	rv := C.shim_encrypt(l.list, C.ulong(s), C.ulong(mechanism), C.ulong(key), bytesOf(plain), C.size_t(len(plain)), bytesOf(out), &n, &op)
	return int(n), returned(opName(op, "C_EncryptInit", "C_Encrypt"), rv)
}

// DecryptInto is C_DecryptInit and C_Decrypt with a mechanism without
// parameter.
func (l *library) DecryptInto(s pkcs11.SessionHandle, mechanism uint, key pkcs11.ObjectHandle, in, out []byte) (int, error) {
	n, op := C.size_t(len(out)), C.int(0)
	rv := C.shim_decrypt(l.list, C.ulong(s), C.ulong(mechanism), C.ulong(key), bytesOf(in), C.size_t(len(in)), bytesOf(out), &n, &op)
	return int(n), returned(opName(op, "C_DecryptInit", "C_Decrypt"), rv)
}

// WrapInto is C_WrapKey with a mechanism without parameter.
func (l *library) WrapInto(s pkcs11.SessionHandle, mechanism uint, wrapping, key pkcs11.ObjectHandle, out []byte) (int, error) {
	n := C.size_t(len(out))
	rv := C.shim_wrap(l.list, C.ulong(s), C.ulong(mechanism), C.ulong(wrapping), C.ulong(key), bytesOf(out), &n)
	return int(n), returned("C_WrapKey", rv)
}

// GCMInto seals or opens with CKM_AES_GCM. The module may change the nonce when
// it seals.
func (l *library) GCMInto(s pkcs11.SessionHandle, key pkcs11.ObjectHandle, g gcm, out []byte) (int, error) {
	n, op, open := C.size_t(len(out)), C.int(0), C.int(0)
	init, use := "C_EncryptInit", "C_Encrypt"
	if g.open {
		open, init, use = 1, "C_DecryptInit", "C_Decrypt"
	}
	rv := C.shim_gcm(l.list, open, C.ulong(s), C.ulong(key), bytesOf(g.nonce), C.size_t(len(g.nonce)),
		bytesOf(g.aad), C.size_t(len(g.aad)), sealTagBytes*8, bytesOf(g.in), C.size_t(len(g.in)), bytesOf(out), &n, &op)
	return int(n), returned(opName(op, init, use), rv)
}

// ckAttributeBytes is the size of CK_ATTRIBUTE: type, pointer, length.
const ckAttributeBytes = 24

// CreateSecret is C_CreateObject of a template with CKA_VALUE. The binding
// would leave the value in freed memory; here the whole template lies in locked
// memory that is cleared.
func (l *library) CreateSecret(s pkcs11.SessionHandle, list []*pkcs11.Attribute, value []byte) (pkcs11.ObjectHandle, error) {
	list = append(list[:len(list):len(list)], &pkcs11.Attribute{Type: pkcs11.CKA_VALUE, Value: value})
	size := len(list) * ckAttributeBytes
	for _, a := range list {
		size += len(a.Value)
	}
	room, err := newLocked(size)
	if err != nil {
		return 0, err
	}
	defer room.free()
	end := len(list) * ckAttributeBytes // where the values begin
	for i, a := range list {
		at := room[i*ckAttributeBytes:]
		binary.NativeEndian.PutUint64(at, uint64(a.Type))
		if len(a.Value) > 0 {
			// An address of mapped memory, which Go's collector does not move.
			binary.NativeEndian.PutUint64(at[8:], uint64(uintptr(unsafe.Pointer(&room[end]))))
		}
		binary.NativeEndian.PutUint64(at[16:], uint64(len(a.Value)))
		end += copy(room[end:], a.Value)
	}
	var h C.ulong
	rv := C.shim_create(l.list, C.ulong(s), unsafe.Pointer(&room[0]), C.size_t(len(list)), &h)
	return pkcs11.ObjectHandle(h), returned("C_CreateObject", rv)
}

// bytesOf is the address of a slice's bytes for the length of one call, NULL
// for none.
func bytesOf(b []byte) *C.uchar { return (*C.uchar)(unsafe.SliceData(b)) }

func opName(op C.int, init, use string) string {
	if op == C.SHIM_OP_INIT {
		return init
	}
	return use
}

// returned turns a CK_RV of the shim into an Error.
func returned(op string, rv C.ulong) error {
	if rv == pkcs11.CKR_OK {
		return nil
	}
	return Error{Op: op, CKR: uint(rv)}
}
