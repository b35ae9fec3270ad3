package bus

import (
	"context"
	"fmt"
	"strings"

	"github.com/persoline/persoline/perso"
)

type subjectKey struct{}

// WithSubject is for carriers: it tells a handler on which subject its request came.
func WithSubject(ctx context.Context, subject string) context.Context {
	return context.WithValue(ctx, subjectKey{}, subject)
}

// AskingLine is the line below whose subject the request in hand came. The server's permissions vouch for it, whereas a line
// name inside a message is only what the sender wrote: a handler of LineWildcard must compare the two. The error is a Fault.
func AskingLine(ctx context.Context) (perso.Name, error) {
	subject, _ := ctx.Value(subjectKey{}).(string)
	tokens := strings.Split(subject, ".")
	if len(tokens) != 4 || tokens[0]+"." != prefix || tokens[1] != "line" {
		return "", Refuse(FaultRefused, "subject %q is not a line's", subject)
	}
	line, err := perso.ParseName(tokens[2])
	if err != nil {
		return "", fmt.Errorf("reading the subject: %w", Refuse(FaultRefused, "%v", err))
	}
	return line, nil
}
