// Package conduct carries a key ceremony out: it takes a reviewed plan, the token and the people in the room, and leaves
// a signed transcript, the keys, and the public artefacts.
//
// # Contract
//
//   - Nothing is done before the officers present signed the order, and this package verified their signatures against the
//     officer register from its pinned genesis on (two persons, two roles). It refuses to begin on a token that differs from
//     the inventory, and refuses a plan that a key's life does not allow, as a whole.
//   - Each act has an intent that is durable before the token is touched, and an outcome that is durable after it was seen
//     on the token. A ceremony that was cut off is gone on with by running the same plan again: what was done is looked for
//     on the token, never assumed. Or it is given up (Abandon), which is a signed end as well.
//   - Of a key from components nothing exists before the last one was entered and its check value held: no intent, no
//     object, no file. An import whose outcome was not recorded is taken off the token and asked for again.
//   - No file is ever replaced. The order of files on disk is the order of the steps.
//
// Export does not exist. hsm/KEYS.md makes every key unextractable for life, so a backup on media is the set of components
// that the key was made of, held by its custodians under their seals; the inventory counts each as a copy. What a site
// makes for itself and wants on media, its custodians draw as components. Keys of policy cluster-only are copied between
// tokens by their maker's own means, and only registered here.
//
// Callers: perso/cmd/cli. Clock, randomness and people come in; nothing here reads a terminal.
package conduct
