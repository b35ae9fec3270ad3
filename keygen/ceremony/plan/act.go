package plan

import (
	"crypto/ed25519"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/persoline/persoline/perso"
	"github.com/persoline/persoline/perso/statement"
	"github.com/persoline/persoline/perso/statement/transcript"
)

// readAct reads one step. Each operation knows its own fields; any other is refused by the caller's end.
func (p *Plan) readAct(m *mapping) transcript.Act {
	a := transcript.Act{Op: value(m, "do", transcript.ParseOp)}
	if a.Op == "" {
		m.ignore() // what belongs to an operation that does not exist, nobody can say
		return a
	}
	if !a.Op.OnOfficers() {
		a.Key = value(m, "key", p.label)
	}
	if a.Op.Creates() {
		a.Owner, a.Until = value(m, "owner", text), value(m, "until", day)
	}
	switch a.Op {
	case transcript.OpGenerate:
		a.Backup = value(m, "backup", transcript.ParseBackup)
		for _, c := range m.optionalList("copies") {
			a.Copies = append(a.Copies, transcript.Copy{Holder: value(c, "holder", perso.ParseName), Place: value(c, "place", text)})
			c.end()
		}
	case transcript.OpImport, transcript.OpSealOP:
		a.Backup, a.Bytes = value(m, "backup", transcript.ParseBackup), value(m, "bytes", number(16))
		a.KCV = value(m, "kcv", kcvOrNone)
		for _, c := range m.list("components") {
			a.Copies = append(a.Copies, transcript.Copy{Holder: value(c, "custodian", perso.ParseName), Place: value(c, "place", text), KCV: value(c, "kcv", kcv)})
			c.end()
		}
	case transcript.OpRequest:
		a.Asked = []transcript.Request{readRequest(m)}
	case transcript.OpSuspend, transcript.OpResume, transcript.OpRetire, transcript.OpDestroy:
		a.Reason = value(m, "reason", text)
	case transcript.OpSignOff:
		a.Copies = []transcript.Copy{{Holder: value(m, "holder", perso.ParseName), Place: value(m, "place", text)}}
		a.By = names(m, "by")
	case transcript.OpAdd:
		a.Person = []statement.Officer{readOfficer(m)}
	case transcript.OpRevoke:
		a.Person, a.Reason = []statement.Officer{readOfficer(m)}, value(m, "reason", text)
	}
	return a
}

// label reads "class/id" and completes it with the environment.
func (p *Plan) label(s string) (transcript.Label, error) {
	if strings.Count(s, "/") != 1 {
		return "", fmt.Errorf("%q is not <class>/<id>, as kmc/maker-1", s)
	}
	return transcript.ParseLabel("persoline/" + string(p.Env) + "/" + s)
}

func parsePIN(s string) (PINSource, error) {
	switch p := PINSource(s); p {
	case PINCustodians, PINTPM, PINFile:
		return p, nil
	}
	return "", fmt.Errorf("%q is none of %s, %s, %s", s, PINCustodians, PINTPM, PINFile)
}

func text(s string) (string, error) {
	if n := len([]rune(s)); n == 0 || n > transcript.MaxTextChars || strings.TrimSpace(s) != s || s == "-" || strings.ContainsFunc(s, unseen) {
		return "", fmt.Errorf("%q is not 1 to %d characters on one line, each of which can be seen", s, transcript.MaxTextChars)
	}
	return s, nil
}

// unseen are characters that a reviewer does not see, or sees elsewhere than they are: a transcript refuses most of them.
func unseen(r rune) bool {
	return unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp) || r == utf8.RuneError
}

func number(bits int) func(string) (uint64, error) {
	return func(s string) (uint64, error) {
		n, err := strconv.ParseUint(s, 10, bits)
		if err != nil || n == 0 || strconv.FormatUint(n, 10) != s {
			return 0, fmt.Errorf("%q is no whole number from 1 on", s)
		}
		return n, nil
	}
}

func hashOrNone(s string) (h [32]byte, err error) {
	if s == None {
		return h, nil
	}
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(h) || hex.EncodeToString(b) != s || [32]byte(b) == h {
		return h, fmt.Errorf("%q is neither %q nor 64 digits of lower-case hex", s, None)
	}
	return [32]byte(b), nil
}

func publicKey(s string) (ed25519.PublicKey, error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != ed25519.PublicKeySize || hex.EncodeToString(b) != s {
		return nil, fmt.Errorf("%q is not %d bytes of lower-case hex, as 'perso officer new' prints them", s, ed25519.PublicKeySize)
	}
	return b, nil
}

func instant(s string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil || t.UTC().Format(time.RFC3339) != s {
		return t, fmt.Errorf("%q is no time in UTC like 2027-03-01T18:00:00Z", s)
	}
	return t.UTC(), nil
}

func day(s string) (time.Time, error) {
	t, err := time.Parse(time.DateOnly, s)
	if err != nil {
		return t, fmt.Errorf("%q is no day like 2037-03-01", s)
	}
	return t, nil
}

func kcv(s string) (string, error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != 3 || hex.EncodeToString(b) != s {
		return "", fmt.Errorf("%q is no key check value: 6 digits of lower-case hex", s)
	}
	return s, nil
}

func kcvOrNone(s string) (string, error) {
	if s == None {
		return "", nil
	}
	return kcv(s)
}
