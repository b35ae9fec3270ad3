package hsm

import (
	"errors"
	"fmt"

	"github.com/miekg/pkcs11"

	"github.com/persoline/persoline/perso/secret"
)

// maxTokenLabelBytes is the size of a token's label field.
const maxTokenLabelBytes = 32

// NewToken says which token InitToken makes.
type NewToken struct {
	Module string       // path of the PKCS#11 library
	Label  string       // 1..32 bytes
	SOPIN  secret.Bytes // the security officer's; empty for a module that has none, as NSS softoken
	PIN    secret.Bytes // the user's, as Config.PIN later
	// Parameters is as Config.Parameters.
	Parameters string
}

// InitToken initializes a token in the first slot that holds an uninitialized
// one (C_InitToken, C_InitPIN). A token that is initialized is never touched:
// the call that makes a token is the call that erases one. It needs the module
// for itself: no Token may be open in this process. A label in use is
// ErrExists. Makers of network HSMs have tools of their own for this; the
// caller here is package softhsm.
func InitToken(n NewToken) error {
	if n.Label == "" || len(n.Label) > maxTokenLabelBytes {
		return fmt.Errorf("initializing token %q: label is not 1..%d bytes", n.Label, maxTokenLabelBytes)
	}
	t := &Token{cfg: Config{Module: n.Module, Parameters: n.Parameters}}
	if err := t.load(); err != nil {
		return fmt.Errorf("initializing token %q: %w", n.Label, err)
	}
	if err := errors.Join(t.initialize(n), t.unload()); err != nil {
		return fmt.Errorf("initializing token %q: %w", n.Label, err)
	}
	return nil
}

func (t *Token) initialize(n NewToken) error {
	slot, err := t.blankSlot(n.Label)
	if err != nil {
		return err
	}
	t.slot = slot
	return revealOrEmpty(n.SOPIN, func(so []byte) error {
		if err := t.module.InitToken(t.slot, string(so), n.Label); err != nil {
			return fault("C_InitToken", err)
		}
		s, err := t.openSession()
		if err != nil {
			return err
		}
		defer s.close()
		if err := t.module.LoginBytes(s.handle, pkcs11.CKU_SO, so); err != nil {
			return fault("C_Login", err)
		}
		return n.PIN.Reveal(func(pin []byte) error {
			return fault("C_InitPIN", t.module.InitPIN(s.handle, string(pin)))
		})
	})
}

func revealOrEmpty(b secret.Bytes, use func([]byte) error) error {
	if b.IsZero() {
		return use(nil)
	}
	return b.Reveal(use)
}

// blankSlot finds the first slot whose token is not initialized.
func (t *Token) blankSlot(label string) (uint, error) {
	slots, err := t.module.GetSlotList(true)
	if err != nil {
		return 0, fault("C_GetSlotList", err)
	}
	blank, found := uint(0), false
	for _, slot := range slots {
		info, err := t.module.GetTokenInfo(slot)
		if err != nil {
			return 0, fault("C_GetTokenInfo", err)
		}
		initialized := info.Flags&pkcs11.CKF_TOKEN_INITIALIZED != 0
		if initialized && info.Label == label {
			return 0, ErrExists
		}
		if !initialized && !found {
			blank, found = slot, true
		}
	}
	if !found {
		return 0, fmt.Errorf("%w: no uninitialized token in %d slots", ErrTokenGone, len(slots))
	}
	return blank, nil
}
