package e2e

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/persoline/persoline/perso/cmd/site/sitetest"
)

// program is the built perso.
var program string

func TestMain(m *testing.M) {
	os.Exit(sitetest.Run(m, filepath.Join("..", "..", ".."), func(built string) { program = built }))
}

// ownProgram gives a test the program under a name of its own, by which its processes are told from those of others.
func ownProgram(t *testing.T) (bin, repo string) {
	t.Helper()
	repo, err := filepath.Abs(filepath.Join("..", "..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	bin = filepath.Join(t.TempDir(), "perso")
	if err := os.Link(program, bin); err != nil {
		t.Fatal(err)
	}
	return bin, repo
}
