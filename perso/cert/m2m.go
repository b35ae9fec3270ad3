package cert

import (
	"bytes"
	"encoding/hex"
	"strings"
	"time"

	"github.com/persoline/persoline/perso/id"
)

// CheckECASD says whether the certificate of an M2M eUICC is acceptable below an EUM at a time: nil, or a *Refusal. The chain
// of the EUM is judged by Check, under SGP.02.
func CheckECASD(eum *Certificate, c *ECASD, at time.Time) error {
	var f Faults
	name := strings.ToUpper(hex.EncodeToString(c.Subject))
	add := func(r Reason, format string, a ...any) {
		f.Add(nil, RoleEUICC, r, format, a...)
		f[len(f)-1].Name = name
	}
	if _, err := id.EIDFromBytes(c.Subject); err != nil {
		add(ReasonEID, "its subject is no EID: %v", err)
	}
	if c.Usage != UsageKeyAgreement {
		add(ReasonKeyUsage, "its key usage is %04X, not %04X (key agreement)", c.Usage, UsageKeyAgreement)
	}
	if c.Key.Curve() != eum.Key.Curve() {
		add(ReasonCurve, "its key is on %s, that of the EUM on %s", c.Key.Curve(), eum.Key.Curve())
	}
	if aki := c.AuthorityKeyID; !bytes.Equal(aki, eum.Values.SubjectKeyID) {
		add(ReasonAuthorityKey, "it names the key %s, the EUM's is %s", hexOrNone(aki), hexOrNone(eum.Values.SubjectKeyID))
	}
	if !c.SignedBy(eum.Key) {
		add(ReasonSignature, "its signature is not of the key of %s", eum)
	}
	day := time.Date(at.UTC().Year(), at.UTC().Month(), at.UTC().Day(), 0, 0, 0, 0, time.UTC)
	if !c.Effective.IsZero() && day.Before(c.Effective) {
		add(ReasonNotYetValid, "it begins on %s, and is judged on %s", c.Effective.Format(time.DateOnly), day.Format(time.DateOnly))
	}
	if day.After(c.Expires) {
		add(ReasonExpired, "its last day was %s, and it is judged on %s", c.Expires.Format(time.DateOnly), day.Format(time.DateOnly))
	}
	return f.Err()
}
