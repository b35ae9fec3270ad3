//go:build goexperiment.runtimesecret

package secret

import "runtime/secret"

// Erasing says whether Do erases.
const Erasing = true

// Do calls f, then erases the registers and the stack that f used, and what f allocated as soon as it is unreachable and
// collected. Results must be copied into memory that was allocated before.
func Do(f func()) { secret.Do(f) }
