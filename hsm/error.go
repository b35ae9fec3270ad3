package hsm

import (
	"errors"
	"fmt"
	"strings"

	"github.com/miekg/pkcs11"
)

// What an error of this package can mean to a caller. Test with errors.Is.
var (
	// ErrSessionLost: a session, handle or login was lost. A verb that may be
	// repeated has already been repeated; after Generate, Import or Destroy
	// ask Has before trying again.
	ErrSessionLost = errors.New("hsm session lost")
	// ErrTokenGone: the device or its token does not answer.
	ErrTokenGone = errors.New("hsm token gone")
	// ErrNotFound: there is no key with this label.
	ErrNotFound = errors.New("hsm key not found")
	// ErrExists: there is a key with this label already.
	ErrExists = errors.New("hsm key exists")
	// ErrRefused: the key's class, its attributes or the PIN forbid it. Trying
	// again does not help.
	ErrRefused = errors.New("hsm refused")
	// ErrBusy: no session came free within Config.WaitLimit, or the token has
	// no more sessions. Trying later may help.
	ErrBusy = errors.New("hsm busy")
	// ErrSealBroken: the sealed bytes, their additional data and the key do
	// not belong together.
	ErrSealBroken = errors.New("hsm seal broken")
	// ErrUnsupported: the module has no such mechanism or curve. It is one way
	// of being refused.
	ErrUnsupported = fmt.Errorf("%w: not supported by the module", ErrRefused)
	// ErrDevice: the module or the device failed inside, or its session was left
	// in a state of its own. The session was thrown away; another call may do.
	ErrDevice = errors.New("hsm device failed")
	// ErrClosed: the Token was closed.
	ErrClosed = errors.New("hsm closed")
)

// ckrCurveNotSupported is CKR_CURVE_NOT_SUPPORTED (v2.40), which the binding
// does not name.
const ckrCurveNotSupported = 0x140

// Error is a PKCS#11 return value other than CKR_OK. It unwraps to what the
// code means to a caller, where it means one of the sentinel errors above.
type Error struct {
	// Op is the PKCS#11 function that returned it, as "C_Sign".
	Op string
	// CKR is the return value as the module gave it.
	CKR uint
}

// Error names function and code, never an argument.
func (e Error) Error() string {
	name := strings.TrimPrefix(pkcs11.Error(e.CKR).Error(), "pkcs11: ")
	if strings.HasSuffix(name, ": ") { // not known to the binding
		name += e.name()
	}
	return fmt.Sprintf("%s: %s", e.Op, name)
}

// name is the name of a code that the binding has none for.
func (e Error) name() string {
	switch {
	case e.CKR == pkcs11.CKR_ACTION_PROHIBITED:
		return "CKR_ACTION_PROHIBITED"
	case e.CKR == ckrCurveNotSupported:
		return "CKR_CURVE_NOT_SUPPORTED"
	case e.CKR >= pkcs11.CKR_VENDOR_DEFINED:
		return "defined by the vendor of the module"
	}
	return "not in PKCS #11 v2.40"
}

