//go:build !goexperiment.runtimesecret

package secret

// Erasing says whether Do erases. Here it does not: the program was built without GOEXPERIMENT=runtimesecret.
const Erasing = false

// Do calls f. In a program built with GOEXPERIMENT=runtimesecret it also erases the registers and the stack that f used, and
// what f allocated as soon as it is unreachable and collected. Results must be copied into memory that was allocated before.
func Do(f func()) { f() }
