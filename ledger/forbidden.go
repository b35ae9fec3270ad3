package ledger

import (
	"context"
	"crypto/sha256"
	"fmt"

	"github.com/persoline/persoline/perso/bus"
	"github.com/persoline/persoline/perso/entry"
)

// LogRefusal logs that the office asked for something and was refused, once however often the same is asked. It is an exception
// that a named person signs off.
func (l *Ledger) LogRefusal(ctx context.Context, verb string, message any, fault *bus.Fault) error {
	data, err := bus.Encode(message)
	if err != nil {
		return fmt.Errorf("logging a refusal: %w", err)
	}
	e := entry.Forbidden{Verb: verb, Content: sha256.Sum256(data), Reason: clean(fault.Error())}
	subject := append([]byte("refusal\x00"+verb+"\x00"), e.Content[:]...)
	err = l.commit(ctx, func(ctx context.Context, b *Batch) error {
		last, err := b.newest(ctx, entry.KindForbidden, subject)
		if err != nil {
			return err
		}
		if last != nil {
			before, err := entry.ParseForbidden(last)
			if err != nil || before.Reason == e.Reason {
				return err
			}
		}
		e.At = b.At
		_, _, err = b.append(entry.KindForbidden, subject, e)
		return err
	})
	if err != nil {
		return fmt.Errorf("logging that %s was refused: %w", verb, err)
	}
	return nil
}