// Unwrap returns the meaning of the code, nil if it has none here.
func (e Error) Unwrap() error {
	switch e.CKR {
	case pkcs11.CKR_SESSION_HANDLE_INVALID, pkcs11.CKR_SESSION_CLOSED,
		pkcs11.CKR_USER_NOT_LOGGED_IN, pkcs11.CKR_OBJECT_HANDLE_INVALID,
		pkcs11.CKR_KEY_HANDLE_INVALID, pkcs11.CKR_WRAPPING_KEY_HANDLE_INVALID,
		pkcs11.CKR_CRYPTOKI_NOT_INITIALIZED:
		return ErrSessionLost
	case pkcs11.CKR_TOKEN_NOT_PRESENT, pkcs11.CKR_TOKEN_NOT_RECOGNIZED,
		pkcs11.CKR_DEVICE_ERROR, pkcs11.CKR_DEVICE_REMOVED, pkcs11.CKR_SLOT_ID_INVALID:
		return ErrTokenGone
	case pkcs11.CKR_GENERAL_ERROR, pkcs11.CKR_FUNCTION_FAILED, pkcs11.CKR_HOST_MEMORY,
		pkcs11.CKR_DEVICE_MEMORY, pkcs11.CKR_FUNCTION_CANCELED, pkcs11.CKR_OPERATION_ACTIVE,
		pkcs11.CKR_OPERATION_NOT_INITIALIZED, pkcs11.CKR_BUFFER_TOO_SMALL, pkcs11.CKR_CANT_LOCK,
		pkcs11.CKR_RANDOM_NO_RNG:
		return ErrDevice
	case pkcs11.CKR_MECHANISM_INVALID, pkcs11.CKR_MECHANISM_PARAM_INVALID,
		pkcs11.CKR_DOMAIN_PARAMS_INVALID, ckrCurveNotSupported, pkcs11.CKR_FUNCTION_NOT_SUPPORTED:
		return ErrUnsupported
	case pkcs11.CKR_SESSION_COUNT, pkcs11.CKR_CRYPTOKI_ALREADY_INITIALIZED:
		return ErrBusy
	case pkcs11.CKR_ENCRYPTED_DATA_INVALID, pkcs11.CKR_ENCRYPTED_DATA_LEN_RANGE:
		return ErrSealBroken
	case pkcs11.CKR_KEY_FUNCTION_NOT_PERMITTED, pkcs11.CKR_KEY_TYPE_INCONSISTENT,
		pkcs11.CKR_KEY_SIZE_RANGE, pkcs11.CKR_KEY_NOT_WRAPPABLE, pkcs11.CKR_KEY_UNEXTRACTABLE,
		pkcs11.CKR_ATTRIBUTE_READ_ONLY, pkcs11.CKR_TOKEN_WRITE_PROTECTED, pkcs11.CKR_SESSION_READ_ONLY,
		pkcs11.CKR_FUNCTION_REJECTED, pkcs11.CKR_USER_ANOTHER_ALREADY_LOGGED_IN,
		pkcs11.CKR_DATA_INVALID, pkcs11.CKR_DATA_LEN_RANGE,
		pkcs11.CKR_WRAPPING_KEY_TYPE_INCONSISTENT, pkcs11.CKR_WRAPPING_KEY_SIZE_RANGE,
		pkcs11.CKR_ATTRIBUTE_SENSITIVE, pkcs11.CKR_ATTRIBUTE_TYPE_INVALID,
		pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, pkcs11.CKR_TEMPLATE_INCOMPLETE,
		pkcs11.CKR_TEMPLATE_INCONSISTENT, pkcs11.CKR_ACTION_PROHIBITED:
		return ErrRefused
	}
	if e.aboutPIN() {
		return ErrRefused
	}
	return nil
}

// aboutPIN reports that a login was refused for its PIN. Such a login is never
// repeated: a few wrong ones lock the token, some then erase it.
func (e Error) aboutPIN() bool {
	switch e.CKR {
	case pkcs11.CKR_PIN_INCORRECT, pkcs11.CKR_PIN_INVALID, pkcs11.CKR_PIN_LEN_RANGE,
		pkcs11.CKR_PIN_EXPIRED, pkcs11.CKR_PIN_LOCKED, pkcs11.CKR_USER_PIN_NOT_INITIALIZED:
		return true
	}
	return false
}

// fault turns what the binding returns into an Error.
func fault(op string, err error) error {
	var ckr pkcs11.Error
	var own Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &own): // of the shim
		return err
	case errors.As(err, &ckr):
		return Error{Op: op, CKR: uint(ckr)}
	default:
		return fmt.Errorf("%s: %w", op, err)
	}
}

// lost reports that reopening the token may help.
func lost(err error) bool {
	return errors.Is(err, ErrSessionLost) || errors.Is(err, ErrTokenGone)
}
