// Package life keeps a vault from serving with a state that was lost, put back to an older one, or copied, and two
// processes from serving as one vault.
//
// It exists because a folder cannot tell that it is a copy, and what a vault must never forget (receipts, the last
// checkpoint, which lots were opened, destroyed, given away) is in one. The HSM is asked: it is not copied with the folder.
//
// A vault goes from life to life. A life is a key of class life on the token, made there, under a label with a fresh nonce;
// it does nothing but be there. The vault's state names its life's key and holds that key's MAC over who the vault is. A
// turn makes the key of the next life and destroys the last one's:
//
//	1  state: "I am about to make key B"     intent
//	2  token: make B
//	3  state: "I am B", with its MAC         COMMIT POINT
//	4  token: destroy A
//	5  token: B is the only life of this vault, or this process ends
//
// Whoever has a copy of the state as it was before 3 has A; after 4 that one is gone, and he is refused. A crash leaves what
// the state names as possible, and the next start, which is a turn, takes it from there. Between 2 and 3 everything on the
// token must be what the state names: of two processes that turn at the same time each makes its key before it looks, so
// one at least sees the other and gives way.
//
// Turns happen at each start, at each clean end, after each thing that may never be forgotten (a lot is opened, given away or
// destroyed), and Config.Renew after the last one while the vault serves. Every Config.Check a serving vault looks whether its
// key is there still. So a state that is put back is refused when anything of the kind was done since, or it is older than
// Renew; what is left is written down in LIFE.md ("What it does not see").
//
// Contract. Begin before anything is served, and once per process; a Life is safe for concurrent use. After ErrOvertaken it
// gives nothing else, and Ended is closed: the process must end. Any other error means that nothing was decided, and the next
// call takes up what was begun. The package has no clock of its own and starts no goroutine.
//
// Callers: perso/cmd/site, perso/sim and tests; package keygen through an interface of its own.
package life
