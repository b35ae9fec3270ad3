// Package chaos kills the factory while it works. It runs the zones of a site as they run in production, each a process
// of the built program, ends them with kill -9 at any moment, one by one, together, or with their supervisor, and then
// asks those who must know: the chips, by APDU through the farm's test reader; the ledger; the counts; the offline audit.
//
// It holds tests only. What they break with a seed, or at a fixed progress, is in the log of the test; the zones' own logs
// are printed when one fails.
package chaos
