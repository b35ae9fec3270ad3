package ledger

import (
	"context"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/statement"
)

// registerWord adds an officer to the register, or revokes one: the next statement of the chain that every vault is shown. Ceremonies
// sign them (keygen/ceremony); until it is handed in, who was dismissed signs on.
type registerWord struct {
	statement.Change
	ord int64 // its place in the chain
}

// about names no site: the statement before it, which it names, is one site's only.
func (w *registerWord) about() (perso.Env, perso.Name, perso.Name) { return "", "", "" }

func (w *registerWord) accept(ctx context.Context, l *Ledger, b *Batch, _ [32]byte) (fault, err error) {
	chain, err := registerChain(ctx, b)
	if err != nil {
		return nil, err
	}
	reg, err := statement.NewRegister(l.site.register, chain)
	if err != nil {
		return nil, err
	}
	if err := reg.MayFollow(w.Change); err != nil {
		return bus.Refuse(bus.FaultRefused, "%v", err), nil
	}
	w.ord = int64(len(chain))
	return nil, nil
}
