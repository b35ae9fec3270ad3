package hsm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/miekg/pkcs11"
)

// connect finds the token, logs the anchor session in and finds our keys. The
// caller holds every place of the pool, or nobody else knows the Token yet.
func (t *Token) connect() error {
	slot, err := t.findSlot()
	if err != nil {
		return err
	}
	t.slot = slot
	if err := t.learn(); err != nil {
		return err
	}
	anchor, err := t.openSession()
	if err != nil {
		return err
	}
	anchor.free() // it does no work
	t.anchor = anchor.handle
	if err := t.login(anchor); err != nil {
		anchor.close()
		return err
	}
	return t.preload(anchor)
}

// findSlot returns the slot of the one token with our label. After a loss it
// must be the same token again: another one with the label may have keys of the
// same names.
func (t *Token) findSlot() (uint, error) {
	slots, err := t.module.GetSlotList(true)
	if err != nil {
		return 0, fault("C_GetSlotList", err)
	}
	var found []uint
	var serial string
	for _, slot := range slots {
		info, err := t.module.GetTokenInfo(slot)
		if err == nil && info.Label == t.cfg.TokenLabel {
			found, serial = append(found, slot), info.SerialNumber
		}
	}
	switch len(found) {
	case 0:
		return 0, fmt.Errorf("%w: no token labelled %q in %d slots", ErrTokenGone, t.cfg.TokenLabel, len(slots))
	case 1:
		if t.serial != "" && t.serial != serial {
			return 0, fmt.Errorf("%w: token %q has serial number %q and had %q: it is another one", ErrRefused, t.cfg.TokenLabel, serial, t.serial)
		}
		t.serial = serial
		return found[0], nil
	default:
		return 0, fmt.Errorf("%w: %d tokens labelled %q", ErrRefused, len(found), t.cfg.TokenLabel)
	}
}

// offers is what is known of the token now.
func (t *Token) offers() support { return *t.support.Load() }

// learn asks which of the mechanisms that not all modules have are there.
func (t *Token) learn() error {
	list, err := t.module.GetMechanismList(t.slot)
	if err != nil {
		return fault("C_GetMechanismList", err)
	}
	offered := func(mechanism uint) bool {
		return slices.ContainsFunc(list, func(m *pkcs11.Mechanism) bool { return m.Mechanism == mechanism })
	}
	now := support{eddsa: offered(ckmEdDSA), gaps: t.offers().gaps}
	for _, m := range []uint{ckmAESKeyWrapKWP, pkcs11.CKM_AES_KEY_WRAP_PAD} {
		if offered(m) && now.wrap == 0 {
			// The older number is not always RFC 5649 (softoken pads otherwise), but
			// where it stands alone it is; unwrapKey would find out.
			now.wrap = m
		}
	}
	t.support.Store(&now)
	return nil
}

// login logs the whole process in. A refused PIN bars every later login: the
// token counts wrong ones, and a vault that retries would lock it.
func (t *Token) login(s *session) error {
	if t.barred != nil {
		return t.barred
	}
	err := t.pin.Reveal(func(pin []byte) error {
		return fault("C_Login", t.module.LoginBytes(s.handle, pkcs11.CKU_USER, pin))
	})
	var device Error
	if errors.As(err, &device) {
		if device.CKR == pkcs11.CKR_USER_ALREADY_LOGGED_IN {
			return nil
		}
		if device.aboutPIN() {
			t.barred = err
		}
	}
	return err
}

// recover brings the token back after the loss that an operation met in the
// given epoch. It takes the token for itself; if another operation has already
// recovered it, there is nothing left to do.
func (t *Token) recover(ctx context.Context, epoch uint64, cause error) error {
	if err := t.recovery.enter(ctx, t.cfg.WaitLimit); err != nil {
		return fmt.Errorf("waiting for a recovery: %w", err)
	}
	defer t.recovery.leave()
	held, err := t.pool.gather(ctx, t.cfg.WaitLimit)
	if err != nil {
		return fmt.Errorf("recovering the token: %w", err)
	}
	defer t.pool.scatter(held)
	if t.epoch != epoch {
		return nil
	}
	err = t.reopen(held)
	clear(held) // their sessions are gone
	t.epoch++
	t.log(err, cause)
	return err
}

// reopen goes as far as it must: only the keys' handles, then session and
// login, then the module itself (which some network HSMs need once all their
// members were lost).
func (t *Token) reopen(held []*session) error {
	for _, s := range held {
		if s != nil {
			s.close()
		}
	}
	anchor := &session{module: t.module, handle: t.anchor}
	if anchor.check() == nil {
		if err := t.preload(anchor); !lost(err) {
			return err
		}
	}
	_ = t.module.CloseAllSessions(t.slot) // whatever is left of them
	err := t.connect()
	if err == nil || t.barred != nil {
		return err
	}
	_ = t.module.Finalize() // may say that it was not initialized
	if again := fault("C_Initialize", t.module.Initialize(t.cfg.Parameters)); again != nil {
		return errors.Join(err, again)
	}
	return t.connect()
}

func (t *Token) log(err, cause error) {
	if err != nil {
		t.cfg.Log.Error("hsm not recovered", slog.Any("err", errors.Join(cause, err)))
		return
	}
	t.cfg.Log.Warn("hsm recovered", slog.Any("err", cause))
}

func (t *Token) logBreaker(err error) {
	if err != nil {
		t.cfg.Log.Error("hsm left alone after repeated failures", slog.Any("err", err))
		return
	}
	t.cfg.Log.Warn("hsm is back")
}
