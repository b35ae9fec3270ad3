// Package hsm is the vault's door to its hardware security module: one PKCS#11
// token, a pool of sessions and the verbs of our trade.
//
// # Why it exists
//
// PKCS#11 lets a caller do almost anything with a key: read attributes, wrap,
// copy, choose any mechanism, share a session between threads until the module
// crashes. A SIM maker needs about a dozen fixed operations. This package
// offers exactly those, as verbs over typed keys, and keeps handles, sessions,
// templates and mechanisms to itself. It is the only importer of a PKCS#11
// binding; package keygen and the command are its only callers.
//
// # Contract
//
//   - A [Key] is a label and a [Class]. The class decides what the key may do,
//     twice: [Key.Admit] refuses a wrong verb before the token is asked, and the
//     key's own attributes (KEYS.md, policy.go) make the token refuse it too.
//   - A key found on the token is used only if its attributes are those of
//     policy.go. One that was made otherwise (extractable, or with an extra
//     use) is refused, however well its label reads.
//   - Every verb is safe for concurrent use. The context bounds the wait for a
//     session and for a recovery; a PKCS#11 call that has begun cannot be
//     cancelled (the standard has no means for it).
//   - A session on which a call failed is thrown away. When the token, the
//     session or the login is lost, the token is reopened once and the verb
//     tried once more, unless repeating it could do harm (Generate, Import,
//     Destroy): those report [ErrSessionLost] and the caller asks [Token.Has].
//   - When operations fail in a row for the device's sake, a circuit breaker
//     leaves the token alone for ten seconds ([ErrTripped]); then one operation
//     tries it. Nothing hangs: a caller waits Config.WaitLimit at most for a
//     session, and as long again for a recovery, unless it holds the session that
//     a call of the module does not return.
//   - After a loss only the same token is taken back, by its serial number.
//   - A module that does not keep all of KEYS.md is used only with its gaps
//     declared ([Gap], Config.Gaps); each is logged when it is opened. [Token.Survey]
//     tells what a module has.
//   - Objects are searched for when the token is opened and at the first use of
//     a label, never per operation.
//
// # Limits, honestly
//
// One module per process: PKCS#11 keeps its state and its login per process,
// so a second [Open] of the same module is refused until the first Token is
// closed. Scale by vault processes.
//
// The binding (miekg/pkcs11) copies arguments and results through C memory and
// frees it without clearing. All calls that take or return a secret therefore
// go past it, through a shim of our own (shim.c) that works in locked memory,
// and clears it and the stack that the module ran on. A test looks through the
// process's memory for what tokens returned. It does not look at Go's memory:
// results are handed to the caller by value or as slices, and his copies are his
// to clear; a stack that Go has moved or a register that it has saved may keep
// the last of them until it is reused. What a module keeps in its own memory is
// the module's. InitToken alone hands PINs to the binding: it is for tokens of
// tests. Run the vault with core dumps off and no swap.
//
// Specifications: PKCS #11 Cryptographic Token Interface v2.40 (base
// specification and current mechanisms) and, for Ed25519, v3.0 section 2.3.
package hsm
