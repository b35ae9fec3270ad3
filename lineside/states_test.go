package lineside

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/persoline/persoline/perso/bus"
)

// TestStatesAreDocumented holds STATES.md against the constants of head.go.
func TestStatesAreDocumented(t *testing.T) {
	t.Parallel()
	doc := string(mustDo(os.ReadFile("STATES.md")))
	file := mustDo(parser.ParseFile(token.NewFileSet(), "head.go", nil, 0))
	found := 0
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if of, ok := spec.Type.(*ast.Ident); ok && (of.Name == "State" || of.Name == "Cause") {
			found++
			name := mustDo(strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value))
			if !strings.Contains(doc, "\n| `"+name+"` |") {
				t.Errorf("%s %q has no row", of.Name, name)
			}
		}
		return true
	})
	if found < 20 {
		t.Errorf("only %d constants found", found)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	for code, want := range map[bus.FaultCode]Refusal{
		bus.FaultBadMessage: Invalid, bus.FaultConflict: Invalid, bus.FaultRefused: Ended, bus.FaultNotFound: Ended,
		bus.FaultBusy: Away, bus.FaultInternal: Away, bus.FaultLotNotOpen: Away,
	} {
		if got := refusalOf(bus.Refuse(code, "no")); got != want {
			t.Errorf("%s means %d, want %d", code, got, want)
		}
	}
	if refusalOf(bus.ErrNoAnswer) != Away {
		t.Error("no answer is not taken for one")
	}
}
