package perso_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"testing"

	"github.com/persoline/persoline/perso"
)

// TestReasonsAreAll: a reason that is explained in the source and not listed could not be named by a handler's bins.
func TestReasonsAreAll(t *testing.T) {
	t.Parallel()
	file, err := parser.ParseFile(token.NewFileSet(), "perso.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var declared []perso.Reason
	ast.Inspect(file, func(n ast.Node) bool {
		v, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if kind, ok := v.Type.(*ast.Ident); !ok || kind.Name != "Reason" {
			return true
		}
		for _, value := range v.Values {
			text, err := strconv.Unquote(value.(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			declared = append(declared, perso.Reason(text))
		}
		return true
	})
	if got := perso.Reasons(); len(got) < 20 || !slices.Equal(got, declared) {
		t.Errorf("listed are %q, declared %q", got, declared)
	}
}
