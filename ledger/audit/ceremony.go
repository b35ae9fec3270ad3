package audit

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/persoline/persoline/perso/statement/transcript"
)

// TranscriptSuffix ends the name of a key ceremony's transcript.
const TranscriptSuffix = ".transcript"

// Ceremonies is what a verified chain of key ceremonies says.
type Ceremonies struct {
	Chain *transcript.Chain
	Told  []transcript.Told
}

// VerifyCeremonies verifies the transcripts of key ceremonies in a folder, from the first one on, by names that sort in the
// order of the ceremonies. names may be given to verify some alone: unless they begin with the first ceremony, neither
// what came before nor the states of keys are then checked, and Chain.Partial says so. pin is the hash of the officer
// register's genesis; zero takes the files' own. The error of what does not hold is a *transcript.Fault: file and place.
func VerifyCeremonies(fsys fs.FS, pin [32]byte, names ...string) (Ceremonies, error) {
	if len(names) == 0 {
		all, err := fs.Glob(fsys, "*"+TranscriptSuffix)
		if err != nil || len(all) == 0 {
			return Ceremonies{}, errors.Join(fmt.Errorf("there is no file *%s", TranscriptSuffix), err)
		}
		names = slices.Sorted(slices.Values(all))
	}
	var c Ceremonies
	for i, name := range names {
		f, err := readTranscript(fsys, name)
		if err != nil {
			return c, err
		}
		if i == 0 {
			c.Chain = transcript.NewChain(pin)
			if o, err := transcript.ParseOrder(f.Order.Body); err == nil && o.Number != 1 {
				c.Chain = transcript.NewPartial(pin)
			}
		}
		told, err := c.Chain.Follow(f)
		if err != nil {
			return c, placed(name, err)
		}
		c.Told = append(c.Told, told)
	}
	return c, nil
}

func readTranscript(fsys fs.FS, name string) (transcript.File, error) {
	b, err := fs.ReadFile(fsys, name)
	if err != nil {
		return transcript.File{}, fmt.Errorf("reading %q: %w", name, err)
	}
	f, err := transcript.Decode(b)
	return f, placed(name, err)
}

// placed puts the file's name before the place.
func placed(name string, err error) error {
	var fault *transcript.Fault
	if errors.As(err, &fault) {
		return &transcript.Fault{Place: strings.TrimSuffix(path.Base(name), TranscriptSuffix) + TranscriptSuffix + ": " + fault.Place, What: fault.What}
	}
	return err
}
