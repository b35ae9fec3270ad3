package cli

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is the result of "version".
type version struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Modified bool   `json:"modified"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// String is what people read: the version, the source's revision and whether it was changed since.
func (v version) String() string {
	source := v.Revision
	if v.Modified {
		source += ", modified"
	}
	if source == "" {
		source = "source unknown"
	}
	return fmt.Sprintf("%s (%s, %s, %s)", v.Version, source, v.Go, v.Platform)
}

func newVersionCmd(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Say which program this is",
		Long:    Describe("Says from which source this program was built.", version{}),
		Example: `  perso version --json`,
		Args:    Takes(),
		RunE: func(*cobra.Command, []string) error {
			v := versionOf(debug.ReadBuildInfo())
			return env.Emit(v, func(w io.Writer) { fmt.Fprintf(w, "perso %s\n", v) })
		},
	}
}

func versionOf(info *debug.BuildInfo, ok bool) version {
	v := version{Version: "(unknown)", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if !ok {
		return v
	}
	v.Version = info.Main.Version
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Revision = s.Value
		case "vcs.modified":
			v.Modified = s.Value == "true"
		}
	}
	return v
}
